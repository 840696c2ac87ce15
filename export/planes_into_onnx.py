"""ONNX + simulated graph -> ONNX whose trit planes are stored as such: two products of two-bit weights, and their sum.

W x = a1 T1 x + a2 T2 x.  Each plane is a block-wise weight of export.blocks_into_onnx, so that ONNX Runtime
fuses either branch into MatMulNBits; the sum of two dequantized planes before one MatMul would be turned to
float at every run.

Axis letters: K outputs, C inputs, B blocks of an output.
"""

import onnx
import torch
from onnx import helper
from torch import fx

from edge_mpq import graph as ir
from edge_mpq import simulation
from edge_mpq.quantizers.blocks import BlockQuantizer
from edge_mpq.quantizers.trit_planes import TritPlaneQuantizer
from export import newer_opset_of_onnx
from export.blocks_into_onnx import TWO_BITS, as_product, dequantized, places
from export.lint.editing import tidy, unused


def insert(
    model: onnx.ModelProto, float_onnx: onnx.ModelProto, graph: fx.GraphModule, quantized: fx.GraphModule
) -> onnx.ModelProto:
    """``model`` with the trit planes of ``quantized``; itself where there are none.

    float_onnx: the model as the exporter made it from ``graph``, whose nodes say where they come
    from.  Raises ExportError where a layer is not in the ONNX.
    """
    grids = {name: simulation.weight_quantizer(quantized, name) for name in ir.weighted(graph)}
    planes = {name: grid for name, grid in grids.items() if isinstance(grid, TritPlaneQuantizer)}
    if not planes:
        return model
    raised = newer_opset_of_onnx.raised(model, TWO_BITS)
    for name, source, node in places(raised, float_onnx, graph, planes):
        _write(raised, node, planes[name], ir.attribute(quantized, str(source.args[1].target)).detach().flatten(1))
    tidy(raised)
    onnx.checker.check_model(raised)
    return raised


def _write(model: onnx.ModelProto, node: onnx.NodeProto, grid: TritPlaneQuantizer, weight: torch.Tensor) -> None:
    """Make ``node``, which multiplies by a weight [K, C], the sum of two products."""
    as_product(model, node)
    titles = (node.name, unused(model, node.name + "_second"))
    parts, weights = [unused(model, title + "_product") for title in titles], []
    for title, trits, scale in zip(titles, grid.planes(weight), grid.scale, strict=True):
        # A plane without trits may take any scale.
        step = torch.where(scale > 0, scale, torch.ones_like(scale))
        plane = BlockQuantizer(step, torch.zeros_like(step), 2, True, grid.block)
        values = (trits.unflatten(1, (-1, grid.block)) * step[..., None]).flatten(1)
        weights.append(dequantized(model, title, plane, values))
    place = list(model.graph.node).index(node)
    other = helper.make_node("MatMul", [node.input[0], weights[1]], [parts[1]], name=titles[1])
    added = helper.make_node("Add", parts, [node.output[0]], name=unused(model, node.name + "_sum"))
    node.input[1], node.output[0] = weights[0], parts[0]
    model.graph.node.insert(place + 1, other)
    model.graph.node.insert(place + 2, added)
