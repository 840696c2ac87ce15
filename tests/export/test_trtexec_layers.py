"""trtexec's script and ``edge-mpq build`` ask the same of every layer of one network."""

from types import SimpleNamespace
from typing import Any, NamedTuple

import onnx
import pytest

from edge_mpq.engines import _tensorrt_build as steps
from edge_mpq.engines import _tensorrt_precision as precision
from edge_mpq.records import target as targets
from export import tensorrt_layers_from_onnx
from export import trtexec_from_plan as trtexec
from tests.export import zoo
from tests.export.test_trtexec import _flags as flags_of

# What a parser's layers are called in TensorRT's enumeration; a table of the test's own.
TYPES = {
    "CONVOLUTION": {"Conv"},
    "DECONVOLUTION": {"ConvTranspose"},
    "MATRIX_MULTIPLY": {"Gemm", "MatMul"},
    "ACTIVATION": {"Relu", "Sigmoid", "Clip", "Tanh"},
    "ELEMENTWISE": {"Add", "Sub", "Mul", "Div", "Pow"},
    "UNARY": {"Erf", "Sqrt"},
    "SHUFFLE": {"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten"},
    "QUANTIZE": {"QuantizeLinear"},
    "DEQUANTIZE": {"DequantizeLinear"},
    "REDUCE": {"ReduceMean"},
    "CONCATENATION": {"Concat"},
    "SHAPE": {"Shape"},
    "POOLING": {"MaxPool", "GlobalAveragePool", "AveragePool"},
    "SOFTMAX": {"Softmax"},
    "NORMALIZATION": {"LayerNormalization"},
    "SLICE": {"Slice", "Pad"},
}
KINDS = {operator: kind for kind, operators in TYPES.items() for operator in operators}
TRT: Any = SimpleNamespace(
    DataType=SimpleNamespace(FLOAT="fp32", HALF="fp16", INT8="int8"),
    BuilderFlag=SimpleNamespace(OBEY_PRECISION_CONSTRAINTS=1, PREFER_PRECISION_CONSTRAINTS=2),
)


class Asked(NamedTuple):
    """What a layer is asked for: its precision, and its output's type; whether the latter is the network's own."""

    precision: str
    output: str
    is_last: bool


class Parsed:
    """A layer of a parsed network, with the face that TensorRT gives it."""

    def __init__(self, name: str, kind: str, inputs: list, outputs: list) -> None:
        self.name, self.type, self.precision = name, SimpleNamespace(name=kind), ""
        self.inputs, self.outputs, self.num_inputs, self.num_outputs = inputs, outputs, len(inputs), len(outputs)
        self.types: dict[int, str] = {}

    def get_input(self, slot: int) -> Any:
        return self.inputs[slot]

    def get_output(self, slot: int) -> Any:
        return self.outputs[slot]

    def set_output_type(self, slot: int, dtype: str) -> None:
        self.types[slot] = dtype


class Network:
    """The layers that a parser makes of an ONNX: weights become layers too, and a Gemm becomes two."""

    def __init__(self, model: onnx.ModelProto) -> None:
        inferred = onnx.shape_inference.infer_shapes(model).graph
        ints = {info.name for info in inferred.value_info if info.type.tensor_type.elem_type in (6, 7, 9)}
        codes = {info.name for info in inferred.value_info if info.type.tensor_type.elem_type in (2, 3)}
        last = {output.name for output in model.graph.output}

        def tensor(name: str) -> Any:
            dtype = "INT32" if name in ints else "INT8" if name in codes else "FLOAT"
            return SimpleNamespace(
                name=name, dtype=SimpleNamespace(name=dtype), is_network_output=name in last,
                is_shape_tensor=name in ints,
            )  # fmt: skip

        self.layers = [Parsed(item.name, "CONSTANT", [], [tensor(item.name)]) for item in model.graph.initializer]
        for node in model.graph.node:
            inputs, outputs = ([tensor(name) for name in names if name] for names in (node.input, node.output))
            kind = KINDS[node.op_type]
            if node.op_type == "Gemm" and len(inputs) == 3:
                product = tensor(node.name + ":product")
                self.layers.append(Parsed(node.name, kind, inputs[:2], [product]))
                self.layers.append(Parsed(node.name + "_71", "ELEMENTWISE", [product, inputs[2]], outputs))
            else:
                self.layers.append(Parsed(node.name, kind, inputs, outputs))
        self.num_layers = len(self.layers)

    def get_layer(self, index: int) -> Parsed:
        return self.layers[index]

    def asked(self) -> dict[str, Asked]:
        """Layer -> what it is asked for; not of those that only the parser can name."""
        return {
            layer.name: Asked(layer.precision, layer.types.get(0, ""), layer.outputs[0].is_network_output)
            for layer in self.layers
            if not layer.name.endswith("_71")
        }


def by_build(model: onnx.ModelProto, plan) -> dict[str, Asked]:
    """What ``edge-mpq build`` asks."""
    network = Network(model)
    config: Any = SimpleNamespace(set_flag=lambda flag: None)
    hints = precision.hints(steps.read_layers(network), plan, False)
    steps.constrain(TRT, config, network, hints, False)
    return network.asked()


def by_script(model: onnx.ModelProto, plan, layers) -> dict[str, Asked]:
    """What trtexec asks by the words of the script, layer after layer by its name."""
    network = Network(model)
    flags = flags_of(trtexec.script("m.onnx", plan, targets.get(plan.target), layers=layers))
    said = [
        dict(row.rsplit(":", 1) for row in flags.get(flag, "").split(",") if row)
        for flag in ("layerPrecisions", "layerOutputTypes")
    ]
    for layer in network.layers:
        layer.precision = said[0].get(layer.name, "")
        if layer.name in said[1]:
            layer.set_output_type(0, said[1][layer.name])
    return network.asked()


def _differing(one: dict[str, Asked], other: dict[str, Asked]) -> list[str]:
    return [
        name for name, row in one.items()
        if row.precision != other[name].precision or (row.output != other[name].output and not row.is_last)
    ]  # fmt: skip


NAMES = ["cifar_resnet20", *(pytest.param(name, marks=pytest.mark.slow) for name in ("unet", "cifar_vit"))]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("board", ["jetson-xavier-nx", "jetson-orin-nano"])
def test_script_and_build_ask_the_same(name: str, board: str) -> None:
    for plan in zoo.plans_of(name, board).values():
        model = zoo.exported(name, plan)
        planned = {layer: choice.activation for layer, choice in plan.choices.items()}
        last = {node.name for node in model.graph.node if set(node.output) & {out.name for out in model.graph.output}}
        built = by_build(model, plan)
        found = _differing(built, by_script(model, plan, tensorrt_layers_from_onnx.layers(model)))
        assert set(found) <= last  # whose output is the network's, or a bias away from it
        assert all(built[layer].precision == ("" if form == "int8" else form) for layer, form in planned.items())


def test_a_script_of_the_plan_alone_would_not() -> None:
    plan = zoo.plans_of("cifar_resnet20", "jetson-orin-nano")["mixed"]
    model = zoo.exported("cifar_resnet20", plan)
    found = _differing(by_build(model, plan), by_script(model, plan, None))
    kinds = {node.op_type for node in model.graph.node if node.name in found}
    assert kinds >= {"Relu", "Add"}
