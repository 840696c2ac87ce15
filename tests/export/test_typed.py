"""Typed ONNX: the types say the plan, every type fits, and the function stays what it was."""

import functools

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper

from edge_mpq.errors import ExportError
from edge_mpq.records import target as targets
from edge_mpq.records.plan import Choice, PrecisionPlan
from export import fp8_into_onnx, hints_into_onnx, lint_onnx, qdq_into_onnx, typed_onnx_from_weak
from export.lint.reading import DEQUANTIZE, QUANTIZE, WEIGHTED, Reading
from tests import toys
from tests.export import exported, planted

X86, THOR = "tensorrt-11-x86", "jetson-thor"
ELEMENT = {"fp32": TensorProto.FLOAT, "fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
KINDS = sorted(toys.KINDS)


def _plan(kind: str, forms: tuple[str, ...], target: str = X86) -> PrecisionPlan:
    """The layers of a toy in turn at ``forms``."""
    made = toys.planned(kind, target, "fp32", "fp32")
    turns = {name: forms[index % len(forms)] for index, name in enumerate(made.choices)}
    return made._replace(choices={name: Choice(form, form) for name, form in turns.items()})


@functools.cache
def _weak(kind: str, forms: tuple[str, ...], target: str = X86) -> tuple[PrecisionPlan, onnx.ModelProto]:
    plan = _plan(kind, forms, target)
    board = targets.get(target)
    graph, quantized = toys.graph(kind), toys.simulated(kind, plan)
    return plan, qdq_into_onnx.insert(exported.float_onnx(kind), graph, quantized, plan, board)


@functools.cache
def _both(kind: str, forms: tuple[str, ...], target: str = X86) -> tuple[PrecisionPlan, onnx.ModelProto, Reading]:
    """The plan, the weak model and the typed one."""
    plan, weak = _weak(kind, forms, target)
    return plan, weak, Reading(typed_onnx_from_weak.typed(weak, plan, targets.get(target)))


def _error(given: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.sqrt(np.mean((given - wanted) ** 2)) / wanted.std())


MIXES = [("fp32",), ("fp16",), ("int8",), ("fp16", "fp32"), ("int8", "fp16", "fp32")]
IDS = ["-".join(mix) for mix in MIXES]


@pytest.mark.parametrize("forms", MIXES, ids=IDS)
@pytest.mark.parametrize("kind", KINDS)
def test_it_computes_what_the_weak_model_computes(kind: str, forms: tuple[str, ...]) -> None:
    plan, weak, reading = _both(kind, forms)
    onnx.checker.check_model(reading.model, full_check=True)
    pictures = toys.pictures(16)
    before, after = exported.answers(weak, pictures), exported.answers(reading.model, pictures)
    assert after.dtype == np.float32
    if "int8" not in forms:
        assert _error(after, before) < 2e-3
    else:
        # Values near the middle of two codes round to the other one: no more than rounding itself does.
        wanted = exported.answers(exported.newest(kind), pictures)
        assert _error(after, wanted) < 1.3 * _error(before, wanted) + 2e-3
    if before.ndim == 2:
        sure = np.sort(before)[:, -1] - np.sort(before)[:, -2] > 0.05 * before.std()
        assert sure.any() and (before.argmax(1) == after.argmax(1))[sure].all()


def test_a_plan_of_fp32_changes_no_bit_and_needs_no_cast() -> None:
    _, weak, reading = _both("residual", ("fp32",))
    assert exported.operations(reading.model) == exported.operations(weak)
    assert np.array_equal(exported.answers(weak, toys.pictures(4)), exported.answers(reading.model, toys.pictures(4)))


@pytest.mark.parametrize("forms", [*MIXES, ("bf16",), ("bf16", "int8", "fp32")], ids=[*IDS, "bf16", "bf16-int8-fp32"])
@pytest.mark.parametrize("kind", ["residual", "transformer"])
def test_every_layer_has_its_type_and_the_lint_agrees(kind: str, forms: tuple[str, ...]) -> None:
    plan, _, reading = _both(kind, forms)
    for node in reading.of(*WEIGHTED):
        if node.name in plan.choices:
            asked = plan.choices[node.name].activation
            allowed = {ELEMENT[asked]} if asked in ELEMENT else {TensorProto.FLOAT16, TensorProto.FLOAT}
            assert reading.type_of(node.output[0]) in allowed, node.name
    assert {reading.type_of(item.name) for item in reading.inputs} == {TensorProto.FLOAT}
    assert {reading.type_of(name) for name in reading.outputs} == {TensorProto.FLOAT}
    found = lint_onnx.check(hints_into_onnx.write(reading.model, plan), targets.get(X86))
    # The toys have convolutions of 6 to 12 channels.
    slow = {finding.rule for finding in found if finding.severity != "note"} - {"small-convolution"}
    assert slow <= ({"all-float32"} if forms == ("fp32",) else set())


@pytest.mark.parametrize("kind", KINDS)
def test_a_grid_has_the_type_of_what_it_rounds_and_one_value(kind: str) -> None:
    _, _, reading = _both(kind, ("int8", "fp16", "fp32"))
    seen = 0
    for node in reading.of(QUANTIZE):
        scale = reading.scale(node)
        assert scale is not None
        assert reading.type_of(node.input[0]) == reading.type_of(node.input[1]) == reading.type_of(node.input[1])
        for after in reading.readers[node.output[0]]:
            other = reading.scale(after)
            assert after.op_type == DEQUANTIZE and other is not None and float(other) == float(scale)
            assert reading.type_of(after.output[0]) == reading.type_of(after.input[1])
            seen += 1
    assert seen


def test_weights_of_int8_layers_are_the_codes_of_the_weak_model() -> None:
    plan, weak, reading = _both("residual", ("int8",))
    before = Reading(weak)
    stored = {node.output[0]: node.input[0] for node in reading.of(DEQUANTIZE) if node.input[0] in reading.protos}
    for node in before.of(*WEIGHTED):
        dequantize = before.weight_of(node.input[1])
        assert dequantize is not None
        values, scale = before.stored_weight(node.input[1]), before.scale(dequantize)
        assert values is not None and scale is not None
        codes = reading.array(stored[node.input[1]])
        assert codes is not None and codes.dtype == np.int8
        shape = [-1] + [1] * (values.ndim - 1)
        assert np.abs(codes * scale.reshape(shape) - values).max() < 1e-6
    assert reading.model.ByteSize() < 0.6 * weak.ByteSize()


def _float_net(scale: float = 1.0) -> onnx.ModelProto:
    model = planted.network(False, 18)
    values = next(item for item in model.graph.initializer if item.name == "one.bias")
    values.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(values) * np.float32(scale), "one.bias"))
    return model


def _every(form: str) -> PrecisionPlan:
    return PrecisionPlan("", X86, {name: Choice(form, form) for name in planted.LAYERS})


def test_a_layer_whose_bias_half_precision_cannot_hold_stays_fp32_and_the_lint_says_so() -> None:
    model = typed_onnx_from_weak.typed(_float_net(1e7), _every("fp16"), targets.get(X86))
    reading = Reading(model)
    types = {node.name: reading.type_of(node.output[0]) for node in reading.of("Conv")}
    assert types.pop("one") == TensorProto.FLOAT and set(types.values()) == {TensorProto.FLOAT16}
    found = lint_onnx.check(hints_into_onnx.write(model, _every("fp16")), targets.get(X86))
    assert [(item.rule, item.node) for item in found] == [("planned-type", "one")]


def test_a_constant_that_would_vanish_keeps_its_operation_in_fp32() -> None:
    model = planted.network(False, 18)
    model.graph.initializer.append(numpy_helper.from_array(np.array(1e-12, np.float32), "epsilon"))
    planted.end_with(model, planted.behind(model, "Add", "safe", "last", "epsilon"))
    reading = Reading(typed_onnx_from_weak.typed(model, _every("fp16"), targets.get(X86)))
    assert reading.type_of("last") == TensorProto.FLOAT16 and reading.type_of("safe") == TensorProto.FLOAT
    assert reading.array("epsilon") == np.float32(1e-12)


def test_a_scale_that_half_precision_cannot_hold_keeps_its_layer_in_fp32() -> None:
    model = planted.network(True, 18)
    planted.replace(model, "one.weight_scale", np.array([1e-7] + [1e-3] * 15, np.float32))
    reading = Reading(typed_onnx_from_weak.typed(model, _every("int8"), targets.get(X86)))
    types = {node.name: reading.type_of(node.output[0]) for node in reading.of("Conv")}
    assert types["one"] == TensorProto.FLOAT and types["two"] == types["left"] == TensorProto.FLOAT16
    # Both read one tensor: it is rounded once, and given in both types by the same scale.
    (quantize,) = reading.quantizes("pool")
    given = reading.readers[quantize.output[0]]
    assert {reading.type_of(item.output[0]) for item in given} == {TensorProto.FLOAT, TensorProto.FLOAT16}
    scales = [reading.scale(item) for item in (quantize, *given)]
    assert len({float(scale) for scale in scales if scale is not None}) == 1
    casts = [(item.input[0], item.attribute[0].i) for item in reading.of("Cast")]
    assert len(casts) == len(set(casts))
    onnx.checker.check_model(reading.model, full_check=True)


def test_bf16_runs_in_the_reference_evaluator() -> None:
    plan, weak, reading = _both("shortcut", ("bf16",))
    pictures = toys.pictures(4)
    given = onnx.reference.ReferenceEvaluator(reading.model).run(None, {"pictures": pictures.numpy()})
    assert _error(np.asarray(list(given)[0], np.float32), exported.answers(weak, pictures)) < 0.02


@pytest.mark.parametrize("forms", [("fp8",), ("fp8", "fp16")], ids=["fp8", "fp8-fp16"])
@pytest.mark.parametrize("kind", ["shortcut", "transformer", "unet"])
def test_fp8_layers_round_as_the_simulation_does(kind: str, forms: tuple[str, ...]) -> None:
    plan, board = _plan(kind, forms, THOR), targets.get(THOR)
    graph, quantized, whole = toys.graph(kind), toys.simulated(kind, plan), exported.float_onnx(kind)
    # Integers first, and there are none here.
    eight = fp8_into_onnx.insert(whole, whole, graph, quantized, plan, board)
    made = typed_onnx_from_weak.typed(eight, plan, board)
    reading = Reading(made)
    codes = {reading.code_type(node) for node in reading.of(QUANTIZE, DEQUANTIZE)}
    assert codes == {TensorProto.FLOAT8E4M3FN}
    pictures = toys.pictures(16)
    with torch.no_grad():
        wanted = quantized(pictures).numpy()
    assert _error(exported.answers(eight, pictures), wanted) < (1e-5 if forms == ("fp8",) else 3e-2)
    exact = exported.answers(exported.newest(kind), pictures)
    assert _error(exported.answers(made, pictures), exact) < 1.3 * _error(wanted, exact) + 2e-3
    found = lint_onnx.check(hints_into_onnx.write(made, plan), board)
    assert {item.rule for item in found if item.severity != "note"} <= {"small-convolution"}
    assert "code-type" in {item.rule for item in lint_onnx.check(made, targets.get("jetson-orin-nano"))}


def test_what_cannot_be_typed_is_refused_with_the_mend() -> None:
    plan, weak = _weak("residual", ("fp16",))
    with pytest.raises(ExportError, match="jetson-nano reads weakly typed networks"):
        typed_onnx_from_weak.typed(weak, plan, targets.get("jetson-nano"))
    with pytest.raises(ExportError, match="no type of a network says fp4"):
        typed_onnx_from_weak.typed(weak, _every("fp4"), targets.get(X86))
    with pytest.raises(ExportError, match="opset 13 cannot be raised"):
        typed_onnx_from_weak.typed(exported.float_onnx("residual", 13), plan, targets.get(X86))
    with pytest.raises(ExportError, match="computes nothing in fp8"):
        orin = targets.get("jetson-orin-nano")
        fp8_into_onnx.insert(weak, weak, toys.graph("residual"), toys.simulated("residual", plan), plan, orin)
