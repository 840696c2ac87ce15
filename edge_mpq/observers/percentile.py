"""The range that holds a fixed share, 99.99 %, of the magnitudes (Wu et al. 2020, arXiv 2004.09602).

One clip c is taken on |x| and cuts both sides, so a non-negative tensor loses the whole
share from its only tail, and a short negative tail (SiLU, hard-swish) loses nothing.
Exact zeros do not count: the share of a sparse tensor is that of its non-zero values.
"""

import numpy as np

from edge_mpq.errors import CalibrationError
from edge_mpq.observers._histogram import Histogram, HistogramObserver


class Observer(HistogramObserver):
    """percentile: of the non-zero magnitudes that stay inside, above 50 and up to 100."""

    def __init__(self, bits: int = 8, symmetric: bool = False, percentile: float = 99.99) -> None:
        super().__init__(bits, symmetric)
        if not 50 < percentile <= 100:
            raise CalibrationError(f"percentile {percentile} keeps too little or too much", "use 99 to 100")
        self.percentile = percentile

    def clip(self, seen: Histogram) -> tuple[float, float]:
        """Both ends at the least magnitude below which the share lies, linear inside its bin."""
        below = np.cumsum(seen.magnitudes())
        wanted = below[-1] * self.percentile / 100
        last = int(np.searchsorted(below, wanted))
        short = (below[last] - wanted) / (below[last] - (below[last - 1] if last else 0))
        bound = float((last + 1 - short) * seen.width)
        return max(seen.low, -bound), min(seen.high, bound)
