"""How far the answers move when noise is added to a layer's weights, times the noise of rounding it.

harm = mean over r of D_r |noise|**2 / |signal|**2: D_r is the divergence of the model's answers with noise
of 0.3 standard deviations of one layer's weights added to them, and the quotient that of
edge_mpq/sensitivity/relevance.py.

TDMPQ of Nanda, Balija and Sahoo, CPTQuant: A Novel Mixed Precision Post-Training Quantization
Techniques for Large Language Models, 2024, arXiv 2412.03599, as its published code computes it: by finite
differences, there with noise of unit variance whatever the weights are.  The Taylor terms that it is
named after are scores of their own: ``importance`` is the first, ``fisher`` the second.
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

SIZE, DRAWS = 0.3, 4


def scores(
    graph: fx.GraphModule,
    menu: Menu,
    calibration: Iterable,
    ranges: RangeTable,
    target: Target,
    progress: Progress = silent,
) -> ScoreTable:
    """layer -> pair -> divergence under noise, in nats a picture, times the layer's share of noise."""
    return _probes.scores(graph, menu, calibration, ranges, target, progress, noisy, "sensitivity (noise)")


def alone(
    graph: fx.GraphModule, names: Iterable[str], batches: Iterable, progress: Progress = silent
) -> dict[str, float]:
    """layer -> divergence under noise, in nats a picture: the publication's score, of no width."""
    return _probes.moved(graph, names, batches, noisy, progress, "noise")


def noisy(weight: torch.Tensor) -> list[torch.Tensor]:
    """``weight`` with ``DRAWS`` draws of noise, the same for every weight of one shape."""
    draw = torch.Generator().manual_seed(0)
    size = SIZE * weight.std(correction=0)
    return [weight + size * torch.randn(weight.shape, generator=draw) for _ in range(DRAWS)]
