"""TensorRT's side of calibration: ranges for an int8 engine whose ONNX carries no Q/DQ.

One file a method, listed by the door::

    calibration(batches=None, cache=None) -> Calibration

goes to ``engines.tensorrt.build(calibration=...)``.  It reads its ranges from ``cache``
(calibrators/cache.py; made on the host, no GPU needed) or measures them over ``batches``
(calibrators/batches.py) on the board.  TensorRT 11 has no calibrators: there, and wherever
the mix matters, export with Q/DQ.

fp16.py tells which layers half precision would harm; the planner keeps those in fp32.
"""

import sys

from edge_mpq import door

_SHARED = ("batches", "cache", "fp16")


def names():
    """Every calibration method there is a file for."""
    return [name for name in door.names(sys.modules[__name__]) if name not in _SHARED]


def get(name):
    """The module of method ``name``."""
    return door.get(sys.modules[__name__], name)
