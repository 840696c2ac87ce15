"""Relevance that passes through a layer, times how far the model's answer moves when it alone is rounded.

harm = c_l KL(float || layer l rounded), with c_l of edge_mpq.relevance and the divergence of score kl.

Ranjan and Savakis, Mix-QViT: Mixed-Precision Vision Transformer Quantization Driven by Layer
Importance and Quantization Sensitivity, 2025, arXiv 2501.06357, by the authors of LRP-QViT, whose
score is relevance alone.  A reconstruction: of the paper only the abstract could be read.
"""

from collections.abc import Iterable

from torch import fx

from edge_mpq.allocators import ScoreTable
from edge_mpq.cost import Menu
from edge_mpq.progress import Progress, silent
from edge_mpq.records.ranges import RangeTable
from edge_mpq.records.target import Target
from edge_mpq.relevance import contributions
from edge_mpq.sensitivity import kl


def scores(
    graph: fx.GraphModule,
    menu: Menu,
    calibration: Iterable,
    ranges: RangeTable,
    target: Target,
    progress: Progress = silent,
) -> ScoreTable:
    """layer -> pair -> KL divergence in nats a picture, times the layer's share of relevance."""
    batches = list(calibration)
    passed = contributions(graph, batches, progress)
    moved = kl.scores(graph, menu, batches, ranges, target, progress)
    return {name: {pair: passed[name] * harm for pair, harm in row.items()} for name, row in moved.items()}
