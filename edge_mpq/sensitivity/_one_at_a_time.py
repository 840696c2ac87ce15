"""Quantize one layer at a time and see how far the model's output moves."""

from collections.abc import Callable, Iterable

import torch
from torch import fx, nn

from edge_mpq import graph as ir
from edge_mpq import quantizers
from edge_mpq.allocators import ScoreTable
from edge_mpq.calibration import inputs_of
from edge_mpq.cost import Menu, Pair
from edge_mpq.errors import CalibrationError
from edge_mpq.partial import PartialRun
from edge_mpq.progress import Progress
from edge_mpq.records import formats
from edge_mpq.records.ranges import RangeTable
from edge_mpq.records.target import Target
from edge_mpq.simulation import weight_axis

Divergence = Callable[[torch.Tensor, torch.Tensor], float]


def rounded_weight(graph: fx.GraphModule, node: fx.Node, form_name: str) -> torch.Tensor:
    """The weight of a layer node rounded to a format, per output channel or block."""
    weight = ir.attribute(graph, str(node.args[1].target)).detach()
    form, axis = formats.get(form_name), weight_axis(ir.WEIGHTED[node.target])
    return quantizers.of_weight(form, weight, axis)(weight)


def input_rounder(node: fx.Node, form_name: str, ranges: RangeTable, target: Target) -> nn.Module:
    """The quantizer of what a layer node reads."""
    form = formats.get(form_name)
    low, high = ranges.tensors.get(node.args[0].name, (0.0, 0.0))
    symmetric = target.scheme.activation == "int8"
    bounds = torch.tensor([low]), torch.tensor([high])
    return quantizers.for_format(form).quantizer(form, *bounds, symmetric, None)


@torch.no_grad()
def measure(
    graph: fx.GraphModule,
    menu: Menu,
    calibration: Iterable,
    ranges: RangeTable,
    target: Target,
    progress: Progress,
    divergence: Divergence,
    what: str,
) -> ScoreTable:
    """Mean ``divergence(float output, output with one layer rounded)`` a batch, for every pair of the menu."""
    nodes = ir.weighted(graph)
    tried = {name: [pair for pair in pairs if pair != ("fp32", "fp32")] for name, pairs in menu.items()}
    weights = {(name, form): rounded_weight(graph, nodes[name][0], form) for name in tried for form, _ in tried[name]}
    table: ScoreTable = {name: dict.fromkeys(pairs, 0.0) for name, pairs in menu.items()}
    run, seen = PartialRun(graph), 0
    for batch in progress(calibration, what):
        values = inputs_of(batch)
        reference = run.run(values)
        for name, pairs in tried.items():
            for pair in pairs:
                changed = {nodes[name][0].args[1]: weights[name, pair[0]]}
                rounders = {node: input_rounder(node, pair[1], ranges, target) for node in nodes[name]}
                table[name][pair] += divergence(reference, run.rerun(changed, rounders)) * len(values)
        seen += len(values)
    if not seen:
        raise CalibrationError("there is no calibration picture", "give --data a folder with pictures")
    return {name: widen({pair: harm / seen for pair, harm in row.items()}) for name, row in table.items()}


def widen(row: dict[Pair, float]) -> dict[Pair, float]:
    """Take sampling noise out of a row: a pair at least as wide in both formats never scores worse."""

    def bits(pair: Pair) -> tuple[int, int]:
        return formats.get(pair[0]).bits, formats.get(pair[1]).bits

    return {
        pair: max(
            harm for other, harm in row.items() if bits(other)[0] >= bits(pair)[0] and bits(other)[1] >= bits(pair)[1]
        )
        for pair in row
    }
