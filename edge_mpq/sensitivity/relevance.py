"""Relevance that passes through a layer, times the noise that rounding puts into what it computes.

harm = c_l (|dW x|**2 + |W dx|**2) / |W x|**2: c_l is the share of the model's own answers that
came through layer l, by layer-wise relevance propagation (edge_mpq.relevance), and the quotient the
power of noise as a share of the signal's, which falls fourfold with every bit.  So the plan of
least total harm is the optimum that bits = mean + 1/2 log2(c_l / geometric mean of c) rounds.

Ranjan and Savakis, LRP-QViT: Mixed-Precision Vision Transformer Quantization via Layer-wise
Relevance Propagation, 2024, arXiv 2401.11243.  A reconstruction: of the paper only the abstract and
tables could be read, and what a bit is worth to a layer is measured here, not taken as alike for all.
"""

from collections.abc import Iterable

import torch
from torch import fx

from edge_mpq import graph as ir
from edge_mpq import routing
from edge_mpq.allocators import ScoreTable
from edge_mpq.calibration import inputs_of
from edge_mpq.cost import Menu
from edge_mpq.partial import PartialRun
from edge_mpq.progress import Progress, silent
from edge_mpq.records.ranges import RangeTable
from edge_mpq.records.target import Target
from edge_mpq.relevance import contributions
from edge_mpq.sensitivity._one_at_a_time import input_rounder, rounded_weight, widen

# A layer that computes nothing but zero is harmed by nothing.
LEAST = torch.finfo(torch.float32).tiny


def scores(
    graph: fx.GraphModule,
    menu: Menu,
    calibration: Iterable,
    ranges: RangeTable,
    target: Target,
    progress: Progress = silent,
) -> ScoreTable:
    """layer -> pair -> relevance a picture times noise as a share of the layer's signal."""
    batches = list(calibration)
    passed = contributions(graph, batches, progress)
    noise = layer_noise(graph, menu, batches, ranges, target, progress)
    return {name: widen({pair: passed[name] * noise[name][pair] for pair in pairs}) for name, pairs in menu.items()}


@torch.no_grad()
def layer_noise(
    graph: fx.GraphModule,
    menu: Menu,
    batches: Iterable,
    ranges: RangeTable,
    target: Target,
    progress: Progress = silent,
) -> ScoreTable:
    """layer -> pair -> power of the noise in what the layer computes, as a share of its signal's, biases aside.

    Of a routed expert, for the tokens that its router sends it.
    """
    nodes = {name: found for name, found in ir.weighted(graph).items() if name in menu}
    moved = {
        (name, pair[0]): rounded_weight(graph, nodes[name][0], pair[0]) - _weight(graph, nodes[name][0])
        for name, pairs in menu.items()
        for pair in pairs
    }
    of_weights, signal = dict.fromkeys(moved, 0.0), dict.fromkeys(menu, 0.0)
    of_inputs = {(name, pair[1]): 0.0 for name, pairs in menu.items() for pair in pairs}
    run, experts = PartialRun(graph), routing.sent(graph)
    for batch in progress(batches, "noise of layers"):
        run.run(inputs_of(batch))
        for name, places in nodes.items():
            for node in places:
                read, weight = run.values[node.args[0]], run.values[node.args[1]]
                if name in experts:
                    read = read.flatten(0, -2)[experts[name].rows(run.values)]
                signal[name] += _power(node, read, weight)
                for form in {pair[0] for pair in menu[name]}:
                    of_weights[name, form] += _power(node, read, moved[name, form])
                for form in {pair[1] for pair in menu[name]}:
                    error = input_rounder(node, form, ranges, target)(read) - read
                    of_inputs[name, form] += _power(node, error, weight)
    return {
        name: {
            pair: (of_weights[name, pair[0]] + of_inputs[name, pair[1]]) / max(signal[name], LEAST) for pair in pairs
        }
        for name, pairs in menu.items()
    }


def _weight(graph: fx.GraphModule, node: fx.Node) -> torch.Tensor:
    return ir.attribute(graph, str(node.args[1].target)).detach()


def _power(node: fx.Node, read: torch.Tensor, weight: torch.Tensor) -> float:
    """Power of what a layer makes of ``read`` with ``weight`` and no bias."""
    return node.target(read, weight, None, *node.args[3:]).square().sum().item()
