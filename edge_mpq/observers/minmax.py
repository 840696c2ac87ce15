"""The full range: least and greatest value ever seen.

Right where the tails carry meaning (attention scores, regression outputs) and at 8 bits
on well-behaved activations; one outlier wastes the grid.
"""

import torch

from edge_mpq.observers import _histogram


class Observer:
    """Keeps two numbers; ``bits`` plays no part."""

    def __init__(self, bits: int = 8, symmetric: bool = False) -> None:
        self.symmetric = symmetric
        self._low = self._high = 0.0
        self._seen = False

    def see(self, values: torch.Tensor) -> None:
        """Take in one batch; CalibrationError when values are NaN or infinite."""
        if values.numel():
            low, high = _histogram.extent(values.detach().to(torch.float32))
            self._low, self._high, self._seen = min(low, self._low), max(high, self._high), True

    def range(self) -> tuple[float, float]:
        """The range of the grid; CalibrationError before anything was seen."""
        if not self._seen:
            raise _histogram.nothing_seen()
        return _histogram.around_zero(self._low, self._high, self.symmetric)
