"""float ONNX + simulated graph -> ONNX with Q/DQ where the simulation rounds.

The grids, rounded weights and corrected biases are read from the simulated graph, bit for
bit.  Block-wise weights stay float here and are written by
export.blocks_into_onnx.  The target's scheme decides the form: ``integer`` stores integer weights and int32
biases behind DequantizeLinear, as ONNX Runtime's integer kernels want; ``float`` keeps
fp32 weights with QuantizeLinear and DequantizeLinear and fp32 biases, the one form that every
TensorRT parses.
"""

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import torch
from torch import fx

from edge_mpq import graph as ir
from edge_mpq import simulation
from edge_mpq.errors import ExportError
from edge_mpq.placement import Point, points_of
from edge_mpq.quantizers.affine import AffineQuantizer
from edge_mpq.quantizers.power import PowerQuantizer
from edge_mpq.records import formats
from edge_mpq.records.plan import PrecisionPlan
from edge_mpq.records.target import Target
from export.onnx_from_torch import WEIGHTED_OPS, source_of


def insert(
    model: onnx.ModelProto, graph: fx.GraphModule, quantized: fx.GraphModule, plan: PrecisionPlan, target: Target
) -> onnx.ModelProto:
    """``model`` (made from ``graph``) computing what ``quantized`` computes.

    Raises ExportError when the plan holds a format that no Q/DQ pair expresses, or a
    rounded tensor is not in the ONNX.
    """
    expressed = {"int8", "int7", "int6", "int5", "int4", "int3", "int2", "fp32", "fp16", "bf16"}
    if target.dialect == "typed":
        expressed.add("fp8")  # written afterwards, by fp8_into_onnx
    faults = [
        f"layer {name!r} wants {choice.weight}"
        for name, choice in plan.choices.items()
        if choice.weight not in target.weight_formats
        or not (choice.weight in expressed or formats.get(choice.weight).block)
    ]
    if faults:
        raise ExportError("no Q/DQ pair expresses this: " + "; ".join(faults[:8]), "plan with integer formats")
    sources = {node.name: source_of(node) for node in model.graph.node}
    surgeon = gs.import_onnx(model)
    editor = _Editor(surgeon, sources, target)
    layers = ir.weighted(graph)
    for point in points_of(graph, plan, target.scheme):
        module = simulation.activation_quantizer(quantized, point.tensor)
        if isinstance(module, AffineQuantizer):
            editor.activation(point, module)
        elif not formats.get(point.form).is_float:
            kind = type(module).__name__
            raise ExportError(
                f"no Q/DQ pair expresses the {kind} of tensor {point.tensor!r}", "it can be simulated, not deployed"
            )
    for name, nodes in layers.items():
        for node in nodes:
            editor.layer(name, node, quantized)
    surgeon.cleanup().toposort()
    exported = gs.export_onnx(surgeon)
    del exported.graph.value_info[:]  # types have changed; engines infer them again
    exported.ir_version, exported.producer_name = model.ir_version, "edge-mpq"
    onnx.checker.check_model(exported)
    return exported


class _Editor:
    """The edits of one graph; remembers the grid of every rounded tensor."""

    def __init__(self, surgeon: gs.Graph, sources: dict[str, str], target: Target):
        self.surgeon, self.sources, self.target = surgeon, sources, target
        self.tensors = surgeon.tensors()
        self.scale_of: dict[str, float] = {}
        # (layer, stored transposed) -> its rounded weight: a layer applied twice is stored once.
        self.weight_of: dict[tuple[str, bool], gs.Variable] = {}

    def constant(self, name: str, values: np.ndarray) -> gs.Constant:
        return gs.Constant(name, np.array(values, order="C"))

    def activation(self, point: Point, grid: AffineQuantizer) -> None:
        """Q and DQ behind a tensor, for the readers of ``point``."""
        tensor = self.tensors.get(point.tensor)
        if tensor is None:
            raise ExportError(f"tensor {point.tensor!r} of the plan is not in the ONNX", "plan again for this model")
        readers = list(tensor.outputs)
        if point.readers:
            readers = [node for node in readers if self.sources.get(node.name) in point.readers]
        dtype = np.uint8 if self.target.scheme.activation == "uint8" else np.int8
        scale = self.constant(point.tensor + "_scale", np.array(grid.scale.item(), np.float32))
        zero = self.constant(point.tensor + "_zero", np.array(grid.zero.item(), dtype))
        codes = gs.Variable(point.tensor + "_codes", dtype)
        rounded = gs.Variable(point.tensor + "_rounded", np.float32)
        self.surgeon.nodes += [
            gs.Node("QuantizeLinear", point.tensor + "_quantize", inputs=[tensor, scale, zero], outputs=[codes]),
            gs.Node("DequantizeLinear", point.tensor + "_dequantize", inputs=[codes, scale, zero], outputs=[rounded]),
        ]
        for node in readers:
            node.inputs = [rounded if item is tensor else item for item in node.inputs]
        if not point.readers and any(item is tensor for item in self.surgeon.outputs):
            name = tensor.name
            tensor.name, rounded.name = name + "_before", name
            rounded.shape, rounded.dtype = tensor.shape, tensor.dtype
            self.surgeon.outputs = [rounded if item is tensor else item for item in self.surgeon.outputs]
        self.scale_of[rounded.name] = grid.scale.item()

    def layer(self, name: str, source: fx.Node, quantized: fx.GraphModule) -> None:
        """The weight and bias of one layer, from the simulated graph."""
        node = next(
            (
                item
                for item in self.surgeon.nodes
                if self.sources.get(item.name) == source.name and item.op in WEIGHTED_OPS
            ),
            None,
        )
        if node is None:
            raise ExportError(f"layer {name!r} is not in the ONNX", "plan again for this model")
        weight = ir.attribute(quantized, str(source.args[1].target)).detach()
        turned = node.op == "MatMul"  # x W^T: torch keeps [K, C], MatMul wants [C, K]
        grid = simulation.weight_quantizer(quantized, name)
        bias = self._bias(node, source, quantized)
        if isinstance(grid, PowerQuantizer):
            what = f"no Q/DQ pair expresses the powers that layer {name!r} is rounded to"
            raise ExportError(what, "they can be simulated, not deployed; learn on the uniform grid")
        if not isinstance(grid, AffineQuantizer):
            node.inputs[1] = self.constant(node.name + ".weight", weight.T.numpy() if turned else weight.numpy())
            if bias is not None:
                bias[0].inputs[bias[1]] = self.constant(node.name + ".bias", bias[2])
            return
        if (name, turned) not in self.weight_of:
            self.weight_of[name, turned] = self._weight(node.name, grid, weight, turned)
        node.inputs[1] = self.weight_of[name, turned]
        if bias is not None:
            self._place_bias(node.name, node, bias, grid.scale.numpy())

    def _weight(self, name: str, grid: AffineQuantizer, weight: torch.Tensor, turned: bool) -> gs.Variable:
        """The rounded weight, behind its Q and DQ."""
        codes, axis = grid.integers(weight).numpy(), grid.axis or 0
        if turned:
            codes, axis = codes.T, 1 - axis
        scale = self.constant(name + ".weight_scale", grid.scale.numpy())
        zero = self.constant(name + ".weight_zero", np.zeros(len(grid.scale), np.int8))
        if self.target.scheme.weights == "integer":
            stored = self.constant(name + ".weight_codes", codes)
        else:
            stored = gs.Variable(name + ".weight_codes", np.int8)
            exact = codes * grid.scale.numpy().reshape([-1 if i == axis else 1 for i in range(codes.ndim)])
            floats = self.constant(name + ".weight", exact.astype(np.float32))
            self._add("QuantizeLinear", name + ".weight_quantize", [floats, scale, zero], stored, axis)
        ready = gs.Variable(name + ".weight_rounded", np.float32)
        self._add("DequantizeLinear", name + ".weight_dequantize", [stored, scale, zero], ready, axis)
        return ready

    def _add(self, op: str, name: str, inputs: list, output: gs.Variable, axis: int) -> None:
        self.surgeon.nodes.append(gs.Node(op, name, attrs={"axis": axis}, inputs=inputs, outputs=[output]))

    def _bias(
        self, node: gs.Node, source: fx.Node, quantized: fx.GraphModule
    ) -> tuple[gs.Node, int, np.ndarray] | None:
        """(the node that adds the bias, its input index, the value), None without a bias."""
        if len(source.args) < 3 or source.args[2] is None:
            return None
        value = ir.attribute(quantized, str(source.args[2].target)).detach().numpy()
        # The exporter leaves out a bias of zeros, which correction may have moved since.
        zeros = self.constant(node.name + ".bias", np.zeros_like(value))
        if node.op != "MatMul":
            if len(node.inputs) == 2:
                node.inputs.append(zeros)
            return node, 2, value
        adds = [reader for reader in node.outputs[0].outputs if self.sources.get(reader.name) == source.name]
        if adds:
            return adds[0], next(i for i, item in enumerate(adds[0].inputs) if isinstance(item, gs.Constant)), value
        sums, product = node.outputs[0], gs.Variable(node.outputs[0].name + "_product", np.float32)
        node.outputs = [product]
        add = gs.Node("Add", node.name + "_bias", inputs=[product, zeros], outputs=[sums])
        self.surgeon.nodes.append(add)
        return add, 1, value

    def _place_bias(
        self, name: str, node: gs.Node, bias: tuple[gs.Node, int, np.ndarray], weight_scale: np.ndarray
    ) -> None:
        adder, index, value = bias
        input_scale = self.scale_of.get(node.inputs[0].name)
        if self.target.scheme.weights != "integer" or adder is not node or input_scale is None:
            adder.inputs[index] = self.constant(name + ".bias", value)
            return
        scale = (np.float32(input_scale) * np.tile(weight_scale, len(value) // len(weight_scale))).astype(np.float32)
        codes = np.rint(value / scale).clip(-(2**31), 2**31 - 1).astype(np.int32)
        ready = gs.Variable(name + ".bias_rounded", np.float32)
        inputs = [
            self.constant(name + ".bias_codes", codes),
            self.constant(name + ".bias_scale", scale),
            self.constant(name + ".bias_zero", np.zeros(len(codes), np.int32)),
        ]
        self._add("DequantizeLinear", name + ".bias_dequantize", inputs, ready, 0)
        node.inputs[index] = ready
