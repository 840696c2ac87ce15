"""A graph that rounds by other formats from step to step, and reads other channels: what a search trains."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import fx, nn

from edge_mpq import graph as ir
from edge_mpq import quantizers, simulation
from edge_mpq.cost import Pair
from edge_mpq.partial import PartialRun
from edge_mpq.placement import points_of
from edge_mpq.records import formats
from edge_mpq.records.plan import Choice, PrecisionPlan
from edge_mpq.records.ranges import RangeTable
from edge_mpq.records.target import Target

# A parameter of nothing but zeros moves as if it had this root mean square (Shazeer and Stern, arXiv 1804.04235).
LEAST_SIZE = 1e-3


class Switching(nn.Module):
    """Inputs [N, ...] -> what a traced graph answers under the formats of the moment, with gradients.

    It rounds what :func:`edge_mpq.simulation.simulate` would, save that dead channels keep a scale
    of their own; the graph is a copy.
    """

    def __init__(self, graph: fx.GraphModule, target: Target, ranges: RangeTable, choices: Mapping[str, Pair]):
        super().__init__()
        self.graph, self.target, self.ranges = ir.copied(graph), target, ranges
        self.layers = {node: name for name, nodes in ir.weighted(self.graph).items() for node in nodes}
        self.switch(choices)

    def switch(self, choices: Mapping[str, Pair], masks: Mapping[str, torch.Tensor] = MappingProxyType({})) -> None:
        """Round by ``choices`` (layer -> pair) from now on, weights times their ``masks``."""
        self.masks = masks
        plan = PrecisionPlan("", self.target.name, {name: Choice(*pair) for name, pair in choices.items()})
        self.choices, self.points = choices, points_of(self.graph, plan, self.target.scheme)
        nodes = {node.name: node for node in self.graph.graph.nodes}
        self.readers = {
            nodes[point.tensor]: set(point.readers) or {reader.name for reader in nodes[point.tensor].users}
            for point in self.points
        }

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        found = simulation.activation_quantizers(self.points, self.target, self.ranges)
        grids = {point.tensor: grid for point, grid in found}
        run, values, rounded = PartialRun(self.graph), dict[fx.Node, Any](), dict[fx.Node, torch.Tensor]()
        for node in self.graph.graph.nodes:
            seen = {
                source: rounded[source] if node.name in self.readers.get(source, ()) else values[source]
                for source in node.all_input_nodes
            }
            if node.op == "output":
                return seen[ir.outputs(self.graph)]
            if node in self.layers:
                seen[node.args[1]] = self._rounded(node, seen[node.args[1]])
            values[node] = inputs if node.op == "placeholder" else run.compute(node, seen)
            if node in self.readers:
                rounded[node] = grids[node.name](values[node])
        raise AssertionError("a graph has an output")

    def parameter_groups(self, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
        """Rates as shares of each parameter's size, which folding has made anything."""
        sizes = ((value, value.detach().square().mean().sqrt().item()) for value in self.parameters())
        return [
            {"params": [value], "lr": learning_rate * max(size, LEAST_SIZE), "weight_decay": weight_decay}
            for value, size in sizes
        ]

    def _rounded(self, node: fx.Node, weight: torch.Tensor) -> torch.Tensor:
        name = self.layers[node]
        form, axis = formats.get(self.choices[name][0]), simulation.weight_axis(ir.WEIGHTED[node.target])
        weight = weight * self.masks[name] if name in self.masks else weight
        return quantizers.of_weight(form, weight, axis)(weight)
