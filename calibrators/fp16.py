"""Which layers half precision would harm: a scan of ranges and weights, before anything is built.

A half holds 11 bits of mantissa between 6.1e-5 and 65504; below, bits go one by one, and
above there is infinity.  A layer stays in float when what it reads or writes could
overflow, when its values lie where bits are missing, or when rounding its weights costs
more than a whole half does.
"""

from typing import NamedTuple

import numpy as np

LARGEST = 65504.0
SMALLEST_NORMAL = 2.0**-14
# Pictures in the field reach further than those of calibration.
HEADROOM = 2.0
# Most of a tensor's values lie within some 6 bits below its greatest.
BELOW_GREATEST = 2.0**6
# Rounding to 11 bits costs weights 1.7e-4 to 2.9e-4 of their norm; four times that means bits are missing.
LARGEST_WEIGHT_ERROR = 1e-3


class Weights(NamedTuple):
    """A layer's weights in short.  largest: magnitude.  error: norm of what half precision loses, by the norm."""

    largest: float
    error: float


class Finding(NamedTuple):
    """A layer that stays in float, and why, in one line of prose."""

    layer: str
    why: str


def summary(weights):
    """The :class:`Weights` of an array."""
    values = np.asarray(weights, np.float64)
    if not values.size:
        return Weights(0.0, 0.0)
    largest = float(np.abs(values).max())
    if largest > LARGEST:
        return Weights(largest, float("inf"))
    norm = float(np.sqrt((values**2).sum()))
    lost = float(np.sqrt(((values - values.astype(np.float16)) ** 2).sum()))
    return Weights(largest, lost / norm if norm else 0.0)


def harmed(layers, ranges, weights):
    """[Finding] for the layers that should stay in float, in order.

    layers: layer -> names of the tensors it reads and writes.  ranges: a RangeTable; tensors
    it does not hold are passed over.  weights: layer -> :class:`Weights`.
    """
    found = []
    for layer, tensors in layers.items():
        whys = [_of_tensor(name, *ranges.tensors[name]) for name in tensors if name in ranges.tensors]
        whys.append(_of_weights(weights[layer]) if layer in weights else "")
        reasons = [why for why in whys if why]
        if reasons:
            found.append(Finding(layer, "; ".join(reasons)))
    return found


def _of_tensor(name, low, high):
    greatest = max(abs(low), abs(high))
    if greatest * HEADROOM > LARGEST:
        return "{} reaches {:.4g}, a half ends at 65504".format(name, greatest)
    if 0 < greatest < SMALLEST_NORMAL * BELOW_GREATEST:
        return "{} stays below {:.2g}, where a half loses bits".format(name, greatest)
    return ""


def _of_weights(found):
    if found.largest > LARGEST:
        return "a weight is {:.4g}, a half ends at 65504".format(found.largest)
    if found.error > LARGEST_WEIGHT_ERROR:
        return "its weights lose {:.2%} of their norm in half".format(found.error)
    return ""
