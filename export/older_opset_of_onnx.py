"""ONNX of opset 18 -> the same model in an older opset, down to 13.

onnx's own converter has no way down for several operations of vision models, and
TensorRT up to 8.6 reads an opset-18 ReduceMean as "over all axes" without a word.  So
every operation is either known to be the same, rewritten here, or refused by name.
"""

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edge_mpq.errors import ExportError

OLDEST = 13
IR_VERSIONS = {13: 7, 14: 7, 15: 8, 16: 8, 17: 8}
# Axes moved from an attribute to an input in opset 18.
REDUCTIONS = ("ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare")
# Operations whose meaning for float tensors is the same from opset 13 to 18.
SAME = frozenset(
    """Abs Add AveragePool BatchNormalization Cast Clip Concat Constant ConstantOfShape Conv ConvTranspose
    DequantizeLinear Div Dropout Elu Equal Erf Exp Expand Flatten Floor Gather Gemm GlobalAveragePool
    GlobalMaxPool HardSigmoid Identity InstanceNormalization LeakyRelu Less Log LogSoftmax MatMul MaxPool Max Min
    Mul Neg Pow QuantizeLinear Range ReduceSum Relu Sigmoid Slice Softmax Sqrt Squeeze Sub Tanh
    Tile Transpose Unsqueeze Where""".split()
)


def lower(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """``model`` in ``opset``, 13 to 17; ExportError names every node that has no older form."""
    if not OLDEST <= opset < 18:
        raise ExportError(
            f"opset {opset} is not one of 13 to 17", "choose a target whose parser reads opset 13 or newer"
        )
    constants = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    older, faults = [], []
    for node in model.graph.node:
        rewrite = REWRITES.get(node.op_type)
        if node.op_type in SAME or (rewrite is None and opset >= SINCE.get(node.op_type, 99)):
            older.append(node)
        elif rewrite is not None:
            older.extend(rewrite(node, constants, opset))
        else:
            faults.append(f"node {node.name!r} is a {node.op_type}")
    if faults:
        raise ExportError(
            f"no form in opset {opset}: " + "; ".join(faults[:8]),
            "replace that operation in the model, or choose a target with a newer parser",
        )
    lowered = onnx.ModelProto()
    lowered.CopyFrom(model)
    del lowered.graph.node[:], lowered.graph.initializer[:], lowered.graph.value_info[:]
    lowered.graph.node.extend(older)
    used = {name for node in older for name in node.input} | {item.name for item in lowered.graph.output}
    for name, array in constants.items():
        if name in used:
            lowered.graph.initializer.append(numpy_helper.from_array(array, name))
    del lowered.opset_import[:]
    lowered.opset_import.add(domain="", version=opset)
    lowered.ir_version = IR_VERSIONS[opset]
    return lowered


# Operations that appeared between 14 and 17.
SINCE = {"HardSwish": 14, "Trilu": 14, "LayerNormalization": 17, "GridSample": 16, "Split": 18}


def _attributes(node: onnx.NodeProto) -> dict:
    return {item.name: helper.get_attribute_value(item) for item in node.attribute}


def _like(node: onnx.NodeProto, op: str, inputs: list[str], outputs: list[str], name: str, **attributes: Any):
    made = helper.make_node(op, inputs, outputs, name=name, **attributes)
    made.metadata_props.extend(node.metadata_props)
    return made


def _reduction(node, constants, opset):
    attributes = _attributes(node)
    if len(node.input) > 1 and node.input[1]:
        if node.input[1] not in constants:
            raise ExportError(f"node {node.name!r} computes its axes", "give the axes as numbers")
        attributes["axes"] = constants[node.input[1]].tolist()
    if not attributes.get("axes"):  # none are all, unless the node says that none are none
        if attributes.get("noop_with_empty_axes"):
            return [_like(node, "Identity", [node.input[0]], list(node.output), node.name)]
        attributes.pop("axes", None)
    attributes.pop("noop_with_empty_axes", None)
    return [_like(node, node.op_type, [node.input[0]], list(node.output), node.name, **attributes)]


def _pad(node, constants, opset):
    if len(node.input) > 3 and node.input[3]:
        raise ExportError(f"node {node.name!r} pads chosen axes", "pad all axes")
    return [_like(node, "Pad", list(node.input[:3]), list(node.output), node.name, **_attributes(node))]


def _reshape(node, constants, opset):
    shape = constants.get(node.input[1])
    if _attributes(node).get("allowzero") and shape is not None and not shape.all():
        raise ExportError(f"node {node.name!r} reshapes to an extent of zero", "keep every extent positive")
    return [_like(node, "Reshape", list(node.input), list(node.output), node.name)]


def _shape(node, constants, opset):
    attributes = _attributes(node)
    if opset >= 15 or not attributes:
        return [node]
    whole, start, end = node.name + "_whole", node.name + "_start", node.name + "_end"
    constants[start] = np.array([attributes.get("start", 0)], np.int64)
    constants[end] = np.array([attributes.get("end", np.iinfo(np.int64).max)], np.int64)
    return [
        _like(node, "Shape", list(node.input), [whole], whole),
        _like(node, "Slice", [whole, start, end], list(node.output), node.name),
    ]


def _resize(node, constants, opset):
    attributes = _attributes(node)
    for newer in ("antialias", "axes", "keep_aspect_ratio_policy"):
        if attributes.pop(newer, 0) not in (0, b"stretch"):
            raise ExportError(f"node {node.name!r} resizes with {newer}", "use plain interpolation")
    return [_like(node, "Resize", list(node.input), list(node.output), node.name, **attributes)]


def _split(node, constants, opset):
    attributes = _attributes(node)
    if attributes.pop("num_outputs", None) is not None and len(node.input) < 2:
        pass  # without sizes, older opsets split evenly by the number of outputs
    return [_like(node, "Split", list(node.input), list(node.output), node.name, **attributes)]


def _hard_swish(node, constants, opset):
    if opset >= 14:
        return [node]
    gate = node.name + "_gate"
    return [
        _like(node, "HardSigmoid", [node.input[0]], [gate], gate, alpha=1 / 6, beta=0.5),
        _like(node, "Mul", [node.input[0], gate], list(node.output), node.name),
    ]


def _reciprocal(node, constants, opset):
    one = node.name + "_one"  # TensorRT 8.2 reads no Reciprocal
    constants[one] = np.array(1, np.float32)
    return [_like(node, "Div", [one, node.input[0]], list(node.output), node.name)]


def _layer_norm(node, constants, opset):
    if opset >= 17:
        return [node]
    attributes = _attributes(node)
    axis, epsilon = attributes.get("axis", -1), attributes.get("epsilon", 1e-5)
    if axis != -1:
        raise ExportError(f"node {node.name!r} normalizes from axis {axis}", "normalize the last axis")
    tag = node.name
    constants[tag + "_two"] = np.array(2, np.float32)
    constants[tag + "_epsilon"] = np.array(epsilon, np.float32)
    names = {part: f"{tag}_{part}" for part in ("mean", "centred", "square", "variance", "safe", "deviation", "unit")}
    nodes = [
        _like(node, "ReduceMean", [node.input[0]], [names["mean"]], names["mean"], axes=[-1], keepdims=1),
        _like(node, "Sub", [node.input[0], names["mean"]], [names["centred"]], names["centred"]),
        _like(node, "Pow", [names["centred"], tag + "_two"], [names["square"]], names["square"]),
        _like(node, "ReduceMean", [names["square"]], [names["variance"]], names["variance"], axes=[-1], keepdims=1),
        _like(node, "Add", [names["variance"], tag + "_epsilon"], [names["safe"]], names["safe"]),
        _like(node, "Sqrt", [names["safe"]], [names["deviation"]], names["deviation"]),
        _like(node, "Div", [names["centred"], names["deviation"]], [names["unit"]], names["unit"]),
    ]
    last = names["unit"]
    for index, op in ((1, "Mul"), (2, "Add")):
        if len(node.input) > index and node.input[index]:
            result = f"{tag}_{op.lower()}"
            nodes.append(_like(node, op, [last, node.input[index]], [result], result))
            last = result
    nodes[-1].output[0] = node.output[0]
    nodes[-1].name = node.name
    return nodes


REWRITES = {
    **dict.fromkeys(REDUCTIONS, _reduction),
    "Pad": _pad,
    "Reshape": _reshape,
    "Shape": _shape,
    "Resize": _resize,
    "Split": _split,
    "HardSwish": _hard_swish,
    "Reciprocal": _reciprocal,
    "LayerNormalization": _layer_norm,
}
