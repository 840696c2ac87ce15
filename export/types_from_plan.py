"""Which type each operation of a typed network computes in: decided here, carried out in typed_onnx_from_weak.

A planned layer takes its format's type, and an int8 or fp8 layer half precision around its
Q and DQ.  What the plan does not name goes on in the type it is given, the widest of
several.  Where numbers would not survive in half precision, the operation stays in float32.
"""

from typing import NamedTuple

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, defs

from edge_mpq.errors import ExportError
from edge_mpq.records.plan import PrecisionPlan
from export.lint.reading import DEQUANTIZE, QUANTIZE, WEIGHTED, Reading

FLOAT: int = TensorProto.FLOAT
HALF: int = TensorProto.FLOAT16
BRAIN: int = TensorProto.BFLOAT16
WORDS = {FLOAT: "fp32", HALF: "fp16", BRAIN: "bf16"}
ARRAYS = {FLOAT: np.dtype(np.float32), HALF: np.dtype(np.float16), BRAIN: np.dtype(ml_dtypes.bfloat16)}
SCHEMA_NAMES = {FLOAT: "tensor(float)", HALF: "tensor(float16)", BRAIN: "tensor(bfloat16)"}
PLANNED = {"fp32": FLOAT, "fp16": HALF, "bf16": BRAIN, "int8": HALF, "fp8": HALF}
# A scale may lose this much in half precision: a quarter of what rounding to 8 bits loses.
SCALE_LOSS = 2.0**-10


class Types(NamedTuple):
    """tensor -> its type in the typed graph, and node (by its first output) -> the type it computes in."""

    tensor: dict[str, int]
    node: dict[str, int]


def types_of(reading: Reading, plan: PrecisionPlan) -> Types:
    """Decide every type, in graph order."""
    types = Types({item.name: FLOAT for item in reading.inputs}, {})
    for node in reading.nodes:
        if node.op_type in (QUANTIZE, DEQUANTIZE):
            continue
        form = _form(reading, node, plan, types.tensor)
        types.node[node.output[0]] = form
        schema = schema_of(reading, node)
        changed = {_parameter(schema.inputs, i).type_str for i in taking(reading, node, schema, form)}
        for index, name in enumerate(node.output):
            if reading.type_of(name) == FLOAT:
                follows = _parameter(schema.outputs, index).type_str in changed
                types.tensor[name] = form if follows else FLOAT
    return types


def _form(reading: Reading, node: onnx.NodeProto, plan: PrecisionPlan, types: dict[str, int]) -> int:
    """The type a node computes in."""
    choice = plan.choices.get(node.name) if node.op_type in WEIGHTED else None
    if choice is not None:
        form = PLANNED[choice.activation]
        return form if _scales_fit(reading, node, form) and _bias_fits(reading, node, form) else FLOAT
    computed = [name for name in node.input if reading.type_of(name) == FLOAT and name not in reading.protos]
    given = {types.get(name, FLOAT) for name in computed if reading.dequantize_of(name) is None}
    # A DQ gives the type that its reader wants, so it has no say where something else has.
    given = given or {types.get(reading.source_of(name), FLOAT) for name in computed}
    form = given.pop() if len(given) == 1 else FLOAT
    runs = SCHEMA_NAMES[form] in _parameter(schema_of(reading, node).inputs, 0).types if node.input else False
    fits = runs and _scales_fit(reading, node, form) and _constants_fit(reading, node, form)
    return form if fits else FLOAT


def _scales_fit(reading: Reading, node: onnx.NodeProto, form: int) -> bool:
    """Whether the scales of what a node reads survive in a type."""
    rounders = [found for name in node.input if (found := reading.dequantize_of(name)) is not None]
    return all(scale_fits(reading, item, form) for item in rounders)


def scale_fits(reading: Reading, node: onnx.NodeProto, form: int) -> bool:
    scale = reading.scale(node)
    # bf16 has the range of fp32 and rounds every scale alike.
    return form != HALF or scale is None or not (np.abs(through(scale, HALF) - scale) > SCALE_LOSS * scale).any()


def _bias_fits(reading: Reading, node: onnx.NodeProto, form: int) -> bool:
    bias = reading.array(node.input[2]) if len(node.input) > 2 and node.input[2] else None
    return bias is None or bool(np.isfinite(through(bias, form)).all())


def _constants_fit(reading: Reading, node: onnx.NodeProto, form: int) -> bool:
    """Whether a node's constants stay finite in a type, and a single number other than 0 does not become 0."""
    for name in node.input:
        values = reading.array(name) if reading.type_of(name) == FLOAT else None
        if values is None or form == FLOAT or node.op_type == "Clip":
            continue
        there = through(values, form)
        if not np.isfinite(there[np.isfinite(values)]).all() or (values.size == 1 and values.any() and not there.any()):
            return False
    return True


def through(values: np.ndarray, form: int) -> np.ndarray:
    """There and back through a type; what is too large becomes infinite."""
    with np.errstate(over="ignore"):
        return values.astype(ARRAYS[form]).astype(np.float32)


def schema_of(reading: Reading, node: onnx.NodeProto) -> defs.OpSchema:
    try:
        return defs.get_schema(node.op_type, reading.opset, node.domain)
    except defs.SchemaError as error:
        raise ExportError(f"{node.op_type} of {node.domain!r} has unknown types", "export without fusions") from error


def _parameter(parameters, index: int):
    """The formal input or output of an argument; the last one may stand for many."""
    return parameters[min(index, len(parameters) - 1)]


def taking(reading: Reading, node: onnx.NodeProto, schema: defs.OpSchema, form: int) -> list[int]:
    """Indices of the float inputs that take the node's type."""
    if node.op_type == "Cast":
        return []
    wanted = SCHEMA_NAMES[form]
    return [
        index
        for index, name in enumerate(node.input)
        if reading.type_of(name) == FLOAT and wanted in _parameter(schema.inputs, index).types
    ]
