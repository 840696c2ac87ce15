"""Shift biases so that each quantized layer's mean output is the float layer's.

Rounding weights moves the mean of every output channel; the next layers see the shift,
not the noise.  Nagel et al., Data-Free Quantization through Weight Equalization and Bias
Correction, ICCV 2019, in its empirical form: layers are corrected in order, each on the
inputs that the layers already quantized and corrected give it, in one pass.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import fx

from edge_mpq import graph as ir
from edge_mpq.calibration import inputs_of
from edge_mpq.partial import PartialRun
from edge_mpq.progress import Progress, silent


@torch.no_grad()
def correct(
    quantized: fx.GraphModule, reference: fx.GraphModule, batches: Iterable, progress: Progress = silent
) -> None:
    """Correct every bias of ``quantized`` in place, against the float graph it was made from.

    Layers without a bias, and those whose weight stays float, are left alone.  One
    batch is held at a time; with several, each layer's shift is the mean over batches of
    shifts that are exact for their batch.
    """
    layers = {node.name: node for nodes in ir.weighted(reference).values() for node in nodes}
    corrected = {
        node.name: node
        for node in quantized.graph.nodes
        if node.name in layers
        and node.args[1].op == "call_module"
        and ir.tensor_argument(quantized, node, 2) is not None
    }
    shifts: dict[str, torch.Tensor] = {}
    seen = 0
    for batch in progress(batches, "correcting biases"):
        values = inputs_of(batch)
        floats = _channel_means(reference, values, layers.keys())
        for name, shift in _shifts(quantized, values, corrected, floats).items():
            shifts[name] = shifts.get(name, 0) + shift * len(values)
        seen += len(values)
    by_bias: dict[str, list[torch.Tensor]] = {}
    for name, node in corrected.items():
        by_bias.setdefault(str(node.args[2].target), []).append(shifts[name] / seen)
    for path, wanted in by_bias.items():  # a shared layer has one bias for all its applications
        ir.set_parameter(quantized, path, ir.attribute(quantized, path) + torch.stack(wanted).mean(0))


def _mean(node: fx.Node, value: torch.Tensor) -> torch.Tensor:
    """Mean of each output channel [K]: axis 1 of convolutions, the last of linears."""
    channel = value.dim() - 1 if ir.WEIGHTED[node.target] == "linear" else 1
    return value.mean([axis for axis in range(value.dim()) if axis != channel])


def _channel_means(graph: fx.GraphModule, batch: torch.Tensor, names: Iterable[str]) -> dict[str, torch.Tensor]:
    run = PartialRun(graph)
    run.run(batch)
    wanted = set(names)
    return {node.name: _mean(node, value) for node, value in run.values.items() if node.name in wanted}


def _shifts(
    graph: fx.GraphModule, batch: torch.Tensor, corrected: dict[str, fx.Node], floats: dict[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """The shift of each corrected layer on one batch, later layers seeing the earlier ones corrected."""
    run = PartialRun(graph)
    values: dict[fx.Node, Any] = {}
    shifts: dict[str, torch.Tensor] = {}
    last = {argument: node for node in graph.graph.nodes for argument in node.all_input_nodes}
    for node in graph.graph.nodes:
        if node.op == "output":
            break
        value = batch if node.op == "placeholder" else run.compute(node, values)
        if node.name in corrected:
            shift = floats[node.name] - _mean(node, value)
            shifts[node.name] = shift
            linear = ir.WEIGHTED[node.target] == "linear"
            value = value + (shift if linear else shift.view(-1, *[1] * (value.dim() - 2)))
        values[node] = value
        for argument in node.all_input_nodes:  # free what nobody reads any more
            if last[argument] is node:
                values.pop(argument, None)
    return shifts
