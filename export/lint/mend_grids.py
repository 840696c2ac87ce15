"""Mends of grids: symmetric int8, tied scales, float biases and weights."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edge_mpq.records.target import Target
from export.lint.editing import store, unused
from export.lint.placement import is_pool, meeting
from export.lint.reading import DEQUANTIZE, HIGHEST_CODE, LOWEST_CODE, QUANTIZE, Reading, attribute, name_of

INT8_LOWEST, INT8_HIGHEST = -128, 127
# What gives no negative value, and what gives none if it is given none.
NOT_NEGATIVE = ("Relu", "Sigmoid", "HardSigmoid", "Softmax", "Exp", "Abs", "Sqrt", "Softplus")
PASSES = (
    "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Concat", "Reshape", "Flatten", "Transpose",
    "Squeeze", "Unsqueeze", "Slice", "Identity", "Add",
)  # fmt: skip


def symmetric(reading: Reading, target: Target) -> None:
    """uint8 codes and zero points other than 0 -> int8 with zero point 0 and a scale that covers the same values."""
    for node in reading.of(QUANTIZE):
        if _is_crooked(reading, node) and all(after.op_type == DEQUANTIZE for after in reading.readers[node.output[0]]):
            _turn_pair(reading, node)
    for node in reading.of(DEQUANTIZE):
        if _is_crooked(reading, node) and node.input[0] in reading.protos:
            _turn_codes(reading, node)


def _is_crooked(reading: Reading, node: onnx.NodeProto) -> bool:
    """Whether codes are uint8, or int8 with a zero point other than 0."""
    code, zero = reading.code_type(node), reading.zero(node)
    return code == TensorProto.UINT8 or (code == TensorProto.INT8 and zero is not None and bool(zero.any()))


def _ends(reading: Reading, node: onnx.NodeProto) -> tuple[np.ndarray, np.ndarray] | None:
    """The least and greatest value of a grid, float32 of the scale's shape; None where they are computed."""
    scale, zero, code = reading.scale(node), reading.zero(node), reading.code_type(node)
    if scale is None or code not in LOWEST_CODE:
        return None
    shift = np.zeros(scale.shape) if zero is None else zero.astype(np.float64).reshape(scale.shape)
    return (LOWEST_CODE[code] - shift) * scale, (HIGHEST_CODE[code] - shift) * scale


def _turn_pair(reading: Reading, node: onnx.NodeProto) -> None:
    model, ends = reading.model, _ends(reading, node)
    if ends is None:
        return
    low, high = ends
    if low.max() == 0 and not is_not_negative(reading, node.input[0]):
        # ONNX Runtime's quantizer drops a Relu that the grid implies; a symmetric grid does not.
        node.input[0] = clip_below(reading, node.input[0])
    scale = np.maximum(low / INT8_LOWEST, high / INT8_HIGHEST).astype(np.float32)
    grid = [store(model, node.input[1] + "_symmetric", scale)]
    grid.append(store(model, node.input[1] + "_zero", np.zeros(scale.shape, np.int8)))
    for part in (node, *reading.readers[node.output[0]]):
        part.input[:] = [part.input[0], *grid]
        _say_int8(part)


def _turn_codes(reading: Reading, node: onnx.NodeProto) -> None:
    """Stored codes of another grid -> int8 codes around 0 with the least scale that holds them."""
    values, scale, model = dequantized(reading, node), reading.scale(node), reading.model
    if values is None or scale is None:
        return
    axis = attribute(node, "axis", 1) if scale.size > 1 else None
    others = tuple(i for i in range(values.ndim) if axis is None or i != axis % values.ndim)
    reach = np.abs(values).max(axis=others, keepdims=True)
    fine = np.where(reach > 0, reach / INT8_HIGHEST, 1).astype(np.float32)
    codes = np.rint(values / fine).clip(INT8_LOWEST, INT8_HIGHEST).astype(np.int8)
    shape = scale.shape
    node.input[:] = [
        store(model, node.input[0] + "_int8", codes),
        store(model, node.input[1] + "_symmetric", fine.reshape(shape)),
        store(model, node.input[1] + "_zero", np.zeros(shape, np.int8)),
    ]


def _say_int8(node: onnx.NodeProto) -> None:
    for item in node.attribute:
        if item.name == "output_dtype" and node.op_type == QUANTIZE:
            item.i = TensorProto.INT8


def dequantized(reading: Reading, node: onnx.NodeProto) -> np.ndarray | None:
    """What a DQ of stored codes gives, float32; None where something of it is computed."""
    codes, scale, zero = reading.array(node.input[0]), reading.scale(node), reading.zero(node)
    if codes is None or scale is None:
        return None
    shape = [1] * codes.ndim
    if scale.size > 1:
        shape[attribute(node, "axis", 1)] = scale.size
    shift = 0.0 if zero is None else zero.astype(np.float64).reshape(shape if zero.size > 1 else ())
    return ((codes.astype(np.float64) - shift) * scale.astype(np.float64).reshape(shape)).astype(np.float32)


def is_not_negative(reading: Reading, name: str, steps: int = 8) -> bool:
    """Whether a tensor is known to hold no negative value."""
    node = reading.writer.get(name)
    if node is None or steps == 0:
        return False
    if node.op_type == DEQUANTIZE:
        return reading.lowest(node) >= 0 or is_not_negative(reading, reading.source_of(name), steps - 1)
    if node.op_type == "Clip":
        least = reading.array(node.input[1]) if len(node.input) > 1 and node.input[1] else None
        return least is not None and float(least) >= 0
    if node.op_type in ("Add", "Concat"):
        return all(is_not_negative(reading, before, steps - 1) for before in node.input)
    return node.op_type in NOT_NEGATIVE or (
        node.op_type in PASSES and is_not_negative(reading, node.input[0], steps - 1)
    )


def clip_below(reading: Reading, name: str, highest: float | None = None) -> str:
    """A Relu, or a Clip to [0, highest], behind a tensor; the name of what it writes."""
    model, writer = reading.model, reading.writer.get(name)
    result = unused(model, name + "_positive")
    inputs = [name]
    if highest is not None:
        ends = {"_least": 0.0, "_greatest": highest}
        inputs += [store(model, result + end, np.float32(value)) for end, value in ends.items()]
    made = helper.make_node("Clip" if len(inputs) > 1 else "Relu", inputs, [result], name=result)
    if writer is not None:
        made.metadata_props.extend(writer.metadata_props)
        _drop_hints(made)
    model.graph.node.append(made)
    return result


def _drop_hints(node: onnx.NodeProto) -> None:
    kept = [item for item in node.metadata_props if not item.key.startswith("edge_mpq.")]
    del node.metadata_props[:]
    node.metadata_props.extend(kept)


def zero_points(reading: Reading, target: Target) -> None:
    """int8 grids without a zero point get one of zeros."""
    for node in reading.of(QUANTIZE, DEQUANTIZE):
        scale = reading.scale(node)
        if len(node.input) < 3 and reading.code_type(node) == TensorProto.INT8 and scale is not None:
            node.input.append(store(reading.model, node.input[1] + "_zero", np.zeros(scale.shape, np.int8)))


def axes(reading: Reading, target: Target) -> None:
    """Scales a channel say the axis that ONNX means."""
    for node in reading.of(QUANTIZE, DEQUANTIZE):
        scale = reading.scale(node)
        if scale is not None and scale.size > 1 and attribute(node, "axis") is None:
            node.attribute.append(helper.make_attribute("axis", 1))


def float_biases(reading: Reading, target: Target) -> None:
    """DQ of a stored int32 -> the float constant it gives, under the same name."""
    for node in reading.of(DEQUANTIZE):
        if reading.code_type(node) == TensorProto.INT32 and node.output[0] not in reading.outputs:
            values = dequantized(reading, node)
            if values is not None:
                reading.model.graph.node.remove(node)
                reading.model.graph.initializer.append(numpy_helper.from_array(values, node.output[0]))


def float_weights(reading: Reading, target: Target) -> None:
    """DQ of stored int8 -> float32 weights with Q and DQ behind."""
    for node in reading.of(DEQUANTIZE):
        if node.input[0] not in reading.protos or reading.code_type(node) != TensorProto.INT8:
            continue
        values, model = dequantized(reading, node), reading.model
        if values is None:
            continue
        codes = unused(model, node.input[0] + "_again")
        source = store(model, node.input[0] + "_float", values)
        name = unused(model, name_of(node) + "_quantize")
        made = helper.make_node(QUANTIZE, [source, *node.input[1:]], [codes], name=name)
        made.attribute.extend(item for item in node.attribute if item.name == "axis")
        model.graph.node.append(made)
        node.input[0] = codes


def tied(reading: Reading, target: Target) -> None:
    """One scale, the largest, wherever grids meet in a Concat, a MaxPool or a nearest Resize."""
    group: dict[int, int] = {}
    parts: dict[int, onnx.NodeProto] = {}

    def root(key: int) -> int:
        while group.setdefault(key, key) != key:
            key = group[key]
        return key

    for node in reading.nodes:
        if node.op_type != "Concat" and not is_pool(node):
            continue
        met = [_owner(reading, part) for row in meeting(reading, node).values() for part in row]
        for part in met:
            parts[id(part)] = part
            group[root(id(part))] = root(id(met[0]))
    families: dict[int, list[onnx.NodeProto]] = {}
    for key, part in parts.items():
        families.setdefault(root(key), []).append(part)
    for family in families.values():
        scales = [float(np.max(scale)) for part in family if (scale := reading.scale(part)) is not None]
        if len(set(scales)) > 1:
            name = store(reading.model, family[0].input[1] + "_tied", np.array(max(scales), np.float32))
            for part in family:
                for user in (part, *reading.readers[part.output[0]]):
                    if user.op_type in (QUANTIZE, DEQUANTIZE) and (user is part or user.op_type == DEQUANTIZE):
                        user.input[1] = name


def _owner(reading: Reading, node: onnx.NodeProto) -> onnx.NodeProto:
    """The Q of a DQ, which stands for the grid of both."""
    before = reading.quantize_of(node) if node.op_type == DEQUANTIZE else None
    return node if before is None else before
