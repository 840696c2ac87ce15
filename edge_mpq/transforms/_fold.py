"""Move a scale and shift of channels out of a tensor: X' = (X - shift) / scale, and nobody's answer changes.

The source takes them into its parameters and the readers give them back,
W' = W diag(scale), bias' = bias + W shift.  Folding into LayerNorm is that of Wei et al.,
Outlier Suppression+, arXiv 2304.09145, and Li et al., RepQ-ViT, arXiv 2212.08254; folding
into the rows of the values holds because the weights of attention sum to one.
Sums are taken in float64, so the float function stays to its own rounding.
"""

from collections.abc import Sequence

import torch
from torch import fx

from edge_mpq import graph as ir
from edge_mpq.hessians import groups_of
from edge_mpq.transforms import batchnorm_fold
from edge_mpq.transforms._sites import Reader, Site, is_pair, parameters_of


@torch.no_grad()
def fold(graph: fx.GraphModule, site: Site, shift: torch.Tensor, scale: torch.Tensor) -> None:
    """Make ``site`` write (X - shift) / scale, in place; shift and scale [C], scale above zero.

    Channels that are not free keep theirs.  A ValueError for a shift where the site bears none
    is our own mistake.
    """
    shift = torch.where(site.free, shift, torch.zeros_like(shift)).double()
    scale = torch.where(site.free, scale, torch.ones_like(scale)).double()
    if not site.shifts and shift.any():
        raise ValueError(f"{site.source.name} bears no shift")
    _at_source(graph, site.source, shift, scale)
    for reader in site.readers:
        _at_reader(graph, reader, shift[reader.channels], scale[reader.channels])
    graph.recompile()


def _at_source(graph: fx.GraphModule, node: fx.Node, shift: torch.Tensor, scale: torch.Tensor) -> None:
    if is_pair(node):
        _at_pair(graph, node, shift, scale)
        return
    positions = parameters_of(node)
    assert positions is not None
    gain, offset = (ir.tensor_argument(graph, node, index) for index in positions)
    if node.target in ir.WEIGHTED:
        assert gain is not None
        kind, groups = ir.WEIGHTED[node.target], batchnorm_fold.groups_of(node)
        gain = batchnorm_fold.scaled_channels(gain.double(), 1 / scale, kind, groups)
    else:
        gain = (torch.ones_like(scale) if gain is None else gain.double()) / scale
    set_argument(graph, node, positions[0], gain)
    if offset is not None or shift.any():
        offset = torch.zeros_like(shift) if offset is None else offset.double()
        set_argument(graph, node, positions[1], (offset - shift) / scale)


def _at_pair(graph: fx.GraphModule, node: fx.Node, shift: torch.Tensor, scale: torch.Tensor) -> None:
    """((x - b) f - shift) / scale = (x - (b + shift / f)) f / scale."""
    before, factor = node.args[0], ir.tensor_argument(graph, node, 1)
    held = ir.tensor_argument(graph, before, 1)
    assert factor is not None and held is not None
    set_argument(graph, before, 1, held.double() + shift / factor.double())
    set_argument(graph, node, 1, factor.double() / scale)


def _at_reader(graph: fx.GraphModule, reader: Reader, shift: torch.Tensor, scale: torch.Tensor) -> None:
    weight, bias = (ir.tensor_argument(graph, reader.node, index) for index in (1, 2))
    assert weight is not None
    set_argument(graph, reader.node, 1, scaled_inputs(weight.double(), scale, reader.node))
    if shift.any():
        added = scaled_inputs(weight.double(), shift, reader.node).flatten(1).sum(1)
        set_argument(graph, reader.node, 2, added if bias is None else bias.double() + added)


def scaled_inputs(weight: torch.Tensor, factor: torch.Tensor, node: fx.Node) -> torch.Tensor:
    """The weight of layer ``node`` with each of its input channels multiplied by ``factor`` [C]."""
    spatial = [1] * (weight.dim() - 2)
    if ir.WEIGHTED[node.target] == "conv_transpose2d":
        return weight * factor.view(-1, 1, *spatial)  # of [C, K/groups, H, W]
    groups = groups_of(node)
    each = factor.view(groups, 1, -1).expand(-1, weight.shape[0] // groups, -1)  # of [K, C/groups, H, W]
    return weight * each.reshape(weight.shape[0], -1, *spatial)


def insert(graph: fx.GraphModule, layers: Sequence[fx.Node]) -> Site:
    """A Sub and Mul before linear ``layers`` that read one tensor: a site where there was none.

    They change nothing until something is folded.  The pair is pointwise, so an engine may fuse it
    into the activation before it, and is what the readers' quantizer stands behind.
    """
    tensor = layers[0].args[0]
    extent = tensor.meta["val"].shape[-1]
    made = tensor
    weight = ir.weight_of(layers[0])
    assert weight is not None
    module = str(weight.target).rpartition(".")[0]
    with graph.graph.inserting_before(layers[0]):
        for operation, what, start in (
            (ir.aten.sub.Tensor, "shift", torch.zeros(extent)),
            (ir.aten.mul.Tensor, "factor", torch.ones(extent)),
        ):
            path = ".".join(filter(None, (module, f"{tensor.name}_{what}")))
            made = graph.graph.call_function(operation, (made, _parameter(graph, path, start)))
            made.meta["val"], made.meta["custom"] = tensor.meta["val"], {ir.NAME: made.name}
    for layer in layers:
        layer.replace_input_with(tensor, made)
    graph.recompile()
    readers = tuple(Reader(layer, torch.arange(extent)) for layer in layers)
    return Site(made, readers, torch.ones(extent, dtype=torch.bool), True)


def set_argument(graph: fx.GraphModule, node: fx.Node, index: int, value: torch.Tensor) -> None:
    """Give ``node`` the float32 parameter ``value`` as argument ``index``, in place of the one it has or anew."""
    value = value.float()
    if len(node.args) > index and node.args[index] is not None:
        ir.set_parameter(graph, str(node.args[index].target), value)
        return
    with graph.graph.inserting_before(node):
        made = _parameter(graph, _path(graph, node, index), value)
    arguments = [*node.args, *[None] * (index + 1 - len(node.args))]
    arguments[index] = made
    node.args = tuple(arguments)


def _path(graph: fx.GraphModule, node: fx.Node, index: int) -> str:
    """The name of a parameter that a layer or normalization was without."""
    positions = parameters_of(node)
    assert positions is not None
    what = ("weight", "bias")[positions.index(index)]
    return ir.missing_path(graph, node, what) if node.target in ir.WEIGHTED else f"{node.name}_{what}"


def _parameter(graph: fx.GraphModule, path: str, value: torch.Tensor) -> fx.Node:
    ir.set_parameter(graph, path, value)
    node = graph.graph.get_attr(path)
    node.meta["val"] = value
    return node
