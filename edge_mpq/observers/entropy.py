"""The range whose quantized histogram diverges least from the real one.

Migacz, "8-bit inference with TensorRT" (GTC 2017, S7310): for every clip, the bins inside
are merged into as many levels as the grid has, spread back over the bins that held
anything, and compared with the clipped histogram (outliers piled onto its last bin) by
the Kullback-Leibler divergence.  Symmetric grids do so on |x| with 2**(bits - 1) levels,
128 at 8 bits; others on the signed values with 2**bits levels, cutting at -c and c.

Sums over bins come from cumulative sums, so all clips together cost one [clips, levels]
table, not a loop over clips and bins.
"""

import numpy as np

from edge_mpq.observers._histogram import Histogram, HistogramObserver


class Observer(HistogramObserver):
    """Cuts both ends at one magnitude; an end nearer to 0 stays where it is."""

    def clip(self, seen: Histogram) -> tuple[float, float]:
        """The window of least divergence; the full range where bins are fewer than levels."""
        if self.symmetric:
            divergence = divergences(seen.magnitudes(), 0, 2 ** (self.bits - 1))
        else:
            divergence = divergences(seen.counts, -seen.first, 2**self.bits)
        if not np.isfinite(divergence).any():
            return seen.low, seen.high
        # Of windows equally good but for rounding, the widest clips least.
        bound = (int(np.flatnonzero(divergence <= divergence.min() + 1e-12)[-1]) + 1) * seen.width
        return max(seen.low, -bound), min(seen.high, bound)


def divergences(counts: np.ndarray, zero: int, levels: int) -> np.ndarray:
    """KL divergence, in nats, of every window around 0 quantized to ``levels``: float64 [W].

    counts: [B], the first ``zero`` bins for values below 0.  Window w reaches w + 1 bins to
    either side of 0, or as far as there are bins; the last holds all.  Infinite where a
    window has fewer bins than levels, or values beyond it and none in its outermost level.
    """
    size = np.arange(1, max(zero, len(counts) - zero) + 1)
    begin, end = np.maximum(zero - size, 0), np.minimum(zero + size, len(counts))
    answer = np.full(len(size), np.inf)
    wide = end - begin >= levels
    if not wide.any():
        return answer
    # A few windows at a time: their table of levels stays in the cache.
    few = max(1, (1 << 14) // levels)
    begin, end = begin[wide], end[wide]
    parts = [_divergences(counts, begin[k : k + few], end[k : k + few], levels) for k in range(0, len(begin), few)]
    answer[wide] = np.concatenate(parts)
    return answer


def _divergences(counts: np.ndarray, begin: np.ndarray, end: np.ndarray, levels: int) -> np.ndarray:
    """The divergence of the windows [begin, end), each of at least ``levels`` bins."""
    total, below = counts.sum(), _running(counts)
    left, right = below[begin], total - below[end]
    # Level l of a window takes its bins bounds[l] to bounds[l + 1]: even to one bin.
    bounds = begin[:, None] + np.arange(levels + 1) * (end - begin)[:, None] // levels
    held = np.diff(below[bounds], axis=1)
    occupied = np.diff(_running(counts > 0)[bounds], axis=1)
    occupied[:, 0] += (counts[begin] == 0) & (left > 0)
    occupied[:, -1] += (counts[end - 1] == 0) & (right > 0)

    inside = _running(_xlogx(counts))
    real = inside[end] - inside[begin]
    real += _xlogx(counts[begin] + left) - _xlogx(counts[begin])
    real += _xlogx(counts[end - 1] + right) - _xlogx(counts[end - 1])
    quantized = (_xlogx(held) - held * np.log(np.maximum(occupied, 1))).sum(axis=1)
    quantized += _times_log(left, held[:, 0], occupied[:, 0]) + _times_log(right, held[:, -1], occupied[:, -1])
    return (real - quantized) / total + np.log(np.maximum(held.sum(axis=1), 1) / total)


def _running(values: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(values)])


def _xlogx(values: np.ndarray) -> np.ndarray:
    return values * np.log(np.maximum(values, 1))


def _times_log(outliers: np.ndarray, held: np.ndarray, occupied: np.ndarray) -> np.ndarray:
    """outliers * log(mean count of the level they pile on); -inf where that level is empty."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(outliers > 0, outliers * np.log(held / occupied), 0.0)
