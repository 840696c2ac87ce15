"""What stands between a frame and its answer: what the engine is shown of it, and what its outputs say.

A reader has ``prepare(pixels)``, float32 [N, 3, height, width] of one frame, and
``decode(engine, outputs, shape, shift)``, the Answer in the outputs for those N.
"""

import numpy as np

from apps.stream import decode
from edge_mpq.engines import inputs


class Whole(object):
    """The whole frame as one picture, N = 1.  bundle: gives recipe, task and classes."""

    def __init__(self, bundle):
        self._bundle, self._recipe = bundle, inputs.from_json(bundle.recipe)

    def prepare(self, pixels):
        """What the engine is shown of a frame: float32 [1, 3, height, width]."""
        return inputs.prepare(pixels, self._recipe)[None]

    def decode(self, engine, outputs, shape=None, shift=None):
        """The Answer in ``outputs``, as decode.decode gives it."""
        return decode.decode(engine, outputs, self._bundle, self._recipe, shape, shift)


def infer(engine, batch):
    """The outputs for ``batch`` [N, ...]: of one call where the engine's batch is free, else one after another."""
    if len(batch) == 1 or engine.inputs[0].shape[0] in (None, len(batch)):
        return engine.infer(batch)
    answers = [engine.infer(batch[at : at + 1]) for at in range(len(batch))]
    return [np.concatenate(parts) for parts in zip(*answers)]
