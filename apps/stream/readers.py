"""What stands between a frame and its answer: what the engine is shown of it, and what its outputs say.

A reader has ``prepare(pixels)``, float32 [N, 3, height, width] of one frame, and
``decode(engine, outputs, shape, shift, mask)``, the Answer in the outputs for those N.
"""

import numpy as np

from apps.stream import decode
from edge_mpq.engines import inputs

# An engine keeps the activations of all pictures of a call, which may be a thousand tiles.
AT_ONCE = 16


class Whole(object):
    """The whole frame as one picture, N = 1.  bundle: gives recipe, task and classes."""

    def __init__(self, bundle):
        self._bundle, self._recipe = bundle, inputs.from_json(bundle.recipe)

    def prepare(self, pixels):
        """What the engine is shown of a frame: float32 [1, 3, height, width]."""
        return inputs.prepare(pixels, self._recipe)[None]

    def decode(self, engine, outputs, shape, shift=None, mask=True):
        """The Answer in ``outputs`` for a frame of ``shape`` (H, W), as decode.decode gives it; mask: with it."""
        return decode.decode(engine, outputs, self._bundle, self._recipe, shape if mask else None, shift)


def infer(engine, batch, at_once=AT_ONCE):
    """The outputs for ``batch`` [N, ...]: at most ``at_once`` a call where it is free, else one after another."""
    free = engine.inputs[0].shape[0]
    step = at_once if free is None else len(batch) if free == len(batch) else 1
    if len(batch) <= step:
        return engine.infer(batch)
    answers = [engine.infer(batch[at : at + step]) for at in range(0, len(batch), step)]
    return [np.concatenate(parts) for parts in zip(*answers)]
