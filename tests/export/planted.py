"""A small quantized ONNX in the form that TensorRT wants, and edits to spoil it.

The network: stem -> Relu -> (left + skip) -> Relu -> MaxPool, two convolutions into a Concat
-> last.  Tensors are [N, 16, 8, 8]; weights are float32 with Q and DQ behind.
"""

import functools
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edge_mpq.records import target as targets
from edge_mpq.records.plan import Choice, PrecisionPlan
from export import hints_into_onnx, typed_onnx_from_weak
from export.lint.editing import store

LAYERS = ("stem", "left", "one", "two", "last")
WIDTH = 16


class Net:
    """Nodes and constants of a model that is being written down."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.draw = np.random.default_rng(0)

    def constant(self, name: str, values: np.ndarray | np.generic) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def op(self, kind: str, name: str, *inputs: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def rounded(self, name: str, tensor: str, scale: float | np.ndarray, **attributes: Any) -> str:
        values = np.asarray(scale, np.float32)
        grid = [self.constant(name + "_scale", values), self.constant(name + "_zero", np.zeros(values.shape, np.int8))]
        codes = self.op("QuantizeLinear", name + "_quantize", tensor, *grid, **attributes)
        return self.op("DequantizeLinear", name + "_dequantize", codes, *grid, **attributes)

    def conv(self, name: str, tensor: str, inputs: int, outputs: int, integers: bool = True) -> str:
        values = self.draw.normal(0, 0.1, (outputs, inputs, 3, 3)).astype(np.float32)
        weight = self.constant(name + ".weight", values)
        if integers:
            weight = self.rounded(name + ".weight", weight, np.abs(values).max((1, 2, 3)) / 127, axis=0)
        bias = self.constant(name + ".bias", self.draw.normal(0, 0.1, outputs).astype(np.float32))
        return self.op("Conv", name, tensor, weight, bias, pads=[1, 1, 1, 1])

    def model(self, opset: int, output: str, channels: int) -> onnx.ModelProto:
        ends = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", count, size, size])
            for name, count, size in (("pictures", 3, 8), (output, channels, 4))
        ]
        graph = helper.make_graph(self.nodes, "net", ends[:1], ends[1:], self.constants)
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
        made.ir_version = helper.find_min_ir_version_for(list(made.opset_import))
        onnx.checker.check_model(made, full_check=True)
        return made


def network(integers: bool, opset: int) -> onnx.ModelProto:
    """The network, quantized or float."""
    net = Net()

    def rounded(name: str, tensor: str, scale: float) -> str:
        return net.rounded(name, tensor, scale) if integers else tensor

    def conv(name: str, tensor: str, inputs: int = WIDTH) -> str:
        return net.conv(name, tensor, inputs, WIDTH, integers)

    stem = net.op("Relu", "stem_relu", conv("stem", rounded("pictures", "pictures", 0.02), 3))
    skip = rounded("skip", stem, 0.03)
    total = net.op("Add", "add", conv("left", skip), skip)
    pool = net.op("MaxPool", "pool", net.op("Relu", "add_relu", total), kernel_shape=[2, 2], strides=[2, 2])
    small = rounded("small", pool, 0.05)
    both = net.op("Concat", "concat", conv("one", small), conv("two", small), axis=1)
    last = conv("last", rounded("both", both, 0.07), 2 * WIDTH)
    return net.model(opset, last, WIDTH)


@functools.cache
def _clean(target: str) -> onnx.ModelProto:
    board = targets.get(target)
    if not board.has_int8:
        return network(False, board.opset)
    if board.dialect == "typed":
        choices = {name: Choice("int8", "int8") for name in LAYERS}
        plan = PrecisionPlan("", target, {**choices, "last": Choice("fp16", "fp16")})
        return hints_into_onnx.write(typed_onnx_from_weak.typed(network(True, 18), plan, board), plan)
    return network(True, 13)


def clean(target: str) -> onnx.ModelProto:
    """A model that breaks no rule of a target of TensorRT; a copy of one's own."""
    made = onnx.ModelProto()
    made.CopyFrom(_clean(target))
    return made


def node(model: onnx.ModelProto, name: str) -> onnx.NodeProto:
    """The node called ``name``."""
    return next(item for item in model.graph.node if item.name == name)


def replace(model: onnx.ModelProto, name: str, values: np.ndarray | np.generic) -> None:
    """Another value for a constant."""
    proto = next(item for item in model.graph.initializer if item.name == name)
    proto.CopyFrom(numpy_helper.from_array(np.asarray(values), name))


def behind(model: onnx.ModelProto, kind: str, name: str, *inputs: str, **attributes: Any) -> str:
    """One more node, which nobody reads yet."""
    model.graph.node.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
    return name


def end_with(model: onnx.ModelProto, tensor: str, kind: int = TensorProto.FLOAT) -> None:
    """The model gives ``tensor``."""
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info(tensor, kind, None))
    model.graph.output[0].CopyFrom(onnx.shape_inference.infer_shapes(model).graph.output[0])


def opset(model: onnx.ModelProto, version: int) -> None:
    """The model says that it is of another opset."""
    model.opset_import[0].version = version


def set_attribute(node: onnx.NodeProto, name: str, value: object) -> None:
    """An attribute, new or changed."""
    kept = [item for item in node.attribute if item.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, *([] if value is None else [helper.make_attribute(name, value)])])


def rounding(model: onnx.ModelProto, name: str, tensor: str, scale: float) -> str:
    """Q and DQ behind a tensor."""
    grid = [store(model, name + "_scale", np.float32(scale)), store(model, name + "_zero", np.int8(0))]
    codes = behind(model, "QuantizeLinear", name + "_quantize", tensor, *grid)
    return behind(model, "DequantizeLinear", name + "_dequantize", codes, *grid)
