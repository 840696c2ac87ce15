"""Plans against models and targets: every misfit is found, and told with the mend."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_mpq.errors import PlanError, TargetError
from edge_mpq.records import formats, plan, target
from edge_mpq.records.layer import LayerSpec, fingerprint
from edge_mpq.records.plan import Choice, PrecisionPlan
from tests.records import samples

LAYERS = [
    LayerSpec("conv1", "conv2d", (16, 3, 3, 3), (3, 32, 32), (16, 32, 32), 442368, tie="t"),
    LayerSpec("conv2", "conv2d", (16, 16, 3, 3), (16, 32, 32), (16, 32, 32), 2359296, tie="t"),
    LayerSpec("fc", "linear", (10, 64), (64,), (10,), 640),
]
CPU = target.get("cpu-x86-vnni")
NANO = target.get("jetson-nano")


def _told(made: PrecisionPlan, board: target.Target = CPU, layers: list[LayerSpec] = LAYERS) -> str:
    with pytest.raises(PlanError) as caught:
        made.check(layers, board)
    return str(caught.value)


@given(samples.models, st.sampled_from(list(target.TARGETS.values())))
def test_all_fp32_fits_every_model_and_target(layers: list[LayerSpec], board: target.Target) -> None:
    plan.uniform(layers, board, "fp32", "fp32").check(layers, board)


@pytest.mark.parametrize("name", target.names())
def test_uniform_int8_fits_exactly_the_targets_that_have_it(name: str) -> None:
    board = target.get(name)
    made = plan.uniform(LAYERS, board, "int8", "int8")
    if board.has_int8:
        made.check(LAYERS, board)
    else:
        assert f"layer 'conv1' asks for int8 weights, {name} runs" in _told(made, board)


def test_a_format_the_target_does_not_run_names_layer_format_and_mend() -> None:
    made = plan.uniform(LAYERS, NANO, "fp32", "fp32")
    made.choices["fc"] = Choice("int8", "fp16")
    told = _told(made, NANO)
    assert "layer 'fc' asks for int8 weights, jetson-nano runs fp32, fp16" in told
    assert told.endswith("plan again for this model with --target jetson-nano")


def test_another_model_is_refused_by_name_and_by_shape() -> None:
    made = plan.uniform(LAYERS, CPU, "int8", "int8")
    convs = {name: choice for name, choice in made.choices.items() if name != "fc"}
    assert "layer 'fc' of the model is not in the plan" in _told(made._replace(choices=convs))
    assert "layer 'fc' is not in the model" in _told(made, CPU, LAYERS[:2])
    wider = [*LAYERS[:2], LAYERS[2]._replace(weight_shape=(100, 64))]
    assert "layer shapes differ" in _told(made, CPU, wider)


def test_another_target_is_refused() -> None:
    made = plan.uniform(LAYERS, target.get("cpu-arm64"), "int8", "int8")
    assert "made for target cpu-arm64, not cpu-x86-vnni" in _told(made)


def test_tied_layers_must_agree() -> None:
    made = plan.uniform(LAYERS, CPU, "int8", "int8")
    made.choices["conv2"] = Choice("int4", "int8")
    assert "layers 'conv1' and 'conv2' are tied but differ" in _told(made)
    made.choices["conv1"] = Choice("int4", "int8", "another reason is no difference")
    made.check(LAYERS, CPU)


def test_an_unknown_format_is_refused() -> None:
    made = plan.uniform(LAYERS, CPU, "int9", "int8")
    assert "unknown format 'int9'" in _told(made)
    with pytest.raises(PlanError, match="no number format 'int9'; known: fp32"):
        formats.get("int9")


def test_every_fault_is_told_up_to_eight_and_the_rest_counted() -> None:
    many = [LAYERS[2]._replace(name=f"fc{index}") for index in range(12)]
    told = _told(plan.uniform(many, NANO, "int8", "fp32"), NANO, many)
    assert told.count("asks for") == 8 and "and 4 more" in told


def test_a_target_that_is_none_lists_those_there_are() -> None:
    with pytest.raises(TargetError, match="no target 'jetson-nona'; choose one of jetson-nano"):
        target.get("jetson-nona")


@given(samples.models, st.sampled_from(["int8", "int4", "fp16", "fp32"]))
def test_the_average_of_equal_bits_is_those_bits(layers: list[LayerSpec], form: str) -> None:
    made = plan.uniform(layers, target.get("simulation"), form, "fp32")
    assert plan.weight_bits(made, layers) == pytest.approx(formats.get(form).bits)


def test_weight_bits_weighs_layers_by_their_weights() -> None:
    made = plan.uniform(LAYERS, CPU, "int8", "int8")
    made.choices["fc"] = Choice("int4", "int8")
    convs = 16 * 3 * 9 + 16 * 16 * 9
    assert plan.weight_bits(made, LAYERS) == pytest.approx((8 * convs + 4 * 640) / (convs + 640))


@pytest.mark.parametrize(
    ("weight", "activation", "short"),
    [("int4", "int8", "w4a8"), ("int8", "int8", "w8a8"), ("fp16", "fp16", "fp16"), ("int8", "fp32", "w8a32")],
)
def test_the_short_name_of_a_choice(weight: str, activation: str, short: str) -> None:
    assert plan.describe(Choice(weight, activation)) == short


@given(samples.models)
def test_the_fingerprint_sees_names_kinds_and_weight_shapes_only(layers: list[LayerSpec]) -> None:
    mark = fingerprint(layers)
    first = layers[0]
    assert fingerprint([first._replace(macs=first.macs + 1), *layers[1:]]) == mark
    assert fingerprint([first._replace(name=first.name + "x"), *layers[1:]]) != mark
    assert fingerprint([first._replace(weight_shape=(*first.weight_shape, 2)), *layers[1:]]) != mark


@pytest.mark.parametrize("form", formats.FORMATS.values(), ids=lambda form: form.name)
def test_a_format_fits_its_container(form: formats.Format) -> None:
    assert form.bits <= form.container_bits in (2, 4, 8, 16, 32)
    if not form.is_float:
        assert form.largest == 2 ** (form.bits - 1) - 1


@pytest.mark.parametrize("board", target.TARGETS.values(), ids=lambda board: board.name)
def test_a_target_row_makes_sense(board: target.Target) -> None:
    assert all(formats.is_known(name) for name in (*board.weight_formats, *board.activation_formats))
    assert board.weight_formats[0] == board.activation_formats[0] == "fp32"
    assert set(board.activation_formats) <= set(board.peak_tops) or board.name == "simulation"
    assert (board.backend == "tensorrt") == bool(board.tensorrt) == bool(board.compute_capability)
    assert board.dialect == ("typed" if board.tensorrt >= (10, 12) else "weak")
    for version, ceiling in (((8, 4), 13), ((10,), 17), ((10, 9), 20), ((10, 13), 22), ((11,), 24), ((12,), 25)):
        if board.tensorrt and board.tensorrt < version:
            assert board.opset <= ceiling, "the parser of this TensorRT does not know that opset"
            break
