"""Q/DQ in the ONNX: the engine computes what the simulation computes, in the form that each target reads."""

import functools
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import fx

from edge_mpq import graph as ir
from edge_mpq import placement
from edge_mpq.errors import ExportError
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
PLANS: dict[str, dict[str, Any]] = {
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


CASES = [(kind, name) for kind in toys.KINDS for name in PLANS if name != "mixed" or kind == "residual"]


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_the_graph_computes_the_simulation(kind, name):
    _, quantized, model = deployed(kind, VNNI, name)
    onnx.checker.check_model(model, full_check=True)
    x = toys.pictures(256, seed=21)
    exported.agree(quantized, exported.answers(model, x), x)


@exact
@pytest.mark.parametrize(("kind", "name"), CASES)
def test_integer_kernels_compute_the_simulation(kind, name, tmp_path):
    _, quantized, model = deployed(kind, VNNI, name)
    x = toys.pictures(256, seed=22)
    exported.agree(quantized, exported.engine(model, tmp_path).infer(x.numpy())[0], x)


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
        grid = toys.weight_grid(quantized, layer)
        reader = made[node.input[1]]
        assert reader.op_type == "DequantizeLinear"
        codes, scale, zero = (arrays[item] for item in reader.input)
        assert codes.dtype == np.int8 and not zero.any() and np.array_equal(scale, grid.scale.numpy())
        assert np.abs(codes).max() == {"int8": 127, "int4": 7}[name]
        (axis,) = [item.i for item in reader.attribute if item.name == "axis"]
        shape = [-1 if index == axis else 1 for index in range(codes.ndim)]
        weight = codes * scale.reshape(shape)
        expected = grid(toys.weight(quantized, layer)).detach().numpy()
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
        grid = toys.tensor_grid(quantized, point.tensor)
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
            assert bias is not None and np.array_equal(arrays[node.input[2]], bias.detach().numpy())
    assert not any(value.dtype in (np.int32, np.uint8) for value in arrays.values())


@every_toy
def test_the_form_of_tensorrt_computes_the_simulation(kind):
    _, quantized, model = deployed(kind, ORIN)
    x = toys.pictures(128, seed=23)
    exported.agree(quantized, exported.answers(model, x), x)


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
    exported.agree(quantized, exported.answers(model, x), x)


def test_a_plan_of_float32_changes_no_answer():
    _, model = exported.deployed("residual", toys.planned("residual", VNNI, "fp32", "fp32"))
    x = toys.pictures(4)
    assert np.array_equal(exported.answers(model, x), exported.answers(exported.float_onnx("residual"), x))


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
        qdq_into_onnx.insert(exported.float_onnx("unet"), toys.graph("residual"), quantized, plan, targets.get(VNNI))


def test_a_grid_that_only_the_simulation_knows_is_refused():
    plan = toys.planned("residual", ORIN)
    quantized = toys.simulated("residual", plan)
    floats = onnx_from_torch.onnx_from_graph(toys.graph("residual"), targets.get(ORIN).opset)
    grids = quantized.get_submodule("activation_quantizers")
    name = next(name for name, _ in grids.named_children())
    setattr(grids, name, torch.nn.Hardtanh())
    with pytest.raises(ExportError, match=f"no Q/DQ pair expresses the Hardtanh of tensor '{name}'"):
        qdq_into_onnx.insert(floats, toys.graph("residual"), quantized, plan, targets.get(ORIN))
