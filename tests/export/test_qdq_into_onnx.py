"""Q/DQ in the ONNX: the engine computes what the simulation computes, in the form that each target reads."""

import functools

import numpy as np
import onnx
import pytest
import torch
from torch import fx, nn
from torch.nn import functional

from edge_mpq import graph as ir
from edge_mpq import placement, quantizing, simulation
from edge_mpq.errors import ExportError
from edge_mpq.layers import layers_of
from edge_mpq.records import plan as plans
from edge_mpq.records import target as targets
from edge_mpq.records.plan import PrecisionPlan
from export import onnx_from_torch, qdq_into_onnx
from tests import toys
from tests.export import exported

pytest.importorskip("onnxruntime")

VNNI, ORIN, NANO = "cpu-x86-vnni", "jetson-orin-nano", "jetson-nano"
FLOAT = ("fp32", "fp32")
every_toy = pytest.mark.parametrize("kind", toys.KINDS)
# Plans of the CPU: uniform ones, and one with float layers among layers of several widths.
PLANS = {
    "int8": {},
    "int4": {"weight": "int4"},
    "mixed": {
        "stem__0": ("int8", "int8"), "one__0": ("int4", "int8"), "down__0": FLOAT, "left__0": FLOAT, "right__0": FLOAT,
    },
}  # fmt: skip
exact = pytest.mark.skipif(not exported.EXACT_INTEGERS, reason="integer products saturate on this processor")


@functools.cache
def deployed(kind: str, board: str, name: str = "int8") -> tuple[PrecisionPlan, fx.GraphModule, onnx.ModelProto]:
    plan = toys.planned(kind, board, **PLANS[name])
    return (plan, *exported.deployed(kind, plan))


def producers(model: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    return {output: node for node in model.graph.node for output in node.output}


def layer_nodes(model: onnx.ModelProto, kind: str) -> dict[str, onnx.NodeProto]:
    nodes = {node.name: node for node in model.graph.node}
    return {layer.name: nodes[layer.name] for layer in toys.layers(kind)}


def agree(quantized: fx.GraphModule, output: np.ndarray, x: torch.Tensor) -> None:
    """Top answers on all but one picture in two hundred, and no value further off than a few steps of 8 bits."""
    with torch.no_grad():
        simulated = quantized(x).numpy()
    axis = 1 if simulated.shape[1] > 1 else None
    top = [values.argmax(axis) if axis else values > 0 for values in (output, simulated)]
    assert (top[0] == top[1]).mean() >= 0.995
    assert np.abs(output - simulated).max() <= 4 * np.ptp(simulated) / 255


CASES = [(kind, name) for kind in toys.KINDS for name in PLANS if name != "mixed" or kind == "residual"]


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_the_graph_computes_the_simulation(kind, name):
    _, quantized, model = deployed(kind, VNNI, name)
    onnx.checker.check_model(model, full_check=True)
    x = toys.pictures(256, seed=21)
    agree(quantized, exported.answers(model, x), x)


@exact
@pytest.mark.parametrize(("kind", "name"), CASES)
def test_integer_kernels_compute_the_simulation(kind, name, tmp_path):
    _, quantized, model = deployed(kind, VNNI, name)
    x = toys.pictures(256, seed=22)
    agree(quantized, exported.engine(model, tmp_path).infer(x.numpy())[0], x)


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_every_quantized_layer_gets_an_integer_kernel_and_no_other_layer(kind, name, tmp_path):
    plan, _, model = deployed(kind, VNNI, name)
    ran = exported.optimized(model, tmp_path)
    quantized = [layer for layer in toys.layers(kind) if plan.choices[layer.name].weight != "fp32"]
    assert ran["QLinearConv"] == sum(layer.kind == "conv2d" for layer in quantized)
    linear = ran["QGemm"] + ran["MatMulIntegerToFloat"] + ran["QLinearMatMul"]
    assert linear == sum(layer.kind == "linear" for layer in quantized)
    floats = ran["Conv"] + ran["FusedConv"]
    assert floats == sum(layer.kind == "conv2d" for layer in toys.layers(kind)) - ran["QLinearConv"]


@pytest.mark.parametrize("name", ["int8", "int4"])
def test_between_integer_kernels_no_conversion_is_left(name, tmp_path):
    _, _, model = deployed("residual", VNNI, name)
    ran = exported.optimized(model, tmp_path)
    # The input is quantized; around the float mean before the head, which onnx_for_cpu replaces, one pair is left.
    assert (ran["QuantizeLinear"], ran["DequantizeLinear"]) == (2, 1)
    assert ran["QLinearAdd"] == 2 and ran["QLinearConcat"] == 1 and ran["Add"] == ran["Concat"] == ran["Relu"] == 0


@every_toy
@pytest.mark.parametrize("name", ["int8", "int4"])
def test_weights_are_the_simulation_s_codes_and_scales(kind, name):
    _, quantized, model = deployed(kind, VNNI, name)
    arrays, made = exported.constants(model), producers(model)
    for layer, node in layer_nodes(model, kind).items():
        grid = simulation.weight_quantizer(quantized, layer)
        reader = made[node.input[1]]
        assert reader.op_type == "DequantizeLinear"
        codes, scale, zero = (arrays[item] for item in reader.input)
        assert codes.dtype == np.int8 and not zero.any() and np.array_equal(scale, grid.scale.numpy())
        assert np.abs(codes).max() == {"int8": 127, "int4": 7}[name]
        (axis,) = [item.i for item in reader.attribute if item.name == "axis"]
        shape = [-1 if index == axis else 1 for index in range(codes.ndim)]
        weight = codes * scale.reshape(shape)
        path = str(ir.weight_of(ir.weighted(quantized)[layer][0]).target)
        expected = grid(ir.attribute(quantized, path)).detach().numpy()
        assert np.array_equal(weight.T if node.op_type == "MatMul" else weight, expected)


def test_biases_are_int32_in_units_of_input_times_weight_scale():
    _, _, model = deployed("residual", VNNI)
    arrays, made = exported.constants(model), producers(model)
    for node in layer_nodes(model, "residual").values():
        read, weight, bias = (made[item] for item in node.input)
        codes, scale, zero = (arrays[item] for item in bias.input)
        assert codes.dtype == np.int32 and not zero.any()
        assert np.array_equal(scale, arrays[read.input[1]] * arrays[weight.input[1]])


@pytest.mark.parametrize(("board", "dtype"), [(VNNI, np.uint8), (ORIN, np.int8)])
@every_toy
def test_activations_are_rounded_at_the_points_on_the_simulation_s_grids(kind, board, dtype):
    plan, quantized, model = deployed(kind, board)
    arrays = exported.constants(model)
    nodes = {node.name: node for node in model.graph.node}
    points = placement.points_of(toys.graph(kind), plan, targets.get(board).scheme)
    pairs = [name for name in nodes if name.endswith("_quantize") and not name.endswith(".weight_quantize")]
    assert sorted(pairs) == sorted(point.tensor + "_quantize" for point in points)
    for point in points:
        grid = simulation.activation_quantizer(quantized, point.tensor)
        for end in ("_quantize", "_dequantize"):
            scale, zero = (arrays[item] for item in nodes[point.tensor + end].input[1:])
            assert (scale.item(), zero.item(), zero.dtype) == (grid.scale.item(), grid.zero.item(), dtype)


# TensorRT.


@every_toy
def test_the_form_of_tensorrt_is_float_weights_behind_q_and_dq(kind):
    _, quantized, model = deployed(kind, ORIN)
    onnx.checker.check_model(model, full_check=True)
    arrays, made = exported.constants(model), producers(model)
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            scale, zero = arrays[node.input[1]], arrays[node.input[2]]
            assert zero.dtype == np.int8 and not zero.any()
            assert scale.dtype == np.float32 and (scale > 0).all()
    for layer, node in layer_nodes(model, kind).items():
        dequantize = made[node.input[1]]
        quantize = made[dequantize.input[0]]
        assert (quantize.op_type, dequantize.op_type) == ("QuantizeLinear", "DequantizeLinear")
        assert quantize.input[1:] == dequantize.input[1:]
        weight = arrays[quantize.input[0]]
        assert weight.dtype == np.float32
        assert made[node.input[0]].op_type == "DequantizeLinear"
        if len(node.input) > 2:
            bias = ir.tensor_argument(quantized, ir.weighted(quantized)[layer][0], 2)
            assert np.array_equal(arrays[node.input[2]], bias.detach().numpy())
    assert not any(value.dtype in (np.int32, np.uint8) for value in arrays.values())


@every_toy
def test_the_form_of_tensorrt_computes_the_simulation(kind):
    _, quantized, model = deployed(kind, ORIN)
    x = toys.pictures(128, seed=23)
    agree(quantized, exported.answers(model, x), x)


def test_a_residual_add_has_q_and_dq_on_its_skip_only_and_none_stands_behind_a_layer():
    _, _, model = deployed("residual", ORIN)
    made = producers(model)
    adds = [node for node in model.graph.node if node.op_type == "Add"]
    read = [[made[item].op_type for item in node.input] for node in adds]
    assert len(read) == 2 and all(sorted(pair) == ["Conv", "DequantizeLinear"] for pair in read)
    behind = [made[node.input[0]].name for node in model.graph.node if node.op_type == "QuantizeLinear"
              and node.input[0] in made and made[node.input[0]].op_type in onnx_from_torch.WEIGHTED_OPS]  # fmt: skip
    assert behind == ["short.0"]  # the downsampling skip itself


@pytest.mark.parametrize("formats", [("fp16", "fp16"), FLOAT])
def test_boards_without_integers_get_no_q_and_dq(formats):
    plan = toys.planned("residual", NANO, *formats)
    quantized, model = exported.deployed("residual", plan)
    assert model.opset_import[0].version == 13
    assert not {"QuantizeLinear", "DequantizeLinear"} & set(exported.operations(model))
    assert exported.operations(model) == exported.operations(exported.float_onnx("residual", 13))
    x = toys.pictures(64, seed=24)
    agree(quantized, exported.answers(model, x), x)


def test_a_plan_of_float32_changes_no_answer():
    _, model = exported.deployed("residual", toys.planned("residual", VNNI, "fp32", "fp32"))
    x = toys.pictures(4)
    assert np.array_equal(exported.answers(model, x), exported.answers(exported.float_onnx("residual"), x))


# Models that the exporter writes in unusual ways.


class NoBias(nn.Module):
    """Biases of zeros, which the exporter leaves out, in every kind of layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.up = nn.Conv2d(3, 8, 3, padding=1), nn.ConvTranspose2d(8, 8, 2, 2, groups=2)
        self.tokens, self.head = nn.Linear(8, 6), nn.Linear(6, 4)
        for layer in (self.conv, self.up, self.tokens, self.head):
            nn.init.zeros_(layer.bias)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.up(functional.relu(self.conv(pictures))))
        return self.head(functional.relu(self.tokens(x.flatten(2).transpose(1, 2))).mean(1))


class Twice(nn.Module):
    """A convolution and a linear that are applied twice, to tensors of other ranges."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 3, padding=1)
        self.linear, self.head = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.conv(5 * functional.relu(self.conv(self.stem(pictures)))))
        x = functional.relu(self.linear(x.flatten(2).transpose(1, 2))).mean(1)  # over tokens,
        return self.head(functional.relu(self.linear(x)))  # and over channels


@functools.cache
def unusual(model: type[nn.Module]) -> tuple[fx.GraphModule, onnx.ModelProto]:
    """The graph and the float ONNX of a model with random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        graph = simulation.prepared(model(), toys.pictures(1))
    return graph, onnx_from_torch.onnx_from_graph(graph, 18)


@pytest.mark.parametrize("board", [VNNI, ORIN])
@pytest.mark.parametrize("model", [NoBias, Twice])
def test_biases_of_zeros_and_shared_layers_compute_the_simulation(model, board, tmp_path, capsys):
    graph, floats = unusual(model)
    target = targets.get(board)
    plan = plans.uniform(layers_of(graph), target, "int8", "int8")
    quantized, _ = quantizing.quantize(graph, plan, toys.batches())
    made = qdq_into_onnx.insert(floats, graph, quantized, plan, target)
    onnx.checker.check_model(made, full_check=True)
    assert "share the same name" not in "".join(capsys.readouterr())
    names = [item.name for item in (*made.graph.initializer, *made.graph.node)]
    assert len(names) == len(set(names))
    x = toys.pictures(128, seed=25)
    agree(quantized, exported.answers(made, x), x)
    if exported.EXACT_INTEGERS:
        agree(quantized, exported.engine(made, tmp_path).infer(x.numpy())[0], x)


@pytest.mark.parametrize(("board", "stored"), [(VNNI, ".weight_codes"), (ORIN, ".weight")])
def test_the_weight_of_a_shared_layer_is_stored_once(board, stored):
    graph, floats = unusual(Twice)
    target = targets.get(board)
    plan = plans.uniform(layers_of(graph), target, "int8", "int8")
    quantized, _ = quantizing.quantize(graph, plan, toys.batches())
    arrays = exported.constants(qdq_into_onnx.insert(floats, graph, quantized, plan, target))
    # The linear is stored twice, once as it is and once transposed: over tokens it is a MatMul.
    found = sorted(name for name in arrays if name.endswith(stored))
    assert len(found) == 5 and [name for name in found if name.startswith("conv")] == ["conv" + stored]


# Faults.


def test_formats_that_no_q_and_dq_express_are_refused():
    plan = toys.planned("residual", "simulation", "int8", "int8", one__0=("fp8", "fp8"), two__0=("fp4", "int8"))
    plan = plan._replace(choices={**plan.choices, "stem.0": plan.choices["two.0"]})
    with pytest.raises(ExportError, match="no Q/DQ pair expresses this: .*'stem.0' wants fp4; .*'one.0' wants fp8"):
        exported.deployed("residual", plan)


def test_a_target_is_not_given_what_it_does_not_store():
    plan, quantized, _ = deployed("residual", VNNI, "int4")
    with pytest.raises(ExportError, match="'stem.0' wants int4"):
        qdq_into_onnx.insert(
            exported.float_onnx("residual"), toys.graph("residual"), quantized, plan, targets.get(ORIN)
        )


def test_the_onnx_of_another_model_is_refused():
    plan, quantized, _ = deployed("residual", VNNI)
    with pytest.raises(ExportError, match="is not in the ONNX; plan again"):
        qdq_into_onnx.insert(
            exported.float_onnx("unet"), toys.graph("residual"), quantized, plan, targets.get(VNNI)
        )
