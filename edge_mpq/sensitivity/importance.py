"""Importance of what rounding changes: the first-order weight of each value, taken along its way to the grid.

harm = mean over pictures of sum_i |dL/dw_i (Q(w_i) - w_i)|, the same for what the layer reads, with L the
negative log-likelihood of answers drawn from the model itself.  A layer of importance
E sum |dL/dw w| loses it in proportion to its relative error, so the harm falls with every bit;
unlike |dL/dw w| 2**(-2 b) it sees heavy tails, and weights that are on the grid already.

Yvinec et al., Gradient-Based Post-Training Quantization: Challenging the Status Quo, arXiv
2308.07662, use an importance for mixed precision; the formula could not be read, and this one is a
reconstruction from the attribution methods that the authors' abstract leaves open.
"""

from collections.abc import Iterable

import torch
from torch import fx

from edge_mpq import graph as ir
from edge_mpq.allocators import ScoreTable
from edge_mpq.calibration import inputs_of
from edge_mpq.cost import Menu
from edge_mpq.errors import CalibrationError
from edge_mpq.progress import Progress, silent
from edge_mpq.records.ranges import RangeTable
from edge_mpq.records.target import Target
from edge_mpq.sensitivity._one_at_a_time import input_rounder, rounded_weight, widen
from edge_mpq.sensitivity.fisher import gradients


def scores(
    graph: fx.GraphModule,
    menu: Menu,
    calibration: Iterable,
    ranges: RangeTable,
    target: Target,
    progress: Progress = silent,
) -> ScoreTable:
    """layer -> pair -> importance that rounding moves, in nats a picture."""
    nodes = {name: found for name, found in ir.weighted(graph).items() if name in menu}
    floats = {name: ir.attribute(graph, str(found[0].args[1].target)).detach() for name, found in nodes.items()}
    moved = {
        (name, pair[0]): rounded_weight(graph, nodes[name][0], pair[0]) - weight
        for name, weight in floats.items()
        for pair in menu[name]
    }
    of_weights = dict.fromkeys(moved, 0.0)
    of_inputs = {(name, pair[1]): 0.0 for name, pairs in menu.items() for pair in pairs}
    draw, seen = torch.Generator().manual_seed(0), 0
    for batch in progress(calibration, "sensitivity (importance)"):
        values = inputs_of(batch)
        for name, (of_weight, places) in gradients(graph, nodes, values, draw).items():
            # Gradients of independent pictures have mean zero: N of them together are sqrt(N) of one.
            for form in {pair[0] for pair in menu[name]}:
                of_weights[name, form] += (of_weight * moved[name, form]).abs().sum().item() * len(values) ** 0.5
            for node, read, gradient in places:
                for form in {pair[1] for pair in menu[name]}:
                    step = input_rounder(node, form, ranges, target)(read) - read
                    of_inputs[name, form] += (gradient * step).abs().sum().item()
        seen += len(values)
    if not seen:
        raise CalibrationError("there is no calibration picture", "give --data a folder with pictures")
    return {
        name: widen({pair: (of_weights[name, pair[0]] + of_inputs[name, pair[1]]) / seen for pair in pairs})
        for name, pairs in menu.items()
    }
