"""Columns of a weight in which one entry towers over the rest, times the noise that rounding puts into the layer.

harm = max over columns j of (max_i |W_ij| / mean_i |W_ij|) |noise|**2 / |signal|**2, i an output and j an input;
the quotient is that of edge_mpq/sensitivity/relevance.py.  The first factor, :func:`towering`, needs no data.

The outlier-aware linear scorer of Li et al., QuantMoE-Bench: Examining Post-Training Quantization for
Mixture-of-Experts, 2024, arXiv 2406.08155, where it ranks layers by itself.
"""

from collections.abc import Iterable

import torch
from torch import fx

from edge_mpq import graph as ir
from edge_mpq.allocators import ScoreTable
from edge_mpq.cost import Menu
from edge_mpq.errors import CalibrationError
from edge_mpq.progress import Progress, silent
from edge_mpq.records.ranges import RangeTable
from edge_mpq.records.target import Target
from edge_mpq.sensitivity._one_at_a_time import widen
from edge_mpq.sensitivity.relevance import layer_noise
from edge_mpq.simulation import weight_axis


def scores(
    graph: fx.GraphModule,
    menu: Menu,
    calibration: Iterable,
    ranges: RangeTable,
    target: Target,
    progress: Progress = silent,
) -> ScoreTable:
    """layer -> pair -> towering of its weight times noise as a share of its signal."""
    batches = list(calibration)
    if not batches:
        raise CalibrationError("there is no calibration picture", "give --data a folder with pictures")
    noise = layer_noise(graph, menu, batches, ranges, target, progress)
    factors = heights(graph)
    return {name: widen({pair: factors[name] * noise[name][pair] for pair in pairs}) for name, pairs in menu.items()}


def heights(graph: fx.GraphModule) -> dict[str, float]:
    """layer -> :func:`towering` of its weight."""
    nodes = {name: found[0] for name, found in ir.weighted(graph).items()}
    return {
        name: towering(ir.attribute(graph, str(node.args[1].target)), weight_axis(ir.WEIGHTED[node.target]))
        for name, node in nodes.items()
    }


def towering(weight: torch.Tensor, axis: int = 0) -> float:
    """How many times the mean magnitude of its column the greatest entry of a weight [K, C, ...] is: 1 to K.

    axis: where the outputs K lie, edge_mpq.simulation.weight_axis of its layer.
    """
    columns = weight.detach().abs().movedim(axis, 0).flatten(1)
    means = columns.mean(0)
    return float((columns.amax(0) / means.clamp(min=torch.finfo(means.dtype).tiny)).max())
