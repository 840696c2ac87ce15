"""Weak ONNX (float32, Q/DQ, a plan beside it) -> typed ONNX, whose types say the plan.

A strongly typed network (TensorRT 10.12 on, and the only kind of TensorRT 11) computes each
operation in the type of its tensors.  So a layer planned in fp16 or bf16 gets weights of
that type and a Cast where another type comes in; an int8 layer computes in half precision
around its Q and DQ, whose scales have the type of what they scale; what the plan does not
name goes on in the type it is given, the widest of several.  Input and output stay float32.

Weights of int8 layers are stored as integers behind DQ, which every typed parser reads.
"""

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edge_mpq.errors import ExportError
from edge_mpq.records.plan import PrecisionPlan
from edge_mpq.records.target import Target
from export import newer_opset_of_onnx
from export.lint.editing import tidy, unused
from export.lint.reading import DEQUANTIZE, QUANTIZE, WEIGHTED, Reading, attribute
from export.types_from_plan import (
    ARRAYS,
    BRAIN,
    FLOAT,
    HALF,
    PLANNED,
    WORDS,
    Types,
    scale_fits,
    schema_of,
    taking,
    through,
    types_of,
)

# Opsets with scales in half precision, and with convolutions and pools in bf16.
HALF_SCALES, BRAIN_LAYERS = 19, 22


def typed(model: onnx.ModelProto, plan: PrecisionPlan, target: Target) -> onnx.ModelProto:
    """``model`` as a strongly typed network for ``target``; the input is left as it was.

    Raises ExportError where the target reads weak networks, where the plan has a format
    without a type, or where the model cannot be written in the opset that the types need.
    """
    if target.dialect != "typed":
        raise ExportError(f"{target.name} reads weakly typed networks", "write hints instead (export.hints_into_onnx)")
    strange = sorted({choice.activation for choice in plan.choices.values()} - set(PLANNED))
    if strange:
        raise ExportError(f"no type of a network says {', '.join(strange)}", "plan with fp32, fp16, bf16 or int8")
    brain = any(choice.activation == "bf16" for choice in plan.choices.values())
    whole = raised(model, BRAIN_LAYERS if brain else HALF_SCALES, target)
    _store_constants(whole)
    reading = Reading(whole)
    types = types_of(reading, plan)
    writer = _Writer(reading, types)
    for node in reading.nodes:
        if node.op_type not in (QUANTIZE, DEQUANTIZE):
            writer.node(node)
    writer.outputs()
    del whole.graph.node[:]
    whole.graph.node.extend(writer.nodes)
    tidy(whole)
    try:
        onnx.checker.check_model(whole, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"the types do not fit together ({error})", "plan fp32 for the layers it names") from error
    return whole


def raised(model: onnx.ModelProto, opset: int, target: Target) -> onnx.ModelProto:
    """A copy of at least ``opset``, which must be one that ``target`` reads."""
    if opset > target.opset:
        raise ExportError(
            f"opset {opset} is needed, and {target.name} reads up to {target.opset}", "plan for a newer board"
        )
    return newer_opset_of_onnx.raised(model, opset)


def _store_constants(model: onnx.ModelProto) -> None:
    """Constant nodes -> initializers."""
    for node in [node for node in model.graph.node if node.op_type == "Constant"]:
        value = attribute(node, "value")
        if value is not None:
            value.name = node.output[0]
            model.graph.initializer.append(value)
            model.graph.node.remove(node)


class _Writer:
    """The nodes of the typed graph, in order; makes casts, converted constants and Q/DQ when they are first read."""

    def __init__(self, reading: Reading, types: Types):
        self.reading, self.types = reading, types
        self.nodes: list[onnx.NodeProto] = []
        self.made: dict[tuple[str, int], str] = {}
        self.inner: dict[str, str] = {}
        self.taken: set[str] = set()

    def node(self, node: onnx.NodeProto) -> None:
        """A node that computes, with its inputs in the type it computes in."""
        form = self.types.node[node.output[0]]
        takes = taking(self.reading, node, schema_of(self.reading, node), form)
        clamp = node.op_type == "Clip" or node.op_type in WEIGHTED
        for index, name in enumerate(node.input):
            if self.reading.type_of(name) == FLOAT and node.op_type != "Cast":
                node.input[index] = self.value(name, form if index in takes else FLOAT, clamp)
            elif node.op_type == "Cast" and self.reading.type_of(name) == FLOAT:
                node.input[index] = self.value(name, self.types.tensor.get(name, FLOAT), clamp)
            else:
                self.codes(name)
        for index, name in enumerate(node.output):
            if name in self.reading.outputs and self.types.tensor.get(name, FLOAT) != FLOAT:
                self.inner[name] = self.name(f"{name}_{WORDS[self.types.tensor[name]]}")
                node.output[index] = self.inner[name]
        self.nodes.append(node)

    def outputs(self) -> None:
        """What the model returns, in float32 under its own name."""
        for name in sorted(self.reading.outputs):
            if name in self.inner:
                self.nodes.append(helper.make_node("Cast", [self.inner[name]], [name], name=self.name(name), to=FLOAT))
            elif self.reading.dequantize_of(name) is not None:
                self.value(name, FLOAT, False)

    def value(self, name: str, form: int, clamp: bool) -> str:
        """A float tensor of the weak graph in type ``form``: the name it has here."""
        if (name, form) in self.made:
            return self.made[name, form]
        dequantize = self.reading.dequantize_of(name)
        if dequantize is not None:
            result = self.dequantized(dequantize, form)
        elif name in self.reading.protos:
            result = name if form == FLOAT else self.constant(f"{name}_{WORDS[form]}", self.array(name), form, clamp)
        elif self.types.tensor.get(name, FLOAT) == form:
            result = self.inner.get(name, name)
        else:
            result = self.name(f"{name}_to_{WORDS[form]}")
            source = self.inner.get(name, name)
            self.nodes.append(helper.make_node("Cast", [source], [result], name=result, to=form))
        self.made[name, form] = result
        return result

    def array(self, name: str) -> np.ndarray:
        values = self.reading.array(name)
        assert values is not None, name
        return values

    def name(self, wanted: str) -> str:
        """``wanted``, or with a number behind where the weak graph or this one has it."""
        free, count = unused(self.reading.model, wanted), 1
        while free in self.taken:
            free, count = unused(self.reading.model, f"{wanted}_{count}"), count + 1
        self.taken.add(free)
        return free

    def constant(self, wanted: str, values: np.ndarray, form: int, clamp: bool = False) -> str:
        """A stored constant in a type; ``clamp``: too large values become the largest finite ones."""
        if clamp and form == HALF:
            values = np.clip(values, -65504.0, 65504.0)
        name = self.name(wanted)
        self.reading.model.graph.initializer.append(numpy_helper.from_array(values.astype(ARRAYS[form]), name))
        return name

    def scale(self, node: onnx.NodeProto, form: int, others: set[int]) -> str:
        """A scale in type ``form`` whose value is the same in every type it is met in."""
        values = self.array(node.input[1])
        for narrow in (BRAIN, HALF):
            if narrow in others | {form}:
                values = through(values, narrow)
        key = (f"{node.input[1]}|{sorted(others | {form})}", form)
        if key not in self.made:
            self.made[key] = self.constant(f"{node.input[1]}_{WORDS[form]}", values, form)
        return self.made[key]

    def rounded(self, quantize: onnx.NodeProto) -> int:
        """The type in which a Q takes what it rounds: the tensor's own, where the scale survives in it."""
        form = self.types.tensor.get(quantize.input[0], FLOAT)
        return form if scale_fits(self.reading, quantize, form) else FLOAT

    def met(self, quantize: onnx.NodeProto) -> set[int]:
        """The types that a grid meets: of what it rounds, and of all that read the rounded."""
        met = {self.rounded(quantize)}
        for dequantize in self.reading.readers[quantize.output[0]]:
            for reader in self.reading.readers[dequantize.output[0]]:
                met.add(self.types.node.get(reader.output[0], FLOAT))
        return met

    def codes(self, name: str) -> None:
        """See to it that the codes of a Q are written, if ``name`` is such."""
        node = self.reading.writer.get(name)
        if node is None or node.op_type != QUANTIZE or (name, 0) in self.made:
            return
        self.made[name, 0] = name
        form, grid = self.rounded(node), self.met(node)
        scale = self.scale(node, form, grid)
        node.input[:] = [self.value(node.input[0], form, False), scale, *node.input[2:]]
        self.nodes.append(node)

    def dequantized(self, node: onnx.NodeProto, form: int) -> str:
        """A DQ that writes ``form``; a weight's codes are stored."""
        before, weak = self.reading.quantize_of(node), node.output[0]
        made = onnx.NodeProto()
        made.CopyFrom(node)
        if self.reading.is_constant_pair(node):
            grid = {form}
            if before is not None:
                made.input[0] = self.stored_codes(before)
        else:
            grid = self.met(before) if before is not None else {form}
            self.codes(node.input[0])
        made.input[1] = self.scale(node, form, grid)
        if any(key[0] == weak for key in self.made):  # another reader took the name for another type
            made.output[0] = self.name(f"{weak}_{WORDS[form]}")
            made.name = self.name(f"{node.name}_{WORDS[form]}")
        self.nodes.append(made)
        return made.output[0]

    def stored_codes(self, quantize: onnx.NodeProto) -> str:
        """The codes of a stored float weight, as a constant."""
        name = quantize.output[0]
        if (name, 0) not in self.made:
            self.made[name, 0] = self.name(name + "_stored")
            values, scale = self.array(quantize.input[0]), self.array(quantize.input[1])
            shape = [1] * values.ndim
            if scale.size > 1:
                shape[attribute(quantize, "axis", 1)] = scale.size
            codes = np.rint(values / scale.reshape(shape)).clip(-128, 127).astype(np.int8)
            self.reading.model.graph.initializer.append(numpy_helper.from_array(codes, self.made[name, 0]))
        return self.made[name, 0]
