"""Grids of Q and DQ: zero points, codes and scales."""

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import TensorProto

from edge_mpq.records.target import Target
from export.lint.finding import Found, Rule, before, since, tensorrt, version_text
from export.lint.reading import DEQUANTIZE, QUANTIZE, WEIGHTED, Reading, attribute, name_of

HELPER = "onnx-tensorrt, builtin_op_importers.cpp QuantDequantLinearHelper"
AGAIN = "quantize symmetrically to int8 (onnxruntime: ActivationSymmetric and WeightSymmetric, QInt8)"
# Types of codes beside int8, and the first TensorRT that has each.
CODES: dict[int, tuple[int, int]] = {
    TensorProto.FLOAT8E4M3FN: (8, 6),
    TensorProto.INT4: (10, 0),
    TensorProto.FLOAT4E2M1: (10, 13),
}
ANYWHERE = (TensorProto.INT8, TensorProto.UINT8, TensorProto.INT32, TensorProto.UNDEFINED)


def grids(reading: Reading) -> Iterator[onnx.NodeProto]:
    """One node a grid: every Q, and each DQ that does not take the grid of its Q."""
    for node in reading.of(QUANTIZE, DEQUANTIZE):
        before = reading.quantize_of(node) if node.op_type == DEQUANTIZE else None
        if before is None or list(before.input[1:]) != list(node.input[1:]):
            yield node


def _zero_point(reading: Reading, target: Target) -> Iterator[Found]:
    for node in grids(reading):
        zero = reading.zero(node)
        if zero is not None and zero.astype(np.float32).any():
            shown = int(zero.reshape(-1)[np.argmax(zero.reshape(-1) != 0)])
            yield name_of(node), f"the zero point is {shown}, not 0", AGAIN
        elif zero is None and len(node.input) > 2 and node.input[2]:
            yield name_of(node), "the zero point is computed", "quantize statically"


def _zero_point_missing(reading: Reading, target: Target) -> Iterator[Found]:
    for node in grids(reading):
        if len(node.input) < 3 or not node.input[2]:
            yield name_of(node), f"{node.op_type} has no zero point; exactly 3 inputs are read", "add one of int8 zeros"


def _uint8(reading: Reading, target: Target) -> Iterator[Found]:
    for node in grids(reading):
        if reading.code_type(node) == TensorProto.UINT8:
            said = "" if len(node.input) > 2 and node.input[2] else " (without a zero point, codes are uint8)"
            yield name_of(node), f"codes are uint8{said}; TensorRT computes on int8", AGAIN


def _codes(reading: Reading, target: Target) -> Iterator[Found]:
    for node in grids(reading):
        code = reading.code_type(node)
        if code in ANYWHERE:
            continue
        first, runs = CODES.get(code), code != TensorProto.FLOAT8E4M3FN or "fp8" in target.activation_formats
        if first is None or target.tensorrt < first or not runs:
            shown = TensorProto.DataType.Name(code).lower()
            what = f"codes are {shown}, which TensorRT {version_text(target.tensorrt)} on this GPU has not"
            yield name_of(node), what, "quantize to int8"


def _positive(reading: Reading, target: Target) -> Iterator[Found]:
    for node in grids(reading):
        scale = reading.scale(node)
        if scale is not None:
            values = scale.astype(np.float64).reshape(-1)
            bad = values[~(np.isfinite(values) & (values > 0))]
            if bad.size:
                what = f"{bad.size} of {values.size} scales are not positive ({bad[0]:g})"
                yield name_of(node), what, "calibrate again; a channel of zeros may take any scale, such as 1"


def _computed(reading: Reading, target: Target) -> Iterator[Found]:
    for node in grids(reading):
        if node.input[1] not in reading.protos:
            yield name_of(node), "the scale is computed at run time", "quantize statically"


def _scale_type(reading: Reading, target: Target) -> Iterator[Found]:
    for node in grids(reading):
        if reading.type_of(node.input[1]) not in (TensorProto.FLOAT, TensorProto.UNDEFINED):
            shown = TensorProto.DataType.Name(reading.type_of(node.input[1])).lower()
            yield name_of(node), f"the scale is {shown} and its bytes are read as float32", "store the scale as float32"


def _other_type(reading: Reading, target: Target) -> Iterator[Found]:
    for node in reading.of(QUANTIZE):
        data, scale = reading.type_of(node.input[0]), reading.type_of(node.input[1])
        if data and scale and data != scale:
            names = [TensorProto.DataType.Name(item).lower() for item in (scale, data)]
            yield name_of(node), f"the scale is {names[0]}, what it scales {names[1]}", "store the scale in that type"


def _per_channel(reading: Reading, target: Target) -> Iterator[Found]:
    for node in grids(reading):
        scale = reading.scale(node)
        constant = node.input[0] in reading.protos or (node.op_type == DEQUANTIZE and reading.is_constant_pair(node))
        if scale is not None and scale.size > 1 and not constant:
            yield name_of(node), f"an activation has {scale.size} scales", "quantize it with one scale"


def _extent(reading: Reading, target: Target) -> Iterator[Found]:
    for node in grids(reading):
        scale, shape = reading.scale(node), reading.shape_of(node.input[0])
        if scale is None or shape is None or scale.size <= 1:
            continue
        if scale.ndim > 1 or attribute(node, "block_size", 0):
            if target.tensorrt < (10,):
                yield name_of(node), "scales by block", "take one scale a channel"
            continue
        axis = attribute(node, "axis", 1)
        extent = shape[axis] if -len(shape) <= axis < len(shape) else None
        if extent != scale.size:
            yield name_of(node), f"{scale.size} scales for an axis of {extent}", "give one scale a channel of `axis`"


def _axis_unsaid(reading: Reading, target: Target) -> Iterator[Found]:
    for node in reading.of(QUANTIZE, DEQUANTIZE):
        scale = reading.scale(node)
        if scale is not None and scale.size > 1 and attribute(node, "axis") is None:
            what = "no attribute axis: ONNX then means 1, TensorRT reads 0"
            yield name_of(node), what, "write the axis"


def _axis(reading: Reading, target: Target) -> Iterator[Found]:
    for layer in reading.of(*WEIGHTED):
        node = reading.weight_of(layer.input[1])
        scale = reading.scale(node) if node is not None else None
        shape = reading.shape_of(layer.input[1])
        if node is None or scale is None or scale.ndim != 1 or scale.size <= 1 or shape is None:
            continue
        axis, wanted = attribute(node, "axis", 1) % len(shape), output_axis(layer, len(shape))
        if axis != wanted:
            what = f"weights of {layer.op_type} {name_of(layer)!r} have scales on axis {axis}, outputs lie on {wanted}"
            yield name_of(node), what, "give one scale an output channel"


def output_axis(layer: onnx.NodeProto, rank: int) -> int:
    """The axis of a weight that holds the output channels K."""
    if layer.op_type == "Conv" or (layer.op_type == "Gemm" and attribute(layer, "transB", 0)):
        return 0
    return 1 if layer.op_type in ("ConvTranspose", "Gemm") else rank - 1


RULES = [
    Rule("zero-point", "refused", "Every zero point is 0.", "TensorRT", tensorrt, _zero_point, HELPER),
    Rule(
        "zero-point-missing", "refused", "Q and DQ have a zero point as their third input.", "TensorRT before 10",
        before(10), _zero_point_missing, HELPER + ", 8.2 to 8.6",
    ),
    Rule(
        "uint8", "refused", "Codes are int8.", "TensorRT before 10", before(10), _uint8,
        HELPER + ", 8.2 to 8.6; NVIDIA/TensorRT issue 3360",
    ),
    Rule(
        "uint8-as-int8", "wrong", "Codes are int8; uint8 is read as int8 and cut off at 127.", "TensorRT since 10",
        since(10), _uint8, HELPER + ", 10.1",
    ),
    Rule(
        "code-type", "refused", "Codes are of a type that this TensorRT and GPU compute on.", "TensorRT", tensorrt,
        _codes, "TensorRT, DataType of each release",
    ),
    Rule(
        "scale-sign", "refused", "Every scale is positive and finite.", "every engine", lambda target: True, _positive,
        HELPER + ": Scale coefficients must all be positive",
    ),
    Rule("scale-computed", "refused", "Scales are constants.", "TensorRT", tensorrt, _computed, HELPER),
    Rule(
        "scale-type", "wrong", "Scales are float32; others are read as if they were.", "TensorRT before 10", before(10),
        _scale_type, HELPER + ", 8.2 to 8.6",
    ),
    Rule(
        "scale-mismatch", "refused", "A Q's scale has the type of what it scales.", "typed targets",
        lambda target: target.dialect == "typed", _other_type, "TensorRT, NvInfer.h, IQuantizeLayer, 10.3 and 11.1",
    ),
    Rule(
        "activation-channels", "refused", "Activations have one scale a tensor; only weights have one a channel.",
        "TensorRT", tensorrt, _per_channel, HELPER,
    ),
    Rule(
        "scale-count", "refused", "There are as many scales as channels on `axis`.", "TensorRT", tensorrt, _extent,
        HELPER,
    ),
    Rule(
        "axis-unsaid", "wrong", "Scales a channel say their axis; left out it means 1 to ONNX and 0 to TensorRT.",
        "TensorRT", tensorrt, _axis_unsaid, HELPER,
    ),
    Rule(
        "weight-axis", "slow", "Scales of a weight lie along its output channels.", "TensorRT", tensorrt, _axis,
        "NVIDIA Model Optimizer, axis of a quantizer by kind of operator",
    ),
]  # fmt: skip
