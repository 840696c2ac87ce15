"""Every weight takes the nearest grid point: what the simulated graph does by itself."""

from collections.abc import Iterable

from torch import fx

from edge_mpq.progress import Progress, silent


def apply(quantized: fx.GraphModule, graph: fx.GraphModule, batches: Iterable, progress: Progress = silent) -> None:
    """Leave the weights to their quantizers."""
