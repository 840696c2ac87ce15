"""The lint: a planted fault for every rule, its clean twin, the mends, and what ONNX Runtime says of them."""

import collections
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from apps import lint
from edge_mpq.errors import ModelError, TargetError
from edge_mpq.records import target as targets
from export import lint_onnx
from export.lint import mend_grids
from export.lint.finding import FAILING, SEVERITIES, Finding
from export.lint.reading import Reading
from tests import toys
from tests.export import exported, faults, faults_of_grids, faults_of_models, planted

assert faults_of_models and faults_of_grids  # imported for what they enter
PLANTED = faults.PLANTED
OF_CPU = {"signed-activations", "two-bit-outputs", "unfused-layer"}
# The toys' convolutions of 6 to 12 channels are what this rule is about.
SMALL = "small-convolution"


def _check(model: onnx.ModelProto, target: str) -> list[Finding]:
    return lint_onnx.check(model, targets.get(target))


def _rules(findings: list[Finding]) -> set[str]:
    return {finding.rule for finding in findings}


def _failing(findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.severity in FAILING]


def test_every_rule_has_a_fault_that_shows_it() -> None:
    assert {rule.name for rule in lint_onnx.RULES} == set(PLANTED) | OF_CPU
    assert len({rule.name for rule in lint_onnx.RULES}) == len(lint_onnx.RULES)
    assert lint_onnx.MENDED <= set(PLANTED)
    assert {rule.severity for rule in lint_onnx.RULES} == set(SEVERITIES)


@pytest.mark.parametrize("target", [name for name in targets.names() if targets.get(name).backend == "tensorrt"])
def test_the_clean_model_breaks_no_rule(target: str) -> None:
    assert _check(planted.clean(target), target) == []


@pytest.mark.parametrize("rule", PLANTED)
def test_a_planted_fault_is_found_where_it_is(rule: str) -> None:
    target, where, _ = PLANTED[rule]
    found = [finding for finding in _check(faults.planted(rule), target) if finding.rule == rule]
    assert where in {finding.node for finding in found}
    for finding in found:
        assert finding.what and finding.mend and finding.source and finding.severity in SEVERITIES


@pytest.mark.parametrize("rule", sorted(lint_onnx.MENDED))
def test_a_mended_fault_is_gone(rule: str) -> None:
    target, where, _ = PLANTED[rule]
    model = faults.planted(rule)
    before = model.SerializeToString()
    mended, fixed = lint_onnx.fix(model, targets.get(target))
    assert model.SerializeToString() == before
    assert (rule, where) in {(finding.rule, finding.node) for finding in fixed}
    left = _check(mended, target)
    assert rule not in _rules(left) and _failing(left) == []
    onnx.checker.check_model(mended, full_check=True)


@pytest.mark.parametrize("rule", sorted(set(PLANTED) - lint_onnx.MENDED))
def test_what_cannot_be_mended_is_still_said(rule: str) -> None:
    target, where, _ = PLANTED[rule]
    mended, fixed = lint_onnx.fix(faults.planted(rule), targets.get(target))
    assert rule in _rules(_check(mended, target)) and rule not in _rules(fixed)


@pytest.mark.parametrize("target", ["jetson-nano", "jetson-orin-nano"])
def test_fixing_a_clean_model_changes_nothing(target: str) -> None:
    model = planted.clean(target)
    mended, fixed = lint_onnx.fix(model, targets.get(target))
    assert fixed == [] and mended == model


# Mends that round elsewhere or on another grid, and so compute a little else.
ROUND = {"zero-point", "uint8", "uint8-as-int8", "concat-scales", "pool-scales", "add-both-rounded", "no-integers"}
ROUND |= {"rounded-before-activation", "rounded-float-operator", "rounded-output"}


# ONNX Runtime loads no model with one name twice.
@pytest.mark.parametrize("rule", sorted(lint_onnx.MENDED - {"duplicate-name"}))
def test_a_mended_model_computes_the_same(rule: str) -> None:
    model = faults.planted(rule)
    mended, _ = lint_onnx.fix(model, targets.get(PLANTED[rule][0]))
    pictures = torch.from_numpy(np.random.default_rng(1).uniform(-2, 2, (4, 3, 8, 8)).astype(np.float32))
    before, after = exported.answers(model, pictures), exported.answers(mended, pictures)
    assert np.sqrt(np.mean((after - before) ** 2)) <= (0.1 if rule in ROUND else 1e-5) * before.std()


@pytest.mark.parametrize("target", ["jetson-orin-nano", "jetson-nano", "jetson-xavier-nx"])
def test_a_relu_that_only_the_grid_implied_is_written_again(target: str) -> None:
    # ONNX Runtime's quantizer takes out a Relu whose output is uint8 with zero point 0.
    net = planted.Net()
    conv = net.conv("conv", net.rounded("pictures", "pictures", 0.02), 3, 16)
    last = net.conv("last", net.rounded("positive", conv, 0.02), 16, 16)
    made = net.model(13, net.op("AveragePool", "pooled", last, kernel_shape=[2, 2], strides=[2, 2]), 16)
    planted.replace(made, "positive_zero", np.uint8(0))
    pictures = torch.from_numpy(np.random.default_rng(2).uniform(-2, 2, (4, 3, 8, 8)).astype(np.float32))
    mended, _ = lint_onnx.fix(made, targets.get(target))
    assert exported.operations(mended)["Relu"] + exported.operations(mended)["Clip"] == 1
    before, after = exported.answers(made, pictures), exported.answers(mended, pictures)
    assert np.abs(after - before).max() < 0.15 * before.std()


def _by_onnxruntime(kind: str, folder: Path, signed: bool) -> onnx.ModelProto:
    """A toy as onnxruntime's static quantizer writes it."""
    quantization = pytest.importorskip("onnxruntime.quantization")

    class Reader(quantization.CalibrationDataReader):  # type: ignore[name-defined]
        def __init__(self) -> None:
            self.rows = iter([{"pictures": batch.numpy()} for batch in toys.batches()])

        def get_next(self) -> dict | None:
            return next(self.rows, None)

    onnx.save(exported.float_onnx(kind), str(folder / "float.onnx"))
    quantization.quantize_static(
        str(folder / "float.onnx"),
        str(folder / "quantized.onnx"),
        Reader(),
        quant_format=quantization.QuantFormat.QDQ,
        activation_type=quantization.QuantType.QInt8 if signed else quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        per_channel=kind != "unet",  # it does not know how the weights of a grouped transposed convolution lie
    )
    return onnx.load(str(folder / "quantized.onnx"))


@pytest.mark.parametrize("signed", [False, True], ids=["uint8", "int8"])
@pytest.mark.parametrize("kind", ["residual", "unet", "transformer"])
def test_what_onnxruntime_quantized_is_mended_for_every_jetson(kind: str, signed: bool, tmp_path: Path) -> None:
    model = _by_onnxruntime(kind, tmp_path, signed)
    pictures = toys.pictures(8)
    wanted, given = exported.answers(exported.newest(kind), pictures), exported.answers(model, pictures)
    lost = np.sqrt(np.mean((given - wanted) ** 2))
    for target in ("jetson-orin-nano", "jetson-nano", "jetson-xavier-nx"):
        expected = {"zero-point", "int32-bias"} | ({"no-integers"} if target == "jetson-nano" else set())
        assert expected <= _rules(_check(model, target))
        mended, fixed = lint_onnx.fix(model, targets.get(target))
        onnx.checker.check_model(mended, full_check=True)
        assert expected <= _rules(fixed)
        assert {finding.rule for finding in _check(mended, target) if finding.severity != "note"} <= {SMALL}
        got = exported.answers(mended, pictures)
        # A grid of one sign loses a bit when it becomes symmetric.
        assert np.sqrt(np.mean((got - wanted) ** 2)) < 2 * lost + 0.005 * wanted.std()


@given(scale=st.floats(1e-4, 10.0), zero=st.integers(0, 255), seed=st.integers(0, 99))
def test_a_grid_made_symmetric_covers_what_it_covered(scale: float, zero: int, seed: int) -> None:
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], name="q"),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], name="d"),
        helper.make_node("Neg", ["y"], ["n"], name="n"),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [9]) for name in "xn"]
    grid = [numpy_helper.from_array(np.array(scale, np.float32), "s")]
    grid.append(numpy_helper.from_array(np.array(zero, np.uint8), "z"))
    model = helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:], grid))
    reading = Reading(model)
    mend_grids.symmetric(reading, targets.get("jetson-orin-nano"))
    after = Reading(model)
    quantize = next(item for item in after.nodes if item.name == "q")
    fine, shift = after.scale(quantize), after.zero(quantize)
    assert fine is not None and shift is not None and shift.dtype == np.int8 and not shift.any()
    low, high = -zero * scale, (255 - zero) * scale
    drawn = np.random.default_rng(seed).uniform(low, high, 50)
    rounded = np.clip(np.rint(drawn / fine), -128, 127) * fine
    assert np.abs(rounded - drawn).max() <= 0.5001 * fine
    assert fine <= 2.01 * scale
    if zero == 128:
        assert fine == np.float32(scale)


# What ONNX Runtime's CPU provider makes of a layer: (kinds of nodes it leaves, whether the lint objects)
def _layer(kind: str, weight: bool = True, closed: bool = False, bias: bool = False) -> onnx.ModelProto:
    """One layer with rounded input, uint8, and a rounded or float weight; ``closed``: Q and DQ behind it."""
    draw = np.random.default_rng(0)
    shape = {"Conv": [16, 16, 3, 3], "MatMul": [16, 32], "Gemm": [16, 32]}[kind]
    constants = {
        "s": np.float32(0.02), "z": np.uint8(128), "ws": np.float32(0.01), "wz": np.int8(0),
        "w": draw.integers(-127, 128, shape).astype(np.int8), "b": np.zeros(32, np.float32),
        "f": draw.normal(0, 1, shape).astype(np.float32),
    }  # fmt: skip
    steps = [("QuantizeLinear", ["x", "s", "z"], "q"), ("DequantizeLinear", ["q", "s", "z"], "d")]
    steps += [("DequantizeLinear", ["w", "ws", "wz"], "v")]
    steps += [(kind, ["d", "v" if weight else "f"] + (["b"] if bias else []), "y")]
    if closed:
        steps += [("QuantizeLinear", ["y", "s", "z"], "yq"), ("DequantizeLinear", ["yq", "s", "z"], "yd")]
    nodes = [helper.make_node(op, inputs, [output], name=output) for op, inputs, output in steps]
    ends = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 16, 8, 8] if kind == "Conv" else [4, 16]),
        helper.make_tensor_value_info(steps[-1][2], TensorProto.FLOAT, None),
    ]
    stored = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


@pytest.mark.parametrize(
    ("model", "objects"),
    [
        (_layer("Conv", closed=True), False),
        (_layer("Conv"), True),
        (_layer("MatMul"), False),
        (_layer("MatMul", weight=False), True),
        (_layer("Gemm"), False),
        (_layer("Gemm", bias=True), True),
    ],
    ids=["conv closed", "conv open", "matmul", "matmul by float", "gemm", "gemm with float bias"],
)
def test_the_lint_says_of_a_cpu_what_onnxruntime_does(model: onnx.ModelProto, objects: bool, tmp_path: Path) -> None:
    found = _rules(_check(model, "cpu-x86-vnni"))
    assert ("unfused-layer" in found) == objects
    left = exported.optimized(model, tmp_path)
    assert any(left[kind] for kind in ("Conv", "FusedConv", "MatMul", "Gemm", "FusedMatMul")) == objects, left


def test_signed_activations_are_slow_on_x86_only() -> None:
    model = planted.clean("jetson-orin-nano")
    assert "signed-activations" in _rules(_check(model, "cpu-x86-vnni"))
    assert "signed-activations" not in _rules(_check(model, "cpu-arm64"))


def test_the_target_that_deploys_nothing_is_refused() -> None:
    with pytest.raises(TargetError, match="nothing is deployed"):
        _check(planted.clean("jetson-nano"), "simulation")


def test_main_ends_with_1_where_a_model_would_be_refused_and_0_once_mended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, mended = tmp_path / "model.onnx", tmp_path / "mended.onnx"
    onnx.save(faults.planted("uint8-as-int8"), str(source))
    assert lint.main([str(source), "--target", "jetson-orin-nano", "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["wrong"] == 1 and said["findings"][0]["rule"] == "uint8-as-int8" and said["fixed"] == []
    assert lint.main([str(source), "--target", "jetson-orin-nano", "--fix", str(mended), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["findings"] == [] and [row["rule"] for row in said["fixed"]] == ["uint8-as-int8"]
    assert lint.main([str(mended), "--target", "jetson-orin-nano"]) == 0
    assert "0 refused, 0 wrong, 0 slow, 0 note" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("content", [None, b"", b"\x08\x07 torn", b"<html>"], ids=["missing", "empty", "torn", "html"])
def test_main_refuses_what_is_no_onnx(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError):
        lint.main([str(path), "--target", "jetson-nano"])


def test_the_worst_comes_first() -> None:
    model = faults.planted("uint8-as-int8")
    planted.node(model, "add").input[1] = "stem_relu"
    planted.node(model, "concat").name = ""
    severities = [finding.severity for finding in _check(model, "jetson-orin-nano")]
    assert severities == sorted(severities, key=SEVERITIES.index)
    assert collections.Counter(severities) == {"wrong": 1, "slow": 1, "note": 1}
