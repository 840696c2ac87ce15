"""What the rules ask of a model: who writes and reads a tensor, its type, constant and grid.

Axis letters: K output channels.  Names of tensors stand for the tensors.
"""

import math
from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
CONVOLUTIONS = ("Conv", "ConvTranspose")
HIGHEST_CODE: dict[int, int] = {TensorProto.UINT8: 255, TensorProto.INT8: 127}
LOWEST_CODE: dict[int, int] = {TensorProto.UINT8: 0, TensorProto.INT8: -128}


def attribute(node: onnx.NodeProto, name: str, default=None):
    """The value of an attribute, ``default`` where the node has none."""
    return next((helper.get_attribute_value(item) for item in node.attribute if item.name == name), default)


def name_of(node: onnx.NodeProto) -> str:
    """A node's name; where it has none, the one that TensorRT's parser gives it."""
    return node.name or "node_of_" + next((name for name in node.output if name), "")


def opset_of(model: onnx.ModelProto) -> int:
    """The version of the default operator set."""
    return next((item.version for item in model.opset_import if item.domain in ("", "ai.onnx")), 1)


def every_node(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """The nodes of a graph and of the branches and bodies in it."""
    for node in graph.node:
        yield node
        yield from inner_nodes(node)


def inner_nodes(node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """The nodes of a node's own branches and bodies."""
    for item in node.attribute:
        for inner in [item.g] if item.type == onnx.AttributeProto.GRAPH else item.graphs:
            yield from every_node(inner)


class Reading:
    """A model as it stands.  A change to the model wants a new Reading."""

    def __init__(self, model: onnx.ModelProto):
        self.model, self.opset = model, opset_of(model)
        self.nodes = list(model.graph.node)
        self.inputs = [item for item in model.graph.input]
        self.outputs = {item.name for item in model.graph.output}
        self.protos = {item.name: item for item in model.graph.initializer}
        self.writer: dict[str, onnx.NodeProto] = {}
        self.readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in self.nodes:
            for name in node.output:
                self.writer[name] = node
            for name in set(node.input) | {name for inner in inner_nodes(node) for name in inner.input}:
                self.readers[name].append(node)
            value = attribute(node, "value") if node.op_type == "Constant" else None
            if value is not None:
                self.protos[node.output[0]] = value
        self._arrays: dict[str, np.ndarray] = {}
        self._types = _types(model)

    def array(self, name: str) -> np.ndarray | None:
        """The value of a constant, None for anything else."""
        if name in self.protos and name not in self._arrays:
            self._arrays[name] = numpy_helper.to_array(self.protos[name])
        return self._arrays.get(name)

    def type_of(self, name: str) -> int:
        """The element type of a tensor, 0 where it is not known."""
        return self.protos[name].data_type if name in self.protos else self._types.get(name, (0, None))[0]

    def shape_of(self, name: str) -> tuple[int | None, ...] | None:
        """The extents of a tensor, None for those that are free; None where it is not known."""
        return tuple(self.protos[name].dims) if name in self.protos else self._types.get(name, (0, None))[1]

    def of(self, *kinds: str) -> list[onnx.NodeProto]:
        """The nodes of some kinds, in the model's order."""
        return [node for node in self.nodes if node.op_type in kinds]

    def only_reader(self, name: str) -> onnx.NodeProto | None:
        """The one node that reads a tensor which is no output of the model."""
        readers = self.readers[name]
        return readers[0] if len(readers) == 1 and name not in self.outputs else None

    def scale(self, node: onnx.NodeProto) -> np.ndarray | None:
        """The scale of a Q or DQ, None where it is computed."""
        return self.array(node.input[1])

    def zero(self, node: onnx.NodeProto) -> np.ndarray | None:
        """The zero point of a Q or DQ, None where there is none or it is computed."""
        return self.array(node.input[2]) if len(node.input) > 2 and node.input[2] else None

    def code_type(self, node: onnx.NodeProto) -> int:
        """The element type of the codes that a Q writes or a DQ reads; 0 where it is not known."""
        if len(node.input) > 2 and node.input[2] and self.type_of(node.input[2]):
            return self.type_of(node.input[2])
        if node.op_type == QUANTIZE:
            return attribute(node, "output_dtype") or TensorProto.UINT8
        before = self.quantize_of(node)
        return self.code_type(before) if before is not None else self.type_of(node.input[0])

    def dequantize_of(self, name: str) -> onnx.NodeProto | None:
        """The DQ that writes a tensor."""
        node = self.writer.get(name)
        return node if node is not None and node.op_type == DEQUANTIZE else None

    def quantize_of(self, dequantize: onnx.NodeProto) -> onnx.NodeProto | None:
        """The Q whose codes a DQ reads."""
        node = self.writer.get(dequantize.input[0])
        return node if node is not None and node.op_type == QUANTIZE else None

    def is_constant_pair(self, dequantize: onnx.NodeProto) -> bool:
        """Whether a DQ gives a weight: codes that are stored, or made from a stored tensor."""
        before = self.quantize_of(dequantize)
        return (dequantize if before is None else before).input[0] in self.protos

    def activation_of(self, name: str) -> onnx.NodeProto | None:
        """The DQ that writes a tensor, where that is no constant."""
        node = self.dequantize_of(name)
        return node if node is not None and not self.is_constant_pair(node) else None

    def weight_of(self, name: str) -> onnx.NodeProto | None:
        """The DQ that writes a tensor, where that is a constant."""
        node = self.dequantize_of(name)
        return node if node is not None and self.is_constant_pair(node) else None

    def stored_weight(self, name: str) -> np.ndarray | None:
        """What lies at the root of a weight: the constant itself, or the one behind its Q/DQ."""
        node = self.weight_of(name)
        before = self.quantize_of(node) if node is not None else None
        root = before if before is not None else node
        return self.array(root.input[0] if root is not None else name)

    def source_of(self, name: str) -> str:
        """The float tensor that a rounded one was made from; ``name`` where it is not rounded."""
        node = self.dequantize_of(name)
        before = self.quantize_of(node) if node is not None else None
        return before.input[0] if before is not None else name

    def quantizes(self, name: str) -> list[onnx.NodeProto]:
        """The Qs that read a float tensor."""
        return [node for node in self.readers[name] if node.op_type == QUANTIZE and node.input[0] == name]

    def is_quantized(self, node: onnx.NodeProto) -> bool:
        """Whether a weighted node reads a rounded activation and a rounded weight or second activation."""
        return all(self.dequantize_of(name) is not None for name in node.input[:2])

    def lowest(self, node: onnx.NodeProto) -> float:
        """The least value that an 8-bit Q or DQ can give, -infinity where that is not known."""
        scale, code = self.scale(node), LOWEST_CODE.get(self.code_type(node))
        if scale is None or scale.size != 1 or code is None:
            return -math.inf
        zero = self.zero(node)
        return float((code - (0 if zero is None else int(zero.reshape(-1)[0]))) * float(scale.reshape(-1)[0]))


def _types(model: onnx.ModelProto) -> dict[str, tuple[int, tuple[int | None, ...] | None]]:
    try:
        inferred = onnx.shape_inference.infer_shapes(model).graph
    except Exception:  # a model no tool understands whole may still be read node by node
        inferred = model.graph
    found: dict[str, tuple[int, tuple[int | None, ...] | None]] = {}
    for item in (*inferred.value_info, *inferred.input, *inferred.output):
        kind = item.type.tensor_type
        shape = None
        if kind.HasField("shape"):
            shape = tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in kind.shape.dim)
        found[item.name] = (kind.elem_type, shape)
    return found
