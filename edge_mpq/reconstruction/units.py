"""How a simulated graph is cut into units, and how one unit is run by itself.

A unit reads one tensor and is judged at another.  A layer reaches behind its fused
activation.  A block reaches from one place where a single tensor goes on to the next: in a
residual network from Add to Add, in a plain one it is a layer; what lies under a U-Net's
outermost skip is one block.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import fx

from edge_mpq import graph as ir
from edge_mpq.partial import PartialRun


class Unit(NamedTuple):
    """layers: their names, by first application.  source, output: nodes of the simulated graph."""

    layers: tuple[str, ...]
    source: fx.Node
    output: fx.Node


def layers(graph: fx.GraphModule, names: Iterable[str]) -> list[Unit]:
    """One unit for each layer of ``names``, in graph order; a layer applied twice is learned where it is first."""
    wanted = set(names)
    first = {name: nodes[0] for name, nodes in ir.weighted(graph).items() if name in wanted}
    place = {node: index for index, node in enumerate(graph.graph.nodes)}
    return [
        Unit((name,), node.args[0], ir.tail(node))
        for name, node in sorted(first.items(), key=lambda one: place[one[1]])
    ]


def blocks(graph: fx.GraphModule, names: Iterable[str]) -> list[Unit]:
    """The blocks that hold a layer of ``names``, in graph order."""
    left = {nodes[0]: name for name, nodes in ir.weighted(graph).items() if name in set(names)}
    found, source = [], ir.inputs(graph)
    for cut in _cuts(graph):
        segment = between(source, cut)
        if any(node in left for node in segment):
            found.append(Unit(tuple(left[node] for node in segment if node in left), source, unrounded(cut)))
        source = cut
    return found


def _cuts(graph: fx.GraphModule) -> Iterator[fx.Node]:
    """Nodes behind which nothing reads any earlier tensor; the output is the last.

    None between a layer and its fused activation.
    """
    order = list(graph.graph.nodes)
    place = {node: index for index, node in enumerate(order)}
    alive: dict[fx.Node, int] = {}
    depends = {ir.inputs(graph)}
    end = ir.outputs(graph)
    for index, node in enumerate(order):
        if node in depends or any(argument in depends for argument in node.all_input_nodes):
            depends.add(node)
            alive = {earlier: last for earlier, last in alive.items() if last > index}
            if is_size(node):
                continue
            alive[node] = max((place[user] for user in node.users), default=index)
            whole = set(alive) == {node} and node.op != "placeholder"
            if node is end or (whole and ir.followed_by(node, ir.FUSED_ACTIVATIONS) is None):
                yield node
            if node is end:
                return


def is_size(node: fx.Node) -> bool:
    """Whether the value of a node is a number, as extents of a tensor are."""
    return isinstance(node.meta.get("val"), int | torch.SymInt)


def unrounded(node: fx.Node) -> fx.Node:
    """The tensor that a quantizer node rounds, or the node itself."""
    while node.op == "call_module":
        node = node.all_input_nodes[0]
    return node


def between(source: fx.Node, output: fx.Node) -> list[fx.Node]:
    """What must be computed for ``output`` when ``source`` and all earlier sizes are known, in graph order.

    Parameters are left out.
    """
    place = {node: index for index, node in enumerate(output.graph.nodes)}
    needed, stack = {output}, [output]
    while stack:
        for argument in stack.pop().all_input_nodes:
            known = argument is source or (is_size(argument) and place[argument] < place[source])
            if not known and argument not in needed and argument.op != "get_attr":
                needed.add(argument)
                stack.append(argument)
    return [node for node in output.graph.nodes if node in needed]


class _Values(dict):
    """Values of nodes; parameters are read from the graph each time, since they are being replaced."""

    def __init__(self, graph: fx.GraphModule, known: Mapping[fx.Node, Any]):
        super().__init__(known)
        self.graph = graph

    def __missing__(self, node: fx.Node) -> torch.Tensor:
        return ir.attribute(self.graph, str(node.target))


class Segment:
    """A part of a graph as a function of the one tensor it reads, and of sizes (:meth:`Walk.sizes`)."""

    def __init__(self, graph: fx.GraphModule, source: fx.Node, output: fx.Node):
        self.source, self.output = source, output
        self.nodes = between(source, output)
        self._run = PartialRun(graph)

    def __call__(self, values: torch.Tensor, changed: Mapping[fx.Node, Any]) -> torch.Tensor:
        """The output where the source is ``values`` and the nodes of ``changed`` are what it says."""
        known = _Values(self._run.graph, {self.source: values, **changed})
        for node in self.nodes:
            if node not in known:
                known[node] = self._run.compute(node, known)
        return known[self.output]


class Walk:
    """A graph run once over batches, up to a node at a time, each node on the weights of that moment.

    Holds, for every batch, the tensors that are still to be read.
    """

    def __init__(self, graph: fx.GraphModule, batches: Iterable[torch.Tensor]):
        entry = ir.inputs(graph)
        self._run = PartialRun(graph)
        self._values = [_Values(graph, {entry: batch}) for batch in batches]
        self._rest = [node for node in graph.graph.nodes if node.op not in ("placeholder", "get_attr", "output")]
        self._last = {argument: node for node in self._rest for argument in node.all_input_nodes}

    @torch.no_grad()
    def before(self, stop: fx.Node, wanted: fx.Node) -> list[torch.Tensor]:
        """Run what comes before ``stop``; the values of ``wanted``, which ``stop`` or a later node reads."""
        while self._rest[0] is not stop:
            node = self._rest.pop(0)
            for values in self._values:
                values[node] = self._run.compute(node, values)
                for argument in node.all_input_nodes:
                    if self._last[argument] is node and not is_size(argument):
                        values.pop(argument, None)
        return [values[wanted] for values in self._values]

    def sizes(self) -> list[dict[fx.Node, Any]]:
        """The sizes that were met so far, for every batch."""
        return [{node: value for node, value in values.items() if is_size(node)} for values in self._values]
