"""Hints and read-back as pure functions."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_mpq.engines import _tensorrt_api as api
from edge_mpq.engines import _tensorrt_precision as precision
from edge_mpq.engines import _tensorrt_readback as readback
from edge_mpq.engines._tensorrt_precision import Hint, Layer, Output
from edge_mpq.records import target as targets
from edge_mpq.records.engine import EngineCard
from edge_mpq.records.plan import Choice, PrecisionPlan


def _plan(**formats: str) -> PrecisionPlan:
    return PrecisionPlan("", "jetson-orin-nano", {name: Choice(form, form) for name, form in formats.items()})


def _layer(name: str, kind: str, source: str, dtype: str = "FLOAT", fixed: bool = False) -> Layer:
    return Layer(name, kind, (source,), (Output(name + ":0", dtype, fixed),))


@pytest.mark.parametrize(
    ("name", "found"),
    [("conv", "conv"), ("conv_1", "conv_1"), ("conv_2", "conv"), ("conv_1_b", "conv_1"), ("convolved", ""), ("", "")],
)
def test_a_layer_belongs_to_its_name_or_the_longest_before_it(name: str, found: str) -> None:
    assert precision.owner(name, ["conv", "conv_1", "fc"]) == found


@given(st.lists(st.text("ab_", min_size=1, max_size=5), unique=True, min_size=1))
def test_a_planned_name_always_owns_itself(names: list[str]) -> None:
    assert [precision.owner(name, names) for name in names] == names


def test_a_float_island_keeps_what_fuses_into_it() -> None:
    layers = [
        _layer("conv1", "CONVOLUTION", "input"),
        _layer("bn", "SCALE", "conv1:0"),
        _layer("relu", "ACTIVATION", "bn:0"),
        _layer("pool", "POOLING", "relu:0"),
        _layer("relu_1", "ACTIVATION", "pool:0"),
        _layer("conv2", "CONVOLUTION", "relu_1:0"),
        _layer("relu_2", "ACTIVATION", "conv2:0"),
    ]
    found = precision.hints(layers, _plan(conv1="fp32", conv2="fp16"), False)
    assert found == [Hint(0, "fp32", (0,)), Hint(1, "fp32", (0,)), Hint(2, "fp32", (0,)), Hint(5, "fp16", (0,))]


def test_a_sum_of_which_one_summand_is_float_is_float() -> None:
    add = Layer("add", "ELEMENTWISE", ("conv2:0", "conv1:0"), (Output("add:0", "FLOAT", False),))
    layers = [_layer("conv1", "CONVOLUTION", "input"), _layer("conv2", "CONVOLUTION", "conv1:0"), add]
    mixed = precision.hints(layers, _plan(conv1="fp32", conv2="fp16"), False)
    assert mixed == [Hint(0, "fp32", (0,)), Hint(1, "fp16", (0,)), Hint(2, "fp32", (0,))]
    assert len(precision.hints(layers, _plan(conv1="fp16", conv2="fp16"), False)) == 2


def test_what_computes_nothing_gets_no_hint() -> None:
    layers = [
        _layer("conv_shape", "SHAPE", "input", "INT32"),
        _layer("conv_weights", "CONSTANT", ""),
        _layer("conv_q", "QUANTIZE", "input", "INT8"),
        _layer("conv_index", "ELEMENTWISE", "input", "INT32"),
        _layer("conv", "CONVOLUTION", "input", fixed=True),
        Layer("conv_pair", "TOPK", ("input",), (Output("a", "FLOAT", False), Output("b", "INT32", False))),
    ]
    assert precision.hints(layers, _plan(conv="fp32"), False) == [Hint(4, "fp32", ())]


def test_int8_is_asked_for_by_name_only_under_a_calibrator() -> None:
    layers = [_layer("conv", "CONVOLUTION", "input"), _layer("fc", "MATRIX_MULTIPLY", "conv:0")]
    plan = _plan(conv="int8", fc="fp16")
    assert precision.hints(layers, plan, False) == [Hint(1, "fp16", (0,))]
    assert precision.hints(layers, plan, True) == [Hint(0, "int8", ()), Hint(1, "fp16", (0,))]


@pytest.mark.parametrize(
    ("formats", "calibrated", "board", "wanted"),
    [
        (["fp32"], False, "jetson-nano", []),
        (["fp32", "fp16"], False, "jetson-nano", ["FP16"]),
        (["int8", "fp32"], False, "jetson-agx-orin", ["INT8", "FP16"]),
        (["fp32"], True, "jetson-agx-orin", ["INT8", "FP16"]),
        (["bf16", "fp8", "fp16"], False, "jetson-thor", ["FP16", "BF16", "FP8"]),
    ],
)
def test_flags_follow_the_formats(formats, calibrated, board, wanted) -> None:
    plan = _plan(**{f"layer{index}": form for index, form in enumerate(formats)})
    assert precision.flags(plan, [], targets.get(board), calibrated) == wanted


ROWS = [
    {"Name": "conv1.weight + input_quantize + conv1 + relu", "LayerType": "CaskConvolution",
     "Inputs": [{"Format/Datatype": "Four wide channel vectorized row major Int8 format"}],
     "Weights": {"Type": "Int8"}},
    {"Name": "Reformatting CopyNode for Input Tensor 0 to conv2", "LayerType": "Reformat",
     "Inputs": [{"Format/Datatype": "Row major Int8 format"}]},
    {"Name": "conv2", "Inputs": [{"Format/Datatype": "Channel major FP16 format where channel % 2 == 0"}],
     "Weights": {"Type": "Half"}},
    {"Name": "PWN(conv3_act, conv3)", "Inputs": [{"Format/Datatype": "Row major linear FP32"}]},
    {"Name": "{ForeignNode[block.attn...block.mlp]}", "Inputs": [{"Format/Datatype": "Half"}]},
    {"Name": "__myl_Fc_myl0_3", "LayerType": "gemm", "Metadata": "[ONNX Layer: mlp]\x1e[ONNX Layer: add]",
     "Inputs": [{"Format/Datatype": "BFloat16"}]},
    {"Name": "quiet", "Inputs": [], "Outputs": []},
]  # fmt: skip
PLANNED = ["conv1", "conv2", "conv3", "mlp", "block.attn", "block.mlp", "quiet"]


def test_formats_are_read_back_from_fused_layers() -> None:
    rows = readback.layers_of(json.dumps({"Layers": ROWS, "Bindings": []}))
    assert readback.got(rows, PLANNED) == {"conv1": "w8a8", "conv2": "fp16", "conv3": "fp32", "mlp": "bf16"}
    assert readback.kernels(rows, PLANNED) == {
        "conv1.weight + input_quantize + conv1 + relu": "conv1", "conv2": "conv2", "PWN(conv3_act, conv3)": "conv3",
        "__myl_Fc_myl0_3": "mlp", "quiet": "quiet",
    }  # fmt: skip


def test_the_row_with_the_weights_speaks_for_a_layer() -> None:
    half, whole = [{"Format/Datatype": "Half"}], [{"Format/Datatype": "Float"}]
    rows = [{"Name": "conv_copy", "Inputs": whole}, {"Name": "conv", "Inputs": half, "Weights": {"Type": "Half"}}]
    assert readback.got(rows, ["conv"]) == readback.got(rows[::-1], ["conv"]) == {"conv": "fp16"}
    around = {"Name": "conv_weight_quantize", "Inputs": whole}
    assert readback.got([around, {"Name": "conv", "Inputs": half}], ["conv"]) == {"conv": "fp16"}
    mixed = [{"Name": "conv", "Inputs": half, "Weights": {"Type": "Int8"}}]
    assert readback.got(mixed, ["conv"]) == {"conv": "w8a16"}


def test_blocks_of_weights_are_told_by_their_bits() -> None:
    row = {"Name": "fc", "Inputs": [{"Format/Datatype": "Half"}], "Weights": {"Type": "Int4"}}
    assert readback.got([row], ["fc"]) == {"fc": "w4a16"}
    asked = {"fc": "w4b64", "head": "w4b64", "conv": "w8a8"}
    got = {"fc": "w4a16", "head": "fp16", "conv": "w8a16"}
    card = EngineCard("tensorrt", "", "", {}, "", "", 0, 0.0, asked, got)
    assert card.mismatches() == [("head", "w4b64", "fp16"), ("conv", "w8a8", "w8a16")]


def test_metadata_is_read_with_the_bytes_that_part_it() -> None:
    text = '{"Layers": [{"Name": "x", "Metadata": "[ONNX Layer: conv1]\x1f[ONNX Layer: relu]\x1e[ONNX Layer: conv2]"}]}'
    (row,) = readback.layers_of(text)
    assert readback.planned_in(row, PLANNED) == ["conv1", "conv2"]


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"Layers": [3, null]}', '{"Other": 1}'])
def test_an_inspector_that_says_nothing_leaves_formats_unknown(text: str) -> None:
    assert readback.got(readback.layers_of(text), PLANNED) == {}


def test_an_engine_without_details_still_names_its_layers() -> None:
    rows = readback.layers_of('{"Layers": ["conv1 + relu", "conv2 || conv3"]}')
    assert [readback.planned_in(row, PLANNED) for row in rows] == [["conv1"], ["conv2", "conv3"]]


def test_a_plan_tells_its_tensorrt_from_8_6_on() -> None:
    head = b"ftrt" + bytes(20)
    assert api.plan_version(head + bytes([10, 3, 0, 26]) + b"rest") == (10, 3, 0, 26)
    assert api.plan_version(head + bytes([8, 6, 1, 6])) == (8, 6, 1, 6)
    for other in (b"", b"ftrt", b"ptrt" + bytes(24), head + bytes(4), b"ftrt\1" + bytes(19) + bytes([10, 3, 0, 26])):
        assert api.plan_version(other) == ()


def test_the_builders_messages_name_the_layer_they_time() -> None:
    assert api.timed_layer("----- Timing Runner: Conv_0 + Relu_1 (CudaDepthwiseConvolution)") == "Conv_0 + Relu_1"
    assert api.timed_layer("Timing Runner: act(x) (Pointwise)") == "act(x)"
    assert api.timed_layer("Formats and tactics selection completed") == ""
