"""ONNX + simulated graph -> ONNX with Q/DQ of float8 (E4M3FN) where the plan says fp8.

Comes between export.qdq_into_onnx, which writes the integers, and
export.typed_onnx_from_weak: only strongly typed networks compute in fp8.  Scales and rounded
weights are those of the simulated graph.
"""

import ml_dtypes
import numpy as np
import onnx
from onnx import helper
from torch import fx

from edge_mpq import graph as ir
from edge_mpq import simulation
from edge_mpq.errors import ExportError
from edge_mpq.placement import Point, points_of
from edge_mpq.quantizers.floating import FloatQuantizer
from edge_mpq.records.plan import PrecisionPlan
from edge_mpq.records.target import Target
from export.blocks_into_onnx import places
from export.lint.editing import store, tidy, unused
from export.lint.reading import DEQUANTIZE, QUANTIZE, Reading
from export.onnx_from_torch import source_of
from export.typed_onnx_from_weak import HALF_SCALES, raised

LARGEST = 448.0
CODES = np.dtype(ml_dtypes.float8_e4m3fn)


def insert(
    model: onnx.ModelProto,
    float_onnx: onnx.ModelProto,
    graph: fx.GraphModule,
    quantized: fx.GraphModule,
    plan: PrecisionPlan,
    target: Target,
) -> onnx.ModelProto:
    """A copy of ``model`` that rounds the fp8 layers of ``plan`` as ``quantized`` does.

    float_onnx: the model as it was before integers were written into it, whose nodes still
    say where in ``graph`` they come from.  Raises ExportError where the target has no fp8,
    or a layer or tensor is not in the ONNX.
    """
    if "fp8" not in target.activation_formats or target.dialect != "typed":
        raise ExportError(f"{target.name} computes nothing in fp8", "plan with " + ", ".join(target.activation_formats))
    eight = raised(model, HALF_SCALES, target)
    sources = {node.name: source_of(node) for node in float_onnx.graph.node}
    for point in points_of(graph, plan, target.scheme):
        module = simulation.activation_quantizer(quantized, point.tensor)
        if point.form == "fp8" and isinstance(module, FloatQuantizer):
            _activation(eight, sources, point, module)
    grids = {name: simulation.weight_quantizer(quantized, name) for name in ir.weighted(graph)}
    mine = {
        name: grid
        for name, grid in grids.items()
        if plan.choices[name].weight == "fp8" and isinstance(grid, FloatQuantizer)
    }
    for name, _, found in places(eight, float_onnx, graph, mine):
        _weight(eight, name, found, mine[name])
    tidy(eight)
    onnx.checker.check_model(eight)
    return eight


def _activation(model: onnx.ModelProto, sources: dict[str, str], point: Point, grid: FloatQuantizer) -> None:
    """Q and DQ behind a tensor, for the readers of ``point``."""
    readers = [
        node
        for node in model.graph.node
        if point.tensor in node.input and (not point.readers or sources.get(node.name) in point.readers)
    ]
    if not readers:
        raise ExportError(f"tensor {point.tensor!r} of the plan is not in the ONNX", "plan again for this model")
    tensor = point.tensor
    pair = [
        store(model, tensor + "_scale", np.array(grid.scale.item(), np.float32)),
        store(model, tensor + "_zero", np.zeros((), CODES)),
    ]
    codes, rounded = unused(model, tensor + "_codes"), unused(model, tensor + "_rounded")
    for node in readers:
        node.input[:] = [rounded if name == tensor else name for name in node.input]
    model.graph.node.extend(
        [
            helper.make_node(QUANTIZE, [tensor, *pair], [codes], name=unused(model, tensor + "_quantize")),
            helper.make_node(DEQUANTIZE, [codes, *pair], [rounded], name=unused(model, tensor + "_dequantize")),
        ]
    )


def _weight(model: onnx.ModelProto, name: str, node: onnx.NodeProto, grid: FloatQuantizer) -> None:
    """The float weight of a layer -> float8 codes behind DQ, one scale an output channel."""
    values = Reading(model).array(node.input[1])
    if values is None:
        raise ExportError(f"layer {name!r} has no stored weight in the ONNX", "plan again for this model")
    along = grid.axis or 0
    axis = 1 - along if node.op_type == "MatMul" else along
    scale = grid.scale.detach().numpy().reshape(-1)
    units = values / scale.reshape([-1 if index == axis else 1 for index in range(values.ndim)])
    inputs = [
        store(model, name + ".weight_codes", np.clip(units, -LARGEST, LARGEST).astype(CODES)),
        store(model, name + ".weight_scale", scale),
        store(model, name + ".weight_zero", np.zeros(scale.shape, CODES)),
    ]
    node.input[1] = unused(model, name + ".weight_rounded")
    title = unused(model, name + ".weight_dequantize")
    made = helper.make_node(DEQUANTIZE, inputs, [node.input[1]], name=title, axis=axis)
    model.graph.node.append(made)
