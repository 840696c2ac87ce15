"""Run a graph once, then again with a few values changed, computing only what follows them.

Trying each layer of a model at each format costs half the work this way, and no copy of
the model.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import fx

from edge_mpq import graph as ir


class PartialRun:
    """One batch of one graph, kept so that parts can run again.  Holds every value of the batch."""

    def __init__(self, graph: fx.GraphModule):
        self.graph, self.output = graph, ir.outputs(graph)
        self.values: dict[fx.Node, Any] = {}
        self._after: dict[tuple[fx.Node, ...], list[fx.Node]] = {}

    def run(self, batch: torch.Tensor) -> torch.Tensor:
        """The output for ``batch``; every value on the way is kept until the next run."""
        self.values.clear()
        for node in self.graph.graph.nodes:
            if node.op == "placeholder":
                self.values[node] = batch
            elif node.op != "output":
                self.values[node] = self.compute(node, self.values)
        return self.values[self.output]

    def rerun(
        self, changed: Mapping[fx.Node, torch.Tensor], rounders: Mapping[fx.Node, Callable] | None = None
    ) -> torch.Tensor:
        """The output if ``changed`` nodes had those values, and nodes of ``rounders`` read their input rounded."""
        rounders = rounders or {}
        values = dict(self.values)
        values.update(changed)
        for node in self._following((*changed, *rounders)):
            if node not in changed:
                values[node] = self.compute(node, values, rounders.get(node))
        return values[self.output]

    def compute(self, node: fx.Node, values: Mapping[fx.Node, Any], rounder: Callable | None = None) -> Any:
        """The value of one node from the values of its arguments."""
        arguments = fx.node.map_arg(node.args, values.__getitem__)
        keywords = fx.node.map_arg(node.kwargs, values.__getitem__)
        if rounder is not None:
            arguments = (rounder(arguments[0]), *arguments[1:])
        if node.op == "get_attr":
            return ir.attribute(self.graph, str(node.target))
        if node.op == "call_module":
            return self.graph.get_submodule(str(node.target))(*arguments, **keywords)
        return node.target(*arguments, **keywords)

    def _following(self, starts: tuple[fx.Node, ...]) -> list[fx.Node]:
        """``starts`` and every node that depends on one, in order."""
        if starts not in self._after:
            reached = set(starts)
            for node in self.graph.graph.nodes:
                if any(argument in reached for argument in node.all_input_nodes):
                    reached.add(node)
            order = [node for node in self.graph.graph.nodes if node in reached and node.op != "output"]
            self._after[starts] = order
        return self._after[starts]
