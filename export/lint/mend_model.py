"""Mends of a model as a whole: names, opset, float64."""

from collections import Counter

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper, version_converter

from edge_mpq.errors import ExportError
from edge_mpq.records.target import Target
from export import older_opset_of_onnx
from export.lint.editing import unused
from export.lint.operators import SINCE
from export.lint.reading import Reading, every_node, name_of

# The newest opset that older_opset_of_onnx starts from.
BEFORE_LOWERING = 18


def name_nodes(reading: Reading, target: Target) -> None:
    """Unnamed nodes get the name TensorRT would give them, the second of a name a number."""
    for node in reading.nodes:
        if not node.name:
            node.name = unused(reading.model, name_of(node))
    times = Counter(node.name for node in reading.nodes)
    seen: set[str] = set()
    for node in reading.nodes:
        if times[node.name] > 1 and node.name in seen:
            node.name = unused(reading.model, node.name)
        seen.add(node.name)


def older_opset(reading: Reading, target: Target) -> None:
    """The same model in the target's opset, where every operator has such a form.

    An operator that came later than the opset to the target's parser is written out: then
    in the oldest opset.
    """
    model, wanted = reading.model, target.opset
    lowest = max(wanted, BEFORE_LOWERING)
    kinds = {node.op_type for node in reading.nodes if SINCE.get(node.op_type, (0, 0)) > target.tensorrt}
    if wanted < BEFORE_LOWERING and kinds & set(older_opset_of_onnx.REWRITES):
        wanted = older_opset_of_onnx.OLDEST
    older = onnx.ModelProto()
    older.CopyFrom(model)
    try:
        if reading.opset > lowest:
            older = _converted(model, lowest)
        if wanted < BEFORE_LOWERING:
            older = older_opset_of_onnx.lower(older, wanted)
        onnx.checker.check_model(older)
    except (ExportError, RuntimeError, onnx.checker.ValidationError, version_converter.ConvertError):
        return  # the finding stays, and says what to do
    model.CopyFrom(older)


def _converted(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """onnx's own conversion, which loses the nodes' metadata: put back."""
    converted = version_converter.convert_version(model, opset)
    kept = {node.output[0]: node.metadata_props for node in model.graph.node if node.output}
    for node in converted.graph.node:
        node.metadata_props.extend(kept.get(node.output[0], []))
    return converted


def float32(reading: Reading, target: Target) -> None:
    """Every float64 constant and computation in float32; what goes in and out keeps its type."""
    graph = reading.model.graph
    if any(item.type.tensor_type.elem_type == TensorProto.DOUBLE for item in (*graph.input, *graph.output)):
        return
    for proto in graph.initializer:
        _to_float32(proto)
    for node in every_node(graph):
        for item in node.attribute:
            if item.type == onnx.AttributeProto.TENSOR:
                _to_float32(item.t)
            elif item.name in ("to", "dtype") and item.i == TensorProto.DOUBLE:
                item.i = TensorProto.FLOAT


def _to_float32(proto: onnx.TensorProto) -> None:
    if proto.data_type == TensorProto.DOUBLE:
        values = numpy_helper.to_array(proto)
        limit = np.finfo(np.float32).max
        clamped = np.where(np.isfinite(values), np.clip(values, -limit, limit), values)
        proto.CopyFrom(numpy_helper.from_array(clamped.astype(np.float32), proto.name))
