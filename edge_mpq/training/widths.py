"""Layers with fewer channels: which may be narrower together, the weights that stay, and the graph without the rest.

Channels leave by their norm at the start, smallest first, so that those of a lesser width are
among those of a greater one (Yu et al., Slimmable Neural Networks, arXiv 1812.08928).  Masked, a
channel is there and nobody reads it; narrowed, it is gone, and the function is the same.

Axis letters: I channels of a graph (edge_mpq.training.channels), K outputs and C inputs of a layer.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import fx

from edge_mpq import graph as ir
from edge_mpq.allocators._problem import joined
from edge_mpq.simulation import weight_axis
from edge_mpq.training.channels import Channels, channels_of, is_depthwise, padding


class Group(NamedTuple):
    """Layers of one width, because they write channels that are one.

    strata: channels that the same layers write, most important first.  Of each stratum the same
    share is kept, so no layer is left without any.
    """

    layers: tuple[str, ...]
    strata: tuple[torch.Tensor, ...]


class Widths(NamedTuple):
    """What of a graph can be narrower.

    whole: layer that keeps all its outputs -> why; its group shares a channel that must stay.
    """

    channels: Channels
    groups: list[Group]
    whole: dict[str, str]

    def kept(self, widths: Sequence[float]) -> torch.Tensor:
        """Which channels there are where group g keeps ``widths[g]`` of its own, rounded up: bool [I]."""
        kept = torch.ones(self.channels.total, dtype=torch.bool)
        for group, width in zip(self.groups, widths, strict=True):
            for stratum in group.strata:
                kept[stratum[math.ceil(width * len(stratum) - 1e-9) :]] = False
        return kept


@torch.no_grad()
def widths_of(graph: fx.GraphModule) -> Widths:
    """The groups of a traced and folded graph, in the order of its layers."""
    channels = channels_of(graph)
    norms, writers = torch.zeros(channels.total), dict[int, dict[str, None]]()
    for name, numbers in channels.writes.items():
        norms.index_add_(0, numbers, _norms(graph, name, len(numbers)))
        for number in numbers.tolist():
            writers.setdefault(number, {})[name] = None
    groups, whole = [], dict[str, str]()
    for layers in joined(list(channels.writes), [list(names) for names in writers.values()]):
        strata: dict[tuple[str, ...], list[int]] = {}
        for number in dict.fromkeys(number for name in layers for number in channels.writes[name].tolist()):
            strata.setdefault(tuple(writers[number]), []).append(number)
        whys = [channels.fixed[number] for row in strata.values() for number in row if number in channels.fixed]
        if whys:
            whole.update(dict.fromkeys(layers, whys[0]))
        else:
            rows = [torch.tensor(row) for row in strata.values()]
            ordered = tuple(row[norms[row].argsort(descending=True, stable=True)] for row in rows)
            groups.append(Group(tuple(layers), ordered))
    return Widths(channels, groups, whole)


def masks(graph: fx.GraphModule, channels: Channels, kept: torch.Tensor) -> dict[str, torch.Tensor]:
    """layer -> what its weight is multiplied by to read those channels alone that are ``kept``, bool [I].

    Outputs need no mask: nobody reads them.  Layers that read all their inputs are left out.
    """
    found = {}
    for name, nodes in ir.weighted(graph).items():
        if name in channels.reads and not kept[channels.reads[name]].all():
            inputs, rank = 1 - weight_axis(ir.WEIGHTED[nodes[0].target]), nodes[0].args[1].meta["val"].dim()
            seen = kept[channels.reads[name]].float()
            found[name] = seen.view([-1 if axis == inputs else 1 for axis in range(rank)])
    return found


@torch.no_grad()
def narrowed(graph: fx.GraphModule, channels: Channels, kept: torch.Tensor) -> fx.GraphModule:
    """A copy of ``graph`` that has only the channels ``kept``, bool [I]; it computes what the masked one does."""
    narrow = ir.copied(graph)
    none = torch.zeros(0, dtype=torch.int64)
    depthwise = {node.name for node in graph.graph.nodes if is_depthwise(node)}
    for name, nodes in ir.weighted(narrow).items():
        outputs, rows = weight_axis(ir.WEIGHTED[nodes[0].target]), kept[channels.writes[name]]
        _shrink(narrow, nodes[0].args[1], outputs, rows)
        if name in channels.reads:
            _shrink(narrow, nodes[0].args[1], 1 - outputs, kept[channels.reads[name]])
        if len(nodes[0].args) > 2 and nodes[0].args[2] is not None:
            _shrink(narrow, nodes[0].args[2], 0, rows)
        if nodes[0].name in depthwise:
            each = len(rows) // nodes[0].args[6]
            nodes[0].args = (*nodes[0].args[:6], int(rows.sum()) // each)
    for node in narrow.graph.nodes:
        axis, numbers = channels.tensors.get(node.name, (0, none))
        if kept[numbers].all():
            continue
        padded = padding(node, axis)
        if padded is not None:
            place, front, back = padded
            added = int(kept[numbers[:front]].sum()), int(kept[numbers[len(numbers) - back :]].sum())
            node.args = (node.args[0], [*node.args[1][:place], *added, *node.args[1][place + 2 :]], *node.args[2:])
        extents = [*node.meta["val"].shape]
        extents[axis] = int(kept[numbers].sum())
        node.meta["val"] = node.meta["val"].new_empty(extents)
    narrow.recompile()
    return narrow


def _shrink(graph: fx.GraphModule, source: fx.Node, axis: int, kept: torch.Tensor) -> None:
    """Keep only these of a parameter's entries along ``axis``."""
    if not kept.all():
        value = ir.attribute(graph, str(source.target)).index_select(axis, kept.nonzero().flatten())
        ir.set_parameter(graph, str(source.target), value)
        source.meta["val"] = source.meta["val"].new_empty(value.shape)


def _norms(graph: fx.GraphModule, name: str, count: int) -> torch.Tensor:
    """The squared norm of the weights of each output, as a share of the mean, which is any size after folding: [K]."""
    node = ir.weighted(graph)[name][0]
    weight = ir.tensor_argument(graph, node, 1)
    assert weight is not None
    norms = weight.movedim(weight_axis(ir.WEIGHTED[node.target]), 0).flatten(1).square().sum(1)
    norms = norms.repeat(count // len(norms))  # groups of a transposed convolution share its columns
    return norms / norms.mean().clamp(min=torch.finfo(norms.dtype).tiny)
