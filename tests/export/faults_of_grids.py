"""Faults of grids, of stored weights, and of where Q and DQ stand."""

import numpy as np
import onnx
from onnx import TensorProto

from export.lint.editing import lead, store
from tests.export.faults import NANO, ORIN, THOR, XAVIER, plants
from tests.export.planted import behind, end_with, node, opset, replace, rounding, set_attribute


@plants("zero-point", ORIN, "skip_quantize")
def _(model: onnx.ModelProto) -> None:
    replace(model, "skip_zero", np.int8(-128))


@plants("zero-point-missing", XAVIER, "skip_dequantize")
def _(model: onnx.ModelProto) -> None:
    del node(model, "skip_dequantize").input[2]


@plants("uint8", XAVIER, "skip_quantize")
def _(model: onnx.ModelProto) -> None:
    replace(model, "skip_zero", np.uint8(0))


@plants("uint8-as-int8", ORIN, "skip_quantize")
def _(model: onnx.ModelProto) -> None:
    replace(model, "skip_zero", np.uint8(0))


@plants("code-type", THOR, "skip_quantize")
def _(model: onnx.ModelProto) -> None:
    opset(model, 21)
    replace(model, "skip_zero", np.int16(0))


@plants("scale-sign", ORIN, "one.weight_quantize")
def _(model: onnx.ModelProto) -> None:
    replace(model, "one.weight_scale", np.array([0.0] + [0.01] * 15, np.float32))


@plants("scale-computed", ORIN, "skip_quantize")
def _(model: onnx.ModelProto) -> None:
    behind(model, "Mul", "computed", "skip_scale", store(model, "two", np.float32(2)))
    for name in ("skip_quantize", "skip_dequantize"):
        node(model, name).input[1] = "computed"


@plants("scale-type", XAVIER, "skip_quantize")
def _(model: onnx.ModelProto) -> None:
    opset(model, 19)
    replace(model, "skip_scale", np.float16(0.03))
    behind(model, "Cast", "half", "stem_relu", to=TensorProto.FLOAT16)
    behind(model, "Cast", "whole", "skip_dequantize", to=TensorProto.FLOAT)
    lead(model, "skip_dequantize", "whole", keep=node(model, "whole"))
    node(model, "skip_quantize").input[0] = "half"


@plants("scale-mismatch", THOR, "skip_quantize")
def _(model: onnx.ModelProto) -> None:
    opset(model, 23)
    node(model, "skip_quantize").input[1] = store(model, "other", np.float32(0.03))


@plants("activation-channels", ORIN, "skip_quantize")
def _(model: onnx.ModelProto) -> None:
    replace(model, "skip_scale", np.full(16, 0.03, np.float32))
    replace(model, "skip_zero", np.zeros(16, np.int8))
    for name in ("skip_quantize", "skip_dequantize"):
        set_attribute(node(model, name), "axis", 1)


@plants("scale-count", ORIN, "one.weight_quantize")
def _(model: onnx.ModelProto) -> None:
    replace(model, "one.weight_scale", np.full(8, 0.01, np.float32))
    replace(model, "one.weight_zero", np.zeros(8, np.int8))


@plants("axis-unsaid", ORIN, "one.weight_quantize")
def _(model: onnx.ModelProto) -> None:
    for name in ("one.weight_quantize", "one.weight_dequantize"):
        set_attribute(node(model, name), "axis", None)


@plants("weight-axis", ORIN, "one.weight_dequantize")
def _(model: onnx.ModelProto) -> None:
    for name in ("one.weight_quantize", "one.weight_dequantize"):
        set_attribute(node(model, name), "axis", 1)


@plants("int32-bias", ORIN, "one.bias_dequantize")
def _(model: onnx.ModelProto) -> None:
    codes = store(model, "codes", np.arange(16, dtype=np.int32))
    scale = store(model, "codes_scale", np.float32(1e-3))
    node(model, "one").input[2] = behind(model, "DequantizeLinear", "one.bias_dequantize", codes, scale)


@plants("computed-bias", ORIN, "one")
def _(model: onnx.ModelProto) -> None:
    node(model, "one").input[2] = rounding(model, "bias", "one.bias", 0.01)


def _store_integers(model: onnx.ModelProto) -> None:
    node(model, "one.weight_dequantize").input[0] = store(model, "codes", np.full((16, 16, 3, 3), 5, np.int8))


plants("integer-weights", XAVIER, "one.weight_dequantize")(_store_integers)


@plants("block-form", ORIN, "one.weight_dequantize")
def _(model: onnx.ModelProto) -> None:
    opset(model, 21)
    _store_integers(model)
    set_attribute(node(model, "one.weight_dequantize"), "block_size", 16)


@plants("one-sided", ORIN, "one")
def _(model: onnx.ModelProto) -> None:
    node(model, "one").input[1] = "one.weight"


@plants("add-both-rounded", ORIN, "add")
def _(model: onnx.ModelProto) -> None:
    node(model, "add").input[0] = rounding(model, "fresh", "left", 0.1)


@plants("add-in-float", ORIN, "add")
def _(model: onnx.ModelProto) -> None:
    node(model, "add").input[1] = "stem_relu"


@plants("concat-scales", ORIN, "concat")
def _(model: onnx.ModelProto) -> None:
    for index, name in enumerate(("one", "two")):
        node(model, "concat").input[index] = rounding(model, name + "_out", name, 0.05 + index / 100)


@plants("pool-scales", ORIN, "pool")
def _(model: onnx.ModelProto) -> None:
    node(model, "pool").input[0] = rounding(model, "large", "add_relu", 0.04)


@plants("rounded-before-activation", ORIN, "stem_relu")
def _(model: onnx.ModelProto) -> None:
    node(model, "stem_relu").input[0] = rounding(model, "early", "stem", 0.04)


@plants("rounded-float-operator", ORIN, "softmax")
def _(model: onnx.ModelProto) -> None:
    end_with(model, behind(model, "Softmax", "softmax", rounding(model, "logits", "last", 0.1)))


@plants("rounded-output", ORIN, "logits_dequantize")
def _(model: onnx.ModelProto) -> None:
    end_with(model, rounding(model, "logits", "last", 0.1))


@plants("no-integers", NANO, "skip_quantize")
def _(model: onnx.ModelProto) -> None:
    rounded = rounding(model, "skip", "stem_relu", 0.03)
    for name in ("left", "add"):
        reader = node(model, name)
        reader.input[:] = [rounded if item == "stem_relu" else item for item in reader.input]


def _narrow(model: onnx.ModelProto, groups: int, outputs: int) -> None:
    """``last`` reads the pool and has another weight."""
    last = node(model, "last")
    last.input[0] = "small_dequantize"
    replace(model, "last.weight", np.full((outputs, 16 // groups, 3, 3), 0.1, np.float32))
    replace(model, "last.weight_scale", np.full(outputs, 0.01, np.float32))
    replace(model, "last.weight_zero", np.zeros(outputs, np.int8))
    replace(model, "last.bias", np.zeros(outputs, np.float32))
    set_attribute(last, "group", groups)
    end_with(model, "last")


@plants("small-convolution", ORIN, "last")
def _(model: onnx.ModelProto) -> None:
    _narrow(model, 2, 12)


@plants("depthwise", ORIN, "last")
def _(model: onnx.ModelProto) -> None:
    _narrow(model, 16, 16)


@plants("matrix-by-vector", ORIN, "product")
def _(model: onnx.ModelProto) -> None:
    behind(model, "Flatten", "flat", "last")
    weight = rounding(model, "matrix", store(model, "values", np.ones((256, 10), np.float32)), 0.1)
    end_with(model, behind(model, "MatMul", "product", rounding(model, "flat", "flat", 0.1), weight))
