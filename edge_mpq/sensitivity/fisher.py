"""Diagonal Fisher information: predicted rise of the loss from rounding, one backward pass a batch.

harm = 1/2 sum_i F_i d_i**2 over a layer's weights and inputs, d the rounding error, F the
mean squared gradient of log-likelihood with answers drawn from the model itself (so that
F is the Gauss-Newton Hessian near a minimum).  LeCun et al., Optimal Brain Damage, 1990;
with the square of a batch's mean gradient scaled by the batch size as its unbiased
estimate for weights.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import fx

from edge_mpq import graph as ir
from edge_mpq.allocators import ScoreTable
from edge_mpq.calibration import inputs_of
from edge_mpq.cost import Menu
from edge_mpq.errors import CalibrationError
from edge_mpq.likelihood import drawn_loss
from edge_mpq.partial import PartialRun
from edge_mpq.progress import Progress, silent
from edge_mpq.records.ranges import RangeTable
from edge_mpq.records.target import Target
from edge_mpq.sensitivity._one_at_a_time import input_rounder, rounded_weight, widen


def scores(
    graph: fx.GraphModule,
    menu: Menu,
    calibration: Iterable,
    ranges: RangeTable,
    target: Target,
    progress: Progress = silent,
) -> ScoreTable:
    """layer -> pair -> predicted rise of the loss in nats a picture."""
    nodes = {name: found for name, found in ir.weighted(graph).items() if name in menu}
    weight_forms = {name: {pair[0] for pair in menu[name]} for name in nodes}
    errors = {
        (name, form): (rounded_weight(graph, nodes[name][0], form) - _weight(graph, nodes[name][0])).square()
        for name in nodes
        for form in weight_forms[name]
    }
    of_weights = dict.fromkeys(errors, 0.0)
    of_inputs = {(name, pair[1]): 0.0 for name, pairs in menu.items() for pair in pairs}
    draw, seen = torch.Generator().manual_seed(0), 0
    for batch in progress(calibration, "sensitivity (fisher)"):
        values = inputs_of(batch)
        grown = gradients(graph, nodes, values, draw)
        for name, (weight_gradient, places) in grown.items():
            # Gradients of independent pictures have mean zero: the square of their sum is the sum of squares.
            information = weight_gradient.square()
            for form in weight_forms[name]:
                of_weights[name, form] += 0.5 * (information * errors[name, form]).sum().item()
            for node, read, gradient in places:
                for form in {pair[1] for pair in menu[name]}:
                    moved = input_rounder(node, form, ranges, target)(read) - read
                    of_inputs[name, form] += 0.5 * (gradient * moved).square().sum().item()
        seen += len(values)
    if not seen:
        raise CalibrationError("there is no calibration picture", "give --data a folder with pictures")
    return {
        name: widen({pair: (of_weights[name, pair[0]] + of_inputs[name, pair[1]]) / seen for pair in pairs})
        for name, pairs in menu.items()
    }


def _weight(graph: fx.GraphModule, node: fx.Node) -> torch.Tensor:
    return ir.attribute(graph, str(node.args[1].target)).detach()


def _derivable(read: torch.Tensor) -> torch.Tensor:
    """What a layer reads, as a leaf where it is constant: it is rounded like any other."""
    return read if read.requires_grad else read.detach().requires_grad_()


@torch.enable_grad()
def gradients(
    graph: fx.GraphModule, nodes: dict[str, list[fx.Node]], values: torch.Tensor, draw: torch.Generator
) -> dict[str, tuple[torch.Tensor, list[tuple[fx.Node, torch.Tensor, torch.Tensor]]]]:
    """layer -> (gradient of the summed loss for the weight, [(node, its input, gradient for it)])."""
    run = PartialRun(graph)
    leaves = {node: None for found in nodes.values() for node in found}
    reads: dict[fx.Node, torch.Tensor] = {}
    computed: dict[fx.Node, Any] = {}
    for node in graph.graph.nodes:
        if node.op == "output":
            break
        if node.op == "placeholder":
            computed[node] = values.clone().requires_grad_(values.is_floating_point())  # tokens are not
            continue
        if node in leaves:
            reads[node] = computed[node.args[0]] = _derivable(computed[node.args[0]])
        computed[node] = run.compute(node, computed)
    loss = drawn_loss(computed[ir.outputs(graph)], len(values), draw)
    weights = [ir.attribute(graph, str(found[0].args[1].target)) for found in nodes.values()]
    wanted = [*weights, *reads.values()]
    derived = torch.autograd.grad(loss, wanted)
    of_inputs = dict(zip(reads, derived[len(weights) :], strict=True))
    return {
        name: (gradient, [(node, reads[node].detach(), of_inputs[node]) for node in nodes[name]])
        for name, gradient in zip(nodes, derived[: len(weights)], strict=True)
    }
