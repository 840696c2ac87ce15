"""The range whose grid errs least, in expected squared error on the histogram.

The error is integrated exactly, rounding and clipping both, taking values as spread
evenly inside a bin: no aliasing between bins and grid points.  One candidate is the full
range, so the choice is never worse than minmax by this measure (Choukroun et al. 2019,
arXiv 1902.06822; Banner et al. 2019, arXiv 1810.05723 minimise the same error).
"""

import numpy as np

from edge_mpq.observers._histogram import Histogram, HistogramObserver

_COARSE = 2.0 ** (-np.arange(0, 9.01, 1 / 16))  # full range down to the width of a few bins
_FINE = 2.0 ** (np.arange(-8, 9) / 128)  # around a coarse point, reaching its neighbours

_TABLE = 1 << 14  # numbers of a temporary table: small enough to stay in the cache


class Observer(HistogramObserver):
    """Searches the clip of both ends together, then of each end alone."""

    def clip(self, seen: Histogram) -> tuple[float, float]:
        """The best pair of ends among those tried, the full range included."""
        if self.symmetric:
            counts, start = seen.magnitudes(), 0
            full = np.array([0.0, max(-seen.low, seen.high)])
            steps = 2 ** (self.bits - 1) - 1
        else:
            counts, start = seen.counts, seen.first
            full = np.array([seen.low, seen.high])
            steps = 2**self.bits - 1
        edges = (start + np.arange(len(counts) + 1)) * seen.width
        both, above, below = np.array([True, True]), full > 0, full < 0
        sweeps = [both, above, below, above, below] if full.all() else [both]
        best = full
        for factors in (_COARSE, _FINE):
            for moved in sweeps:
                # Coarse steps start from the full range, or an end once cut could not grow again.
                base = full if factors is _COARSE else best
                ends = np.where(moved, np.clip(base * factors[:, None], *full), best)
                ends = np.vstack([best, ends])
                best = ends[np.argmin(squared_error(counts, edges, ends, steps))]
        return float(best[0]), float(best[1])


def squared_error(counts: np.ndarray, edges: np.ndarray, ends: np.ndarray, steps: int) -> np.ndarray:
    """Summed squared error of a histogram on each of several grids: float64 [G].

    counts: [B] values in the bins between ``edges`` [B + 1].  ends: [G, 2] low <= 0 <= high
    of grids of ``steps`` equal steps, moved by less than half a step so that 0 lies on them.
    """
    few = max(1, _TABLE // len(edges))  # grids at a time
    parts = [_squared_error(counts, edges, ends[first : first + few], steps) for first in range(0, len(ends), few)]
    return np.concatenate(parts)


def _squared_error(counts: np.ndarray, edges: np.ndarray, ends: np.ndarray, steps: int) -> np.ndarray:
    step = (ends[:, 1:] - ends[:, :1]) / steps
    low = np.rint(ends[:, :1] / step) * step
    high = low + steps * step
    inside = np.clip(edges, low, high)
    # Antiderivative of the squared error: cubes of the distance to the nearest grid point,
    # plus a whole step**3 / 12 for every grid point passed, plus the clipped distance.
    nearest = np.rint(inside / step)
    off, clipped = inside - nearest * step, edges - inside
    integral = step**3 / 12 * nearest + (off * off * off + clipped * clipped * clipped) / 3
    return np.diff(integral) @ counts / (edges[1] - edges[0])
