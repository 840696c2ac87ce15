"""Laws that every cost model keeps, present and future, and what is peculiar to each."""

import math

import pytest

from edge_mpq import cost
from edge_mpq.cost import roofline, size
from edge_mpq.cost._compute import compute_format
from edge_mpq.errors import PlanError, UsageError
from edge_mpq.records import target as targets
from edge_mpq.records.formats import FORMATS
from edge_mpq.records.layer import LayerSpec

LAYERS = [
    LayerSpec("stem", "conv2d", (16, 3, 3, 3), (3, 32, 32), (16, 32, 32), 442_368),
    LayerSpec("depthwise", "conv2d", (16, 1, 3, 3), (16, 32, 32), (16, 32, 32), 147_456, groups=16),
    LayerSpec("wide", "conv2d", (512, 512, 3, 3), (512, 14, 14), (512, 14, 14), 462_422_016),
    LayerSpec("head", "linear", (10, 64), (64,), (10,), 640),
]
# Every step down gives up bits of the weights, of the activations, or of both.
FALLING = [("fp32", "fp32"), ("fp16", "fp16"), ("int8", "int8"), ("int7", "int8"), ("int5", "int8"), ("int4", "int8"),
           ("int3", "int8"), ("int2", "int8")]  # fmt: skip
MENU = {layer.name: FALLING for layer in LAYERS}

every_method = pytest.mark.parametrize("method", cost.names())
every_target = pytest.mark.parametrize("target", targets.names())


def facts(target):
    """What any cost model may ask for: here profiles as the roofline predicts them."""
    costs = roofline.table(LAYERS, MENU, target)
    return {"times": {pair: {name: row[pair] for name, row in costs.items()} for pair in FALLING}}


def table(method, target, menu=MENU):
    board = targets.get(target)
    return cost.get(method).table(LAYERS, menu, board, **facts(board))


def test_the_door_lists_the_models_and_hides_what_they_share():
    assert {"size", "bitops", "roofline", "measured"} <= set(cost.names())
    assert "_compute" not in cost.names()
    with pytest.raises(UsageError, match="choose one of .*roofline"):
        cost.get("energy")


@every_method
def test_a_model_names_its_unit(method):
    assert cost.get(method).UNIT in ("MiB", "GBOPs", "ms", "mJ")


@every_method
@every_target
def test_every_layer_and_pair_has_a_positive_finite_cost(method, target):
    made = table(method, target)
    assert list(made) == [layer.name for layer in LAYERS]
    for row in made.values():
        assert list(row) == FALLING
        assert all(0 < value < math.inf for value in row.values())


@every_method
@every_target
def test_more_bits_never_cost_less(method, target):
    for row in table(method, target).values():
        costs = [row[pair] for pair in FALLING]
        assert costs == sorted(costs, reverse=True)


@every_method
def test_a_larger_layer_of_the_same_kind_never_costs_less(method):
    board = targets.get("jetson-orin-nano")
    wider = [layer._replace(weight_shape=(2 * layer.weight_shape[0],) + layer.weight_shape[1:], macs=2 * layer.macs)
             for layer in LAYERS]  # fmt: skip
    small, large = (cost.get(method).table(sizes, MENU, board, **facts(board)) for sizes in (LAYERS, wider))
    assert all(small[name][pair] <= large[name][pair] for name in small for pair in FALLING)


@every_method
def test_a_table_follows_the_menu_of_each_layer(method):
    menu = {layer.name: FALLING[:1] if layer.name == "head" else FALLING[1:3] for layer in LAYERS}
    assert {name: list(row) for name, row in table(method, "simulation", menu).items()} == menu


@every_method
def test_an_unknown_format_is_an_error(method):
    with pytest.raises(PlanError, match="int9"):
        table(method, "cpu-x86-vnni", {layer.name: [("int9", "int8")] for layer in LAYERS})


def test_size_is_weights_times_nominal_bits():
    made = table("size", "cpu-x86-vnni")
    assert made["wide"]["int5", "int8"] == 512 * 512 * 9 * 5 / 8 / 2**20
    assert made["wide"]["fp32", "fp32"] == 9.0


def test_containers_take_whole_tensor_types():
    chosen = {
        "stem": ("int7", "int8"),
        "depthwise": ("int8", "int8"),
        "wide": ("int3", "int8"),
        "head": ("fp16", "fp16"),
    }
    bits = 432 * 8 + 144 * 8 + 512 * 512 * 9 * 4 + 640 * 16
    assert size.container_mib(LAYERS, chosen) == bits / 8 / 2**20
    nominal = table("size", "simulation")
    assert size.container_mib(LAYERS, chosen) > sum(nominal[name][pair] for name, pair in chosen.items())


def test_bit_operations_multiply_both_widths():
    made = table("bitops", "cpu-x86-vnni")
    assert made["head"]["int4", "int8"] == 640 * 4 * 8 / 1e9
    assert made["head"]["fp32", "fp32"] == 32 * made["head"]["int4", "int8"]


def test_the_roofline_is_bound_by_the_slower_of_computing_and_moving():
    board = targets.get("jetson-orin-nano")
    made = table("roofline", board.name)
    launch = board.launch_us / 1e3
    computing = 2 * 462_422_016 / (board.peak_tops["int8"] * 1e12 * board.efficiency) * 1e3
    assert made["wide"]["int8", "int8"] == pytest.approx(computing + launch)
    moving = (640 * 1 + 74 * 1) / (board.bandwidth_gbs * 1e9) * 1e3
    assert made["head"]["int8", "int8"] == pytest.approx(moving + launch)
    assert made["head"]["int5", "int8"] == made["head"]["int8", "int8"]


@pytest.mark.parametrize(
    ("target", "pair", "runs"),
    [
        ("cpu-x86-vnni", ("int4", "int8"), "int8"),
        ("cpu-x86-vnni", ("int4", "int4"), "int8"),
        ("cpu-x86-vnni", ("fp16", "fp16"), "fp32"),
        ("jetson-nano", ("int8", "int8"), "fp16"),
        ("jetson-orin-nano", ("int4", "fp16"), "fp16"),
        ("jetson-orin-nano", ("bf16", "bf16"), "fp16"),
        ("jetson-thor", ("fp8", "fp8"), "fp8"),
        ("jetson-thor", ("bf16", "bf16"), "bf16"),
        ("jetson-thor", ("int4", "int8"), "int8"),
        ("jetson-thor", ("fp4", "fp4"), "fp8"),
        ("jetson-thor", ("int4", "int4"), "int8"),
        ("simulation", ("int6", "int6"), "int6"),
        ("simulation", ("int2", "int8"), "int8"),
    ],
)
def test_arithmetic_is_the_nearest_the_board_has(target, pair, runs):
    assert compute_format(pair, targets.get(target)) == runs


@every_target
def test_every_pair_computes_in_something_the_board_has(target):
    board = targets.get(target)
    for weight in FORMATS:
        for activation in FORMATS:
            assert compute_format((weight, activation), board) in board.peak_tops


def measured(times, pairs, target="cpu-x86-vnni"):
    menu = {layer.name: pairs for layer in LAYERS}
    return cost.get("measured").table(LAYERS, menu, targets.get(target), times=times)


def profile(ms):
    return {layer.name: ms * (index + 1) for index, layer in enumerate(LAYERS)}


def test_what_was_not_measured_borrows_from_the_same_arithmetic():
    times = {("fp32", "fp32"): profile(4.0), ("int8", "int8"): profile(1.0)}
    made = measured(times, [("fp32", "fp32"), ("int8", "int8"), ("int4", "int8"), ("fp16", "fp16")])
    assert made["wide"] == {("fp32", "fp32"): 12, ("int8", "int8"): 3, ("int4", "int8"): 3, ("fp16", "fp16"): 12}


def test_the_nearest_container_is_borrowed_from():
    times = {("fp16", "fp16"): profile(2.0), ("int8", "fp16"): profile(1.5), ("int4", "fp16"): profile(1.0)}
    made = measured(times, [("int3", "fp16"), ("int6", "fp16"), ("int4", "fp16")], "jetson-orin-nano")
    assert made["stem"] == {("int3", "fp16"): 1.0, ("int6", "fp16"): 1.5, ("int4", "fp16"): 1.0}


def test_all_that_is_missing_from_profiles_is_named_together():
    holed = profile(1.0)
    del holed["stem"]
    holed["head"] = float("nan")
    with pytest.raises(PlanError) as caught:
        measured({("int8", "int8"): holed}, [("int8", "int8"), ("fp32", "fp32")])
    for part in ("computes like fp32 weights with fp32", "'stem' has no time", "'head' took nan ms", "roofline"):
        assert part in str(caught.value)
    with pytest.raises(PlanError, match="nothing measured"):
        measured(None, [("int8", "int8")])
    with pytest.raises(PlanError, match="took -1.0 ms"):
        measured({("int8", "int8"): profile(-1.0)}, [("int8", "int8")])
