"""ONNX + simulated graph -> ONNX whose block-wise weights are stored as such: DequantizeLinear -> MatMul.

The weight is stored [C, K] with its scales along axis 0, the one form that ONNX Runtime fuses into
MatMulNBits; a Gemm, a transposed weight or a 1x1 convolution would be turned to float at every
run, so those are written as MatMul too.  Scales and codes are those of the simulated graph.

Axis letters: K outputs, C inputs, B blocks of an output, N pictures or sequences, H rows, W columns.
"""

from collections.abc import Iterable, Iterator

import ml_dtypes
import numpy as np
import onnx
import torch
from onnx import helper
from torch import fx

from edge_mpq import graph as ir
from edge_mpq import simulation
from edge_mpq.errors import ExportError
from edge_mpq.quantizers.blocks import BlockQuantizer
from edge_mpq.records import formats
from export import newer_opset_of_onnx
from export.lint.editing import store, tidy, unused
from export.lint.reading import DEQUANTIZE, Reading, attribute
from export.onnx_from_torch import WEIGHTED_OPS, source_of

# The opset that brings blocks and four bits, and the one that brings two.
BLOCKED, TWO_BITS = 21, 25
# ONNX Runtime 1.32 fuses two-bit weights of other numbers of outputs to wrong products: these travel in four bits.
TWO_BIT_OUTPUTS = 4
TYPES = {
    (2, True): ml_dtypes.int2, (4, True): ml_dtypes.int4, (8, True): np.int8,
    (2, False): ml_dtypes.uint2, (4, False): ml_dtypes.uint4, (8, False): np.uint8,
}  # fmt: skip


def insert(
    model: onnx.ModelProto, float_onnx: onnx.ModelProto, graph: fx.GraphModule, quantized: fx.GraphModule
) -> onnx.ModelProto:
    """``model`` with the block-wise weights of ``quantized``; itself where there are none.

    float_onnx: the model as the exporter made it from ``graph``, whose nodes say where they come
    from.  Raises ExportError where a layer is not in the ONNX.
    """
    grids = {name: simulation.weight_quantizer(quantized, name) for name in ir.weighted(graph)}
    blocked = {name: grid for name, grid in grids.items() if isinstance(grid, BlockQuantizer) and not is_split(grid)}
    if not blocked:
        return model
    narrow = any(container(grid) == 2 for grid in blocked.values())
    raised = newer_opset_of_onnx.raised(model, TWO_BITS if narrow else BLOCKED)
    for name, source, node in places(raised, float_onnx, graph, blocked):
        weight = ir.attribute(quantized, str(source.args[1].target)).detach().flatten(1)
        write(raised, node, blocked[name], weight)
    tidy(raised)
    onnx.checker.check_model(raised)
    return raised


def places(
    model: onnx.ModelProto, float_onnx: onnx.ModelProto, graph: fx.GraphModule, layers: Iterable[str]
) -> Iterator[tuple[str, fx.Node, onnx.NodeProto]]:
    """Each layer, the nodes of ``graph`` that apply it, and those of ``model``; ExportError where one is missing."""
    sources = {node.name: source_of(node) for node in float_onnx.graph.node}
    for name in layers:
        for source in ir.weighted(graph)[name]:
            found = (
                item
                for item in model.graph.node
                if sources.get(item.name) == source.name and item.op_type in WEIGHTED_OPS
            )
            node = next(found, None)
            if node is None:
                raise ExportError(f"layer {name!r} is not in the ONNX", "plan again for this model")
            yield name, source, node


def container(grid: BlockQuantizer) -> int:
    """The bits of the type that holds every code of ``grid``."""
    return max(containers(grid))


def containers(grid: BlockQuantizer) -> list[int]:
    """The bits of the type that holds the codes of each block [B]."""
    held = [formats.container(bits) for bits in grid.bits.tolist()]
    return held if len(grid.scale) % TWO_BIT_OUTPUTS == 0 else [max(4, bits) for bits in held]


def is_split(grid: BlockQuantizer) -> bool:
    """Whether blocks want unlike types, or inputs stay float: then export.columns_into_onnx writes the layer."""
    return len(set(containers(grid))) > 1 or len(grid.kept) > 0


def write(model: onnx.ModelProto, node: onnx.NodeProto, grid: BlockQuantizer, weight: torch.Tensor) -> None:
    """Make ``node``, which multiplies by a weight [K, C], a MatMul by its codes and scales.

    Raises ExportError where inputs stay float: that takes another product.
    """
    if len(grid.kept):
        raise ExportError(f"layer {node.name!r} has {len(grid.kept)} inputs in float", "round without float inputs")
    as_product(model, node)
    node.input[1] = dequantized(model, node.name, grid, weight)


def dequantized(model: onnx.ModelProto, name: str, grid: BlockQuantizer, weight: torch.Tensor) -> str:
    """Store codes, scales and zero points of a weight [K, C]; the tensor [C, K] that a new DequantizeLinear writes."""
    kind = TYPES[container(grid), grid.symmetric]
    inputs = [
        store(model, name + ".weight_codes", grid.integers(weight).numpy().T.astype(kind)),
        store(model, name + ".weight_scale", grid.scale.numpy().T),
    ]
    if not grid.symmetric:
        inputs.append(store(model, name + ".weight_zero", grid.zero.numpy().T.astype(kind)))
    ready = unused(model, name + ".weight_rounded")
    title = unused(model, name + ".weight_dequantize")
    made = helper.make_node(DEQUANTIZE, inputs, [ready], name=title, axis=0, block_size=grid.block)
    model.graph.node.insert(0, made)
    return ready


def as_product(model: onnx.ModelProto, node: onnx.NodeProto) -> None:
    """Make a Gemm or a 1x1 convolution of a stored weight a MatMul, its bias an Add behind it, in place.

    A convolution is led through Transposes: MatMul wants the channels last.  ExportError for any other form.
    """
    if node.op_type == "MatMul":
        return
    weight = Reading(model).array(node.input[1])
    plain = {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 1} if node.op_type == "Gemm" else {"group": 1}
    usual = {"alpha": 1.0, "beta": 1.0, "group": 1}
    if weight is None or any(attribute(node, key, usual.get(key, 0)) != value for key, value in plain.items()):
        raise ExportError(f"layer {node.name!r} is a {node.op_type} of another form", "plan it in another format")
    name, source, result = node.name, node.input[0], node.output[0]
    before, after = [], []
    if node.op_type == "Conv":
        if weight.shape[2:] != (1, 1) or {*attribute(node, "strides", [1]), *attribute(node, "pads", [1])} - {0, 1}:
            raise ExportError(f"layer {name!r} is no 1x1 convolution", "plan it in another format")
        last, first = unused(model, name + "_channels_last"), unused(model, name + "_channels_first")
        before.append(helper.make_node("Transpose", [source], [last], name=last, perm=[0, 2, 3, 1]))
        after.append(helper.make_node("Transpose", [""], [result], name=first, perm=[0, 3, 1, 2]))
        source = last
    if len(node.input) > 2 and node.input[2]:
        after.insert(0, helper.make_node("Add", ["", node.input[2]], [result], name=unused(model, name + "_bias")))
    written = result
    for step in reversed(after):  # each step reads what the one before it writes
        step.output[0], written = written, unused(model, step.name + "_in")
        step.input[0] = written
    place = list(model.graph.node).index(node)
    node.op_type = "MatMul"
    del node.attribute[:]
    node.input[:] = [source, node.input[1]]
    node.output[0] = written
    for step in reversed(after):
        model.graph.node.insert(place + 1, step)
    for step in before:
        model.graph.node.insert(place, step)
