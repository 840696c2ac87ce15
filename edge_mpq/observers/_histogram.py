"""The histogram that every clipping rule reads: 2048 bins, one pass, any number of batches.

The width of a bin is a power of two and its edges are whole multiples of it, so a
histogram made wider by merging neighbours equals, count for count, the one that a
second pass over the data would have made: neither order nor batch size leaves a trace.
"""

import math
from abc import ABC, abstractmethod

import numpy as np
import torch

from edge_mpq.errors import CalibrationError

BINS = 2048
_CHUNK = 1 << 17  # values binned at a time; their temporaries stay in the cache
_NARROWEST = -120  # log2 of the least bin width; its inverse is still a float32
_LEAST_SPAN = 2.0**-100  # below it the step of an 8-bit grid is no normal float32


def extent(values: torch.Tensor) -> tuple[float, float]:
    """Least and greatest of ``values`` (not empty); CalibrationError unless all are finite."""
    low, high = (float(end) for end in torch.aminmax(values))
    if not (math.isfinite(low) and math.isfinite(high)):
        nan = int(torch.isnan(values).sum())
        infinite = int(torch.isinf(values).sum())
        raise CalibrationError(
            f"{nan} NaN and {infinite} infinite among {values.numel()} values of an activation",
            "check the pictures' normalization and the weights",
        )
    return low, high


def around_zero(low: float, high: float, symmetric: bool) -> tuple[float, float]:
    """The range a grid can use: it holds 0, is mirrored if ``symmetric``, and is never empty.

    A tensor of zeros takes the unit range: every grid holds 0 exactly.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    if high - low < _LEAST_SPAN:
        low, high = 0.0, 1.0
    if symmetric:
        high = max(-low, high)
        low = -high
    return low, high


class Histogram:
    """Counts of the non-zero values of one tensor.

    ``counts[i]`` values lie in ``[(first + i) * width, (first + i + 1) * width)``; the bins
    reach from the one that holds ``low`` to the one that holds ``high``, 0 among them.
    ``low`` and ``high`` are exact, and 0 until something lies beyond.  Exact zeros are
    counted apart: every grid holds them without error, so no clipping rule weighs them.
    """

    def __init__(self) -> None:
        self.low = self.high = 0.0
        self.first = 0
        self.width = 2.0**_NARROWEST
        self.zeros = 0
        self.counts = np.zeros(1, np.int64)

    def add(self, values: torch.Tensor) -> None:
        """Count ``values`` [any shape, not empty], widening the bins where they reach beyond."""
        flat = values.detach().reshape(-1).to(torch.float32)
        low, high = extent(flat)
        if low < self.low or high > self.high:
            self._widen(min(low, self.low), max(high, self.high))
        inverse, bins = 1.0 / self.width, len(self.counts)
        for chunk in flat.split(_CHUNK):
            # Scaling by a power of two and flooring are exact in float32.
            index = (chunk * inverse).floor_().sub_(self.first).to(torch.int32)
            self.counts += torch.bincount(index, minlength=bins).cpu().numpy()
            zeros = chunk.numel() - int(chunk.bool().view(torch.uint8).sum(dtype=torch.int64))
            self.counts[-self.first] -= zeros
            self.zeros += zeros

    def _widen(self, low: float, high: float) -> None:
        exponent = max(_NARROWEST, math.frexp(high - low)[1] - BINS.bit_length())
        while math.floor(math.ldexp(high, -exponent)) - math.floor(math.ldexp(low, -exponent)) >= BINS:
            exponent += 1
        width = math.ldexp(1.0, exponent)
        first, last = math.floor(low / width), math.floor(high / width)
        merged = exponent - (math.frexp(self.width)[1] - 1)
        index = ((self.first + np.arange(len(self.counts))) >> min(merged, 63)) - first
        counts = np.zeros(last - first + 1, np.int64)
        np.add.at(counts, index, self.counts)
        self.low, self.high, self.first, self.width, self.counts = low, high, first, width, counts

    def edges(self) -> np.ndarray:
        """Where the bins begin and end: float64 [len(counts) + 1]."""
        return (self.first + np.arange(len(self.counts) + 1)) * self.width

    def magnitudes(self) -> np.ndarray:
        """Counts of |x| in bins of ``width`` from 0: int64 [most bins on one side of 0]."""
        below, above = self.counts[: -self.first][::-1], self.counts[-self.first :]
        folded = np.zeros(max(len(below), len(above)), np.int64)
        folded[: len(below)] += below
        folded[: len(above)] += above
        return folded


class HistogramObserver(ABC):
    """An observer whose rule, :meth:`clip`, reads the histogram."""

    def __init__(self, bits: int = 8, symmetric: bool = False) -> None:
        if not 2 <= bits <= 16:
            raise CalibrationError(f"there is no range for a grid of {bits} bits", "use 2 to 16 bits")
        self.bits = bits
        self.symmetric = symmetric
        self.histogram = Histogram()

    def see(self, values: torch.Tensor) -> None:
        """Take in one batch; CalibrationError when values are NaN or infinite."""
        if values.numel():
            self.histogram.add(values)

    def range(self) -> tuple[float, float]:
        """The range of the grid; CalibrationError before anything was seen."""
        seen = self.histogram
        if not seen.zeros and not seen.counts.any():
            raise nothing_seen()
        low, high = self.clip(seen) if seen.counts.any() else (0.0, 0.0)
        return around_zero(low, high, self.symmetric)

    @abstractmethod
    def clip(self, seen: Histogram) -> tuple[float, float]:
        """(low, high) of the values worth representing; ``seen`` holds some that are not 0."""


def nothing_seen() -> CalibrationError:
    """What to raise when a range is asked of an observer that saw no value."""
    return CalibrationError("no value of this activation was seen", "calibrate with at least one picture")
