"""How far the answers move when a layer's smallest weights are set to zero, times the noise of rounding it.

harm = mean over s of D_s |noise|**2 / |signal|**2: D_s is the divergence of the model's answers with the
share s of one layer's weights pruned by magnitude, and the quotient that of
edge_mpq/sensitivity/relevance.py.

PMPQ of Nanda, Balija and Sahoo, CPTQuant: A Novel Mixed Precision Post-Training Quantization
Techniques for Large Language Models, 2024, arXiv 2412.03599: there accuracy is measured with labels, at one
share, and a layer's loss of it stands for all widths alike.  A reconstruction from the abstract and
published code, where the sign is inverted for perplexities.
"""

from collections.abc import Iterable

import torch
from torch import fx

from edge_mpq.allocators import ScoreTable
from edge_mpq.cost import Menu
from edge_mpq.progress import Progress, silent
from edge_mpq.records.ranges import RangeTable
from edge_mpq.records.target import Target
from edge_mpq.sensitivity import _probes

SHARES = (0.3, 0.5)


def scores(
    graph: fx.GraphModule,
    menu: Menu,
    calibration: Iterable,
    ranges: RangeTable,
    target: Target,
    progress: Progress = silent,
) -> ScoreTable:
    """layer -> pair -> divergence under pruning, in nats a picture, times the layer's share of noise."""
    what = "sensitivity (pruning)"
    return _probes.scores(graph, menu, calibration, ranges, target, progress, pruned, what)


def alone(
    graph: fx.GraphModule, names: Iterable[str], batches: Iterable, progress: Progress = silent
) -> dict[str, float]:
    """layer -> divergence under pruning, in nats a picture: the publication's score, of no width."""
    return _probes.moved(graph, names, batches, pruned, progress, "pruning")


def pruned(weight: torch.Tensor) -> list[torch.Tensor]:
    """``weight`` without its smallest entries, once for each of ``SHARES``."""
    order = weight.abs().flatten().argsort()
    return [weight.flatten().index_fill(0, order[: round(share * len(order))], 0.0).view_as(weight) for share in SHARES]
