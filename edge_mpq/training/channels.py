"""Which channels of a graph are one: they are there together, or are left out together.

Every output channel of every layer gets a number, and the numbers are followed through the graph.
What meets in an Add, an elementwise product or a padded shortcut is one channel; a depthwise
convolution hands on those it reads; a Concat strings them together.  A channel must stay where it
is the model's output, or is read by what mixes channels or knows how many there are: a
normalization that was not folded, attention, a grouped convolution, a view, a slice of channels.

Axis letters: I channels of a graph, K outputs and C inputs of a layer.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import fx

from edge_mpq import graph as ir

aten = ir.aten
# Elementwise, though torch does not tag them so.
_ELEMENTWISE = (aten.hardswish.default, aten.dropout.default, aten.contiguous.default)
# Over rows and columns; channels stay on axis 1.
_SPATIAL = (
    aten.max_pool2d.default,
    aten.avg_pool2d.default,
    aten.adaptive_avg_pool2d.default,
    aten.upsample_nearest2d.vec,
    aten.upsample_nearest2d.default,
    aten.upsample_bilinear2d.vec,
    aten.upsample_bilinear2d.default,
)
_PADS = (aten.pad.default, aten.constant_pad_nd.default)


class Tensor(NamedTuple):
    """Where the channels of a tensor lie: their axis, and the number of each, int64 [extent of the axis]."""

    axis: int
    numbers: torch.Tensor


class Channels(NamedTuple):
    """The channels of a graph; equal numbers are one channel.

    total: I.  tensors: node -> where its channels lie; others have none.  writes, reads: layer ->
    the numbers of its K outputs and C inputs; a depthwise layer, and one whose inputs have no
    number, reads none.  fixed: number of a channel that must stay -> why.
    """

    total: int
    tensors: dict[str, Tensor]
    writes: dict[str, torch.Tensor]
    reads: dict[str, torch.Tensor]
    fixed: dict[int, str]


def channels_of(graph: fx.GraphModule) -> Channels:
    """The channels of a traced graph."""
    walk = _Walk(graph)
    for node in graph.graph.nodes:
        walk.visit(node)
    one = torch.tensor([walk.first(number) for number in range(len(walk.leader))], dtype=torch.int64)
    return Channels(
        len(one),
        {node.name: Tensor(held.axis, one[held.numbers]) for node, held in walk.tensors.items()},
        {name: one[numbers] for name, numbers in walk.writes.items()},
        {name: one[numbers] for name, numbers in walk.reads.items()},
        {walk.first(number): why for number, why in reversed(walk.fixed.items())},
    )


def is_depthwise(node: fx.Node) -> bool:
    """Whether each output of a convolution reads one input alone.  A transposed one lays out its groups otherwise."""
    groups = node.args[6] if node.target in ir.CONV and len(node.args) > 6 else 1
    return groups > 1 and ir.WEIGHTED[node.target] != "conv_transpose2d" and groups == _extent(node.args[0], 1)


def padding(node: fx.Node, axis: int) -> tuple[int, int, int] | None:
    """Where the padding of ``axis`` stands in the argument of a pad, and how much there is in front and behind."""
    place = 2 * (node.meta["val"].dim() - 1 - axis)
    if node.target not in _PADS or not any(node.args[1][place : place + 2]):
        return None
    return place, *node.args[1][place : place + 2]


def _extent(node: fx.Node, axis: int) -> int:
    return int(node.meta["val"].shape[axis])


class _Walk:
    """Node after node, the numbers of the channels so far."""

    def __init__(self, graph: fx.GraphModule):
        self.layers = {node: (name, nodes) for name, nodes in ir.weighted(graph).items() for node in nodes}
        self.leader: list[int] = []
        self.tensors: dict[fx.Node, Tensor] = {}
        self.writes: dict[str, torch.Tensor] = {}
        self.reads: dict[str, torch.Tensor] = {}
        self.fixed: dict[int, str] = {}

    def first(self, number: int) -> int:
        """The number that stands for all that are one with ``number``."""
        while self.leader[number] != number:
            number = self.leader[number]
        return number

    def visit(self, node: fx.Node) -> None:
        """Number what ``node`` writes, or say why what it reads must stay."""
        carried = [source for source in node.all_input_nodes if source in self.tensors]
        if node in self.layers:
            made: Tensor | None = self._layer(node, *self.layers[node])
        elif not carried or node.target == aten.sym_size.int:
            return
        else:
            made = self._passed(node, carried)
        if made is not None:
            self.tensors[node] = made
            return
        why = "the model's output" if node.op == "output" else f"read whole by {node.name}"
        for source in carried:
            self._fix(self.tensors[source].numbers, why)

    def _layer(self, node: fx.Node, name: str, nodes: Sequence[fx.Node]) -> Tensor:
        source, axis = self.tensors.get(node.args[0]), 1 if node.target in ir.CONV else node.meta["val"].dim() - 1
        numbers = self.writes[name] = self._new(_extent(node, axis))
        why = self._hindrance(node, name, nodes, source)
        if why:
            self._fix(numbers, why)
            if source is not None:
                self._fix(source.numbers, why)
        elif source is not None and is_depthwise(node):
            self._unite(numbers, source.numbers.repeat_interleave(len(numbers) // len(source.numbers)))
        elif source is not None:
            self.reads[name] = source.numbers
        return Tensor(axis, numbers)

    def _hindrance(self, node: fx.Node, name: str, nodes: Sequence[fx.Node], source: Tensor | None) -> str:
        """Why a layer's inputs and outputs must stay; '' where they need not."""
        if len(nodes) > 1:
            return f"{name} is applied {len(nodes)} times"
        if is_depthwise(node):
            return "" if source is not None else f"{name} is depthwise over what no layer writes"
        if node.target in ir.CONV and len(node.args) > 6 and node.args[6] > 1:
            return f"{name} has {node.args[6]} groups"
        wanted = 1 if node.target in ir.CONV else node.args[0].meta["val"].dim() - 1
        return f"{name} reads another axis" if source is not None and source.axis != wanted else ""

    def _passed(self, node: fx.Node, carried: list[fx.Node]) -> Tensor | None:
        """What an operation hands on; None where it mixes channels or counts them."""
        held, rank = self.tensors[carried[0]], carried[0].meta["val"].dim()
        if node.target in _ELEMENTWISE or torch.Tag.pointwise in getattr(node.target, "tags", ()):
            return self._together(node, carried)
        if node.target in ir.CONCAT:
            return self._strung(node, carried)
        if node.target in _PADS:
            return self._padded(node, held)
        if node.target in _SPATIAL:
            return held if held.axis == 1 else None
        if node.target == aten.slice.Tensor:
            return held if node.args[1] % rank != held.axis else None
        if node.target == aten.mean.dim and node.args[1]:
            gone = {axis % rank for axis in node.args[1]}
            keeps = len(node.args) > 2 and node.args[2]
            axis = held.axis if keeps else held.axis - sum(other < held.axis for other in gone)
            return Tensor(axis, held.numbers) if held.axis not in gone else None
        if node.target == aten.flatten.using_ints:
            start, end = (axis % rank for axis in (*node.args[1:], *(0, -1)[len(node.args) - 1 :]))
            if held.axis < start:
                return held
            places = math.prod(carried[0].meta["val"].shape[start + 1 : end + 1])
            return Tensor(start, held.numbers.repeat_interleave(int(places))) if held.axis == start else None
        return None

    def _together(self, node: fx.Node, carried: list[fx.Node]) -> Tensor | None:
        """An elementwise operation makes one channel of all that meet in it."""
        rank, first = node.meta["val"].dim(), self.tensors[carried[0]]
        behind = first.axis - carried[0].meta["val"].dim()
        for source in node.all_input_nodes:
            held, value = self.tensors.get(source), source.meta.get("val")
            if held is not None:
                if held.axis - value.dim() != behind or len(held.numbers) != len(first.numbers):
                    return None
                self._unite(held.numbers, first.numbers)
            elif isinstance(value, torch.Tensor) and value.dim() + behind >= 0 and value.shape[behind] != 1:
                return None
        return Tensor(rank + behind, first.numbers)

    def _strung(self, node: fx.Node, carried: list[fx.Node]) -> Tensor | None:
        """A Concat of channels; what has no number, the picture itself, gets one of its own that stays."""
        axis = (node.args[1] if len(node.args) > 1 else 0) % node.meta["val"].dim()
        if any(self.tensors[source].axis != axis for source in carried):
            return None
        held = (self.tensors.get(source) or Tensor(axis, self._new(_extent(source, axis))) for source in node.args[0])
        return Tensor(axis, torch.cat([part.numbers for part in held]))

    def _padded(self, node: fx.Node, held: Tensor) -> Tensor | None:
        """Channels of a constant have numbers too: those beside them in an Add are one with them."""
        found = padding(node, held.axis)
        if found is None:
            return held
        _, front, back = found
        copies = node.target == aten.pad.default and len(node.args) > 2 and node.args[2] != "constant"
        if copies or min(front, back) < 0:
            return None
        return Tensor(held.axis, torch.cat([self._new(front), held.numbers, self._new(back)]))

    def _new(self, count: int) -> torch.Tensor:
        begin = len(self.leader)
        self.leader.extend(range(begin, begin + count))
        return torch.arange(begin, begin + count)

    def _unite(self, numbers: torch.Tensor, others: torch.Tensor) -> None:
        for one, other in zip(numbers.tolist(), others.tolist(), strict=True):
            self.leader[self.first(one)] = self.first(other)

    def _fix(self, numbers: torch.Tensor, why: str) -> None:
        for number in numbers.tolist():
            self.fixed.setdefault(number, why)
