"""Fold inference-mode batch normalization into the convolution or linear before it.

BN(Wx + b) = (g/s) W x + (b - m) g/s + beta with s = sqrt(v + eps): exact up to float
rounding.  Engines do it anyway; folding first makes the weights that are quantized the
weights that run.
"""

from collections.abc import Iterable

import torch
from torch import fx

from edge_mpq import graph as ir
from edge_mpq.progress import Progress, silent
from edge_mpq.records.target import Target


def apply(
    graph: fx.GraphModule, batches: Iterable = (), target: Target | None = None, progress: Progress = silent
) -> fx.GraphModule:
    """``graph`` with every foldable batch normalization gone; changed in place and returned.

    A normalization stays where its input is read elsewhere too, or does not come from a
    weighted layer, or that layer is shared, or its bias is, or it writes its channels to
    another axis (a linear over tokens).
    """
    shared = {name for name, nodes in ir.weighted(graph).items() if len(nodes) > 1}
    for node in list(graph.graph.nodes):
        if node.op != "call_function" or node.target not in ir.BATCH_NORM or node.args[5]:
            continue
        layer = node.args[0]
        foldable = layer.target in ir.WEIGHTED and len(layer.users) == 1 and layer.args[1].op == "get_attr"
        if not foldable or ir.layer_name(layer) in shared or _channels_are_last(layer) or not _owns_bias(layer):
            continue
        _fold(graph, layer, node)
        node.replace_all_uses_with(layer)
        graph.graph.erase_node(node)
    graph.graph.eliminate_dead_code()
    graph.delete_all_unused_submodules()
    graph.recompile()
    return graph


def _channels_are_last(layer: fx.Node) -> bool:
    return ir.WEIGHTED[layer.target] == "linear" and layer.meta["val"].dim() > 2


def _owns_bias(layer: fx.Node) -> bool:
    """Whether nobody else reads the bias of a layer, or it has none."""
    bias = layer.args[2] if len(layer.args) > 2 else None
    return bias is None or (bias.op == "get_attr" and len(bias.users) == 1)


@torch.no_grad()
def _fold(graph: fx.GraphModule, layer: fx.Node, norm: fx.Node) -> None:
    weight = ir.tensor_argument(graph, layer, 1)
    mean, variance = ir.tensor_argument(graph, norm, 3), ir.tensor_argument(graph, norm, 4)
    assert weight is not None and mean is not None and variance is not None
    gain, shift = ir.tensor_argument(graph, norm, 1), ir.tensor_argument(graph, norm, 2)
    factor = factor_of(gain, variance, norm.args[7])
    scaled = scaled_channels(weight, factor, ir.WEIGHTED[layer.target], groups_of(layer))
    bias = folded_bias(ir.tensor_argument(graph, layer, 2), factor, shift, mean)
    ir.set_parameter(graph, str(layer.args[1].target), scaled)
    if len(layer.args) > 2 and layer.args[2] is not None:
        ir.set_parameter(graph, str(layer.args[2].target), bias)
        return
    name = ir.missing_path(graph, layer, "bias")
    ir.set_parameter(graph, name, bias)
    with graph.graph.inserting_before(layer):
        node = graph.graph.get_attr(name)
    node.meta["val"] = bias
    layer.args = (*layer.args[:2], node, *layer.args[3:])


def factor_of(gain: torch.Tensor | None, variance: torch.Tensor, eps: float) -> torch.Tensor:
    """What a normalization multiplies each channel by: [K]."""
    factor = torch.rsqrt(variance + eps)
    return factor if gain is None else factor * gain


def folded_bias(
    bias: torch.Tensor | None, factor: torch.Tensor, shift: torch.Tensor | None, mean: torch.Tensor
) -> torch.Tensor:
    """The bias [K] of a layer after its normalization is folded into it."""
    return (bias - mean if bias is not None else -mean) * factor + (shift if shift is not None else 0)


def scaled_channels(weight: torch.Tensor, factor: torch.Tensor, kind: str, groups: int) -> torch.Tensor:
    """A layer's weight with each of its K output channels multiplied by ``factor`` [K]."""
    if kind != "conv_transpose2d":
        return weight * factor.view(-1, *[1] * (weight.dim() - 1))
    per_group = factor.view(groups, 1, -1).expand(-1, weight.shape[0] // groups, -1)  # of [C, K/groups, H, W]
    return weight * per_group.reshape(weight.shape[0], -1, *[1] * (weight.dim() - 2))


def groups_of(layer: fx.Node) -> int:
    """The groups of a transposed convolution, whose channels lie in another order; 1 of any other layer."""
    return layer.args[6] if layer.target == ir.aten.conv_transpose2d.input and len(layer.args) > 6 else 1
