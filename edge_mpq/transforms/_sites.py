"""Where a scale and a shift of every channel can move from a tensor into the layers around it.

A source writes channels that it can scale and shift by its own parameters: a layer or batch
normalization by gain and offset, a convolution or linear by its rows, a Sub and Mul that
an earlier rewrite left.  Its readers are the layers that read those channels and can take scale
and shift back.  Whoever reads a channel and cannot (a residual Add after the normalization, a
GELU, queries and keys) keeps that channel as it is.

Channels are followed by what the graph does to their numbers: the source's output is replaced
by the index of each channel and sent through the operations that only move or average values.
So fused and separate projections, heads, windows and any order of axes need no rule of their own.
"""

import operator
from collections import ChainMap, Counter
from typing import Any, NamedTuple

import torch
from torch import fx

from edge_mpq import graph as ir
from edge_mpq.partial import PartialRun

aten = ir.aten
# Operations whose output values are input values, elsewhere.
_MOVES = (
    aten.view.default,
    aten.reshape.default,
    aten.flatten.using_ints,
    aten.unflatten.int,
    aten.permute.default,
    aten.transpose.int,
    aten.squeeze.dim,
    aten.unsqueeze.default,
    aten.contiguous.default,
    aten.clone.default,
    aten.expand.default,
    aten.slice.Tensor,
    aten.select.int,
    aten.unbind.int,
    aten.split.Tensor,
    aten.split_with_sizes.default,
    aten.chunk.default,
    aten.roll.default,
    operator.getitem,
)
# Over windows of rows and columns; a window of one channel alone commutes with its scale and shift.
_POOLS = (aten.max_pool2d.default, aten.avg_pool2d.default, aten.adaptive_avg_pool2d.default)
_RELU = (aten.relu.default, aten.relu_.default)
# Parameters by position: gain and offset.
_NORMS = {aten.layer_norm.default: (2, 3), aten.batch_norm.default: (1, 2)}


class Reader(NamedTuple):
    """A layer and, for each of its input channels, the source's channel that it is: int64 [C of the layer]."""

    node: fx.Node
    channels: torch.Tensor


class Site(NamedTuple):
    """One source with its readers.

    free: bool [C], the source's channels that nobody else reads.  shifts: whether a shift may
    move too; through a ReLU, or into a layer that pads with zeros, only a scale may.
    """

    source: fx.Node
    readers: tuple[Reader, ...]
    free: torch.Tensor
    shifts: bool


def parameters_of(node: fx.Node) -> tuple[int, int] | None:
    """Where a source keeps scale and shift among its arguments; None where it has none or is a pair."""
    if node.target in ir.WEIGHTED:
        return 1, 2
    return _NORMS.get(node.target)


def is_pair(node: fx.Node) -> bool:
    """Whether ``node`` is the Mul of a Sub and a Mul by parameters of the last axis."""
    if node.target != aten.mul.Tensor or not isinstance(node.args[0], fx.Node):
        return False
    before = node.args[0]
    if before.target != aten.sub.Tensor or len(before.users) > 1 or before.kwargs:
        return False
    extent = before.args[0].meta["val"].shape[-1]
    vectors = (node.args[1], before.args[1])
    return all(isinstance(v, fx.Node) and v.op == "get_attr" and v.meta["val"].shape == (extent,) for v in vectors)


def channel_axis(node: fx.Node) -> int:
    """The axis of the channels that a layer reads, or a source writes."""
    convolves = node.target in ir.CONV or node.target in ir.BATCH_NORM
    return 1 if convolves else node.meta["val"].dim() - 1


@torch.no_grad()
def sites(graph: fx.GraphModule) -> list[Site]:
    """Every source of ``graph`` with a reader, in the graph's order.

    A layer applied twice, or whose parameters another layer shares, is neither.
    """
    example = ir.inputs(graph)
    run = PartialRun(graph)
    run.run(torch.zeros(2, *ir.shape(example), dtype=example.meta["val"].dtype))
    uses = Counter(str(node.target) for node in graph.graph.nodes if node.op == "get_attr" for _ in node.users)
    found = [_walk(graph, run, node, uses) for node in graph.graph.nodes if _is_source(node, uses)]
    return [site for site in found if any(site.free[reader.channels].any() for reader in site.readers)]


def _is_source(node: fx.Node, uses: Counter) -> bool:
    if node.op != "call_function":
        return False
    if node.target == aten.layer_norm.default and len(node.args[1]) != 1:
        return False  # it has a gain for every place, not for every channel
    return is_pair(node) or (parameters_of(node) is not None and _alone(node, uses))


def _alone(node: fx.Node, uses: Counter) -> bool:
    """Whether the weight and bias of a layer, or gain and offset of a normalization, are its own."""
    positions = parameters_of(node)
    assert positions is not None
    held = [node.args[index] for index in positions if len(node.args) > index and node.args[index] is not None]
    weighted = node.target in ir.WEIGHTED
    return all(item.op == "get_attr" and uses[str(item.target)] == 1 for item in held) and (bool(held) or not weighted)


def _walk(graph: fx.GraphModule, run: PartialRun, source: fx.Node, uses: Counter) -> Site:
    value, axis = run.values[source], channel_axis(source)
    count = value.shape[axis]
    index = torch.arange(count, dtype=torch.float32)
    along = [-1 if other == axis else 1 for other in range(value.dim())]
    labels: dict[fx.Node, Any] = {source: index.view(along).expand(value.shape)}
    free, shifts, readers = torch.ones(count, dtype=torch.bool), True, []
    for node in graph.graph.nodes:
        carried = [argument for argument in node.all_input_nodes if argument in labels and node is not source]
        if not carried or node.target == aten.sym_size.int:
            continue
        channels = _read(node, labels, uses)
        if channels is not None:
            readers.append(Reader(node, channels))
            shifts = shifts and _is_unpadded(node)
            continue
        through = _through(node)
        passed = _passed(run, node, labels, through) if through in labels else None
        if passed is not None:
            labels[node] = passed
            shifts = shifts and node.target not in _RELU
        for argument in carried:
            if passed is None or argument is not through:
                free[_every(labels[argument])] = False
    return Site(source, tuple(readers), free, shifts)


def _read(node: fx.Node, labels: dict[fx.Node, Any], uses: Counter) -> torch.Tensor | None:
    """The source's channel of each input channel of a layer; None where ``node`` is no layer that reads whole ones."""
    if node.target not in ir.WEIGHTED or node.args[0] not in labels or not _alone(node, uses):
        return None
    held = labels[node.args[0]]
    if node.target in ir.CONV and held.dim() < node.args[1].meta["val"].dim():
        return None
    rows = held.movedim(channel_axis(node) if node.target in ir.CONV else -1, -1).flatten(0, -2)
    return rows[0].long() if bool((rows == rows[0]).all()) else None


def _is_unpadded(node: fx.Node) -> bool:
    """Whether every output of a layer meets every tap of its kernel: a shift at the input is one at the output."""
    if ir.WEIGHTED[node.target] == "linear":
        return True
    if ir.WEIGHTED[node.target] == "conv_transpose2d":
        return False
    padding = node.args[4] if len(node.args) > 4 else 0
    if isinstance(padding, str):
        return padding == "valid"
    return not any(padding if isinstance(padding, list | tuple) else [padding])


def _through(node: fx.Node) -> fx.Node | None:
    """The argument whose channels ``node`` passes on: of attention the values, whose weights sum to one."""
    if node.target == aten.scaled_dot_product_attention.default:
        return node.args[2] if node.args[2] not in node.args[:2] and not node.kwargs.get("enable_gqa") else None
    if node.target in (aten.matmul.default, aten.bmm.default):
        weights = node.args[0]
        last = weights.target == aten.softmax.int and weights.args[1] in (-1, weights.meta["val"].dim() - 1)
        return node.args[1] if last else None
    moves = node.target in (*_MOVES, *_POOLS, *_RELU, aten.mean.dim)
    return node.args[0] if moves and isinstance(node.args[0], fx.Node) else None


def _passed(run: PartialRun, node: fx.Node, labels: dict[fx.Node, Any], through: fx.Node | None) -> Any:
    """The labels of what ``node`` writes; None where it mixes channels."""
    held = labels[through]
    if node.target in (aten.scaled_dot_product_attention.default, aten.matmul.default, aten.bmm.default):
        return held[..., :1, :].expand_as(run.values[node]) if _constant(held, [-2]) else None
    if node.target in _POOLS and not (_constant(held, [-2, -1]) and _averages_no_padding(node)):
        return None
    if node.target == aten.mean.dim and not _constant(held, node.args[1]):
        return None
    written = run.compute(node, ChainMap(labels, run.values))
    return torch.round(written) if isinstance(written, torch.Tensor) else written


def _constant(held: torch.Tensor, axes: list[int] | None) -> bool:
    """Whether labels do not change along ``axes``, all of them for None."""
    axes = list(range(held.dim())) if axes is None else axes
    return bool((held.amax(axes) == held.amin(axes)).all())


def _averages_no_padding(node: fx.Node) -> bool:
    if node.target != aten.avg_pool2d.default or len(node.args) < 4:
        return True
    return not any(node.args[3])


def _every(labels: Any) -> torch.Tensor:
    """All labels in one value, which may be the list that a split gives."""
    parts = labels if isinstance(labels, list | tuple) else [labels]
    return torch.cat([part.flatten() for part in parts]).unique().long()
