"""Faults of names, ends, types and operators."""

import numpy as np
import onnx
from onnx import TensorProto, helper

from export.lint.editing import lead, store
from tests.export.faults import NANO, ORIN, X86, XAVIER, plants
from tests.export.planted import LAYERS, behind, clean, end_with, node, opset, set_attribute


@plants("unnamed-node", ORIN, "node_of_stem_relu")
def _(model: onnx.ModelProto) -> None:
    node(model, "stem_relu").name = ""


@plants("duplicate-name", ORIN, "one")
def _(model: onnx.ModelProto) -> None:
    node(model, "two").name = "one"


@plants("free-axis", ORIN, "")
def _(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "H"


def _cast_input(model: onnx.ModelProto, kind: int) -> None:
    behind(model, "Cast", "as_float", "pictures", to=TensorProto.FLOAT)
    lead(model, "pictures", "as_float", keep=node(model, "as_float"))
    model.graph.input[0].type.tensor_type.elem_type = kind


@plants("uint8-input", NANO, "")
def _(model: onnx.ModelProto) -> None:
    _cast_input(model, TensorProto.UINT8)


@plants("int64-input", XAVIER, "")
def _(model: onnx.ModelProto) -> None:
    _cast_input(model, TensorProto.INT64)


@plants("int64-range", XAVIER, "bounded")
def _(model: onnx.ModelProto) -> None:
    behind(model, "Shape", "extents", "last")
    behind(model, "Min", "bounded", "extents", store(model, "bound", np.array([2**40])))
    end_with(model, behind(model, "Reshape", "shaped", "last", "bounded"))


@plants("double-constant", ORIN, "gain_float")
def _(model: onnx.ModelProto) -> None:
    behind(model, "Cast", "gain_float", store(model, "gain", np.array(0.5)), to=TensorProto.FLOAT)
    end_with(model, behind(model, "Mul", "scaled", "last", "gain_float"))


@plants("double-tensor", ORIN, "wide")
def _(model: onnx.ModelProto) -> None:
    behind(model, "Cast", "wide", "last", to=TensorProto.DOUBLE)
    end_with(model, behind(model, "Cast", "narrow", "wide", to=TensorProto.FLOAT))


@plants("opset", XAVIER, "")
def _(model: onnx.ModelProto) -> None:
    opset(model, 18)


@plants("reduction-axes", XAVIER, "mean")
def _(model: onnx.ModelProto) -> None:
    opset(model, 18)
    end_with(model, behind(model, "ReduceMean", "mean", "last", store(model, "axes", np.array([2, 3]))))


@plants("operator", NANO, "swish")
def _(model: onnx.ModelProto) -> None:
    opset(model, 14)
    end_with(model, behind(model, "HardSwish", "swish", "last"))


@plants("integer-operator", ORIN, "codes")
def _(model: onnx.ModelProto) -> None:
    codes = ["codes", "codes_scale", "codes_zero"]
    model.graph.node.append(helper.make_node("DynamicQuantizeLinear", ["last"], codes, name="codes"))
    end_with(model, "codes", TensorProto.UINT8)


@plants("operator-form", ORIN, "pool")
def _(model: onnx.ModelProto) -> None:
    pool = node(model, "pool")
    set_attribute(pool, "dilations", [2, 2])
    set_attribute(pool, "pads", [0, 0, 1, 1])


@plants("planned-type", X86, "last")
def _(model: onnx.ModelProto) -> None:
    for item in node(model, "last").metadata_props:
        item.value = "fp32"


@plants("all-float32", X86, "")
def _(model: onnx.ModelProto) -> None:
    model.CopyFrom(clean(ORIN))
    assert {item.name for item in model.graph.node} >= set(LAYERS)
