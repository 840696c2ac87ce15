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
    weighted layer, or that layer is shared, or writes its channels to another axis (a
    linear over tokens).
    """
    shared = {name for name, nodes in ir.weighted(graph).items() if len(nodes) > 1}
    for node in list(graph.graph.nodes):
        if node.op != "call_function" or node.target not in ir.BATCH_NORM or node.args[5]:
            continue
        layer = node.args[0]
        foldable = layer.target in ir.WEIGHTED and len(layer.users) == 1 and layer.args[1].op == "get_attr"
        if not foldable or ir.layer_name(layer) in shared or _channels_are_last(layer):
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


@torch.no_grad()
def _fold(graph: fx.GraphModule, layer: fx.Node, norm: fx.Node) -> None:
    weight = ir.tensor_argument(graph, layer, 1)
    mean, variance = ir.tensor_argument(graph, norm, 3), ir.tensor_argument(graph, norm, 4)
    assert weight is not None and mean is not None and variance is not None
    gain, shift = ir.tensor_argument(graph, norm, 1), ir.tensor_argument(graph, norm, 2)
    factor = torch.rsqrt(variance + norm.args[7])
    if gain is not None:
        factor = factor * gain
    bias = ir.tensor_argument(graph, layer, 2)
    bias = (bias - mean if bias is not None else -mean) * factor + (shift if shift is not None else 0)
    groups = layer.args[6] if layer.target == ir.aten.conv_transpose2d.input and len(layer.args) > 6 else 1
    if ir.WEIGHTED[layer.target] == "conv_transpose2d":  # [C, K/groups, H, W]
        per_group = factor.view(groups, 1, -1).expand(-1, weight.shape[0] // groups, -1)
        scaled = weight * per_group.reshape(weight.shape[0], -1, *[1] * (weight.dim() - 2))
    else:
        scaled = weight * factor.view(-1, *[1] * (weight.dim() - 1))
    ir.set_parameter(graph, str(layer.args[1].target), scaled)
    name = ir.layer_name(layer) + ".bias"
    ir.set_parameter(graph, name, bias)
    if len(layer.args) > 2 and layer.args[2] is not None:
        return
    with graph.graph.inserting_before(layer):
        node = graph.graph.get_attr(name)
    node.meta["val"] = bias
    layer.args = (*layer.args[:2], node, *layer.args[3:])
