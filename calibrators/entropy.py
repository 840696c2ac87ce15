"""Entropy calibration as TensorRT did it first; kept for engines that were tuned with it.

It differs from entropy2 in where it quantizes along a fused chain.  New work has no need
of it.
"""

from calibrators.base import Calibration

KIND, ALGORITHM = "IInt8EntropyCalibrator", "EntropyCalibration"


def calibration(batches=None, cache=None):
    """A :class:`Calibration` that measures over ``batches``, or takes ``cache``."""
    return Calibration(KIND, ALGORITHM, batches, cache)
