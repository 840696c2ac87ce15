"""The planner: budgets hold, more room never harms more, faults are told."""

import pytest
from torch import nn

from edge_mpq import allocators, budget, menu, planning, sensitivity
from edge_mpq.cost import get as cost
from edge_mpq.cost.measured import Timing
from edge_mpq.errors import CalibrationError, EdgeMpqError, ModelError, PlanError, TargetError, UsageError
from edge_mpq.records import plan as plans
from edge_mpq.records import target as targets
from edge_mpq.records.plan import PrecisionPlan
from tests import toys

WIDTHS = ["fp32", "w8a8", "w6a8", "w4a8", "w2a8"]
FLOAT = ("fp32", "fp32")


def planned(kind: str = "residual", budget: str = "size<=6bits", formats=WIDTHS, **options) -> PrecisionPlan:
    """A plan for a toy."""
    options.setdefault("ranges", toys.ranges(kind) if options.get("target", "cpu-x86-vnni") != BOARD else None)
    return planning.plan(toys.graph(kind), toys.pictures(1), toys.batches(), budget=budget, formats=formats, **options)


BOARD = "jetson-orin-nano"
# On toys, starting kernels is most of the time, which no format changes.
INSTANT = targets.get("cpu-x86-vnni")._replace(launch_us=0.0)


def spent(plan: PrecisionPlan, method: str, kind: str = "residual", **facts) -> tuple[float, float]:
    """(cost of a plan, cost of float32), by a cost model itself."""
    layers = toys.layers(kind)
    pairs = {name: [FLOAT, (choice.weight, choice.activation)] for name, choice in plan.choices.items()}
    table = cost(method).table(layers, pairs, INSTANT, **facts)
    chosen = sum(table[name][choice.weight, choice.activation] for name, choice in plan.choices.items())
    return chosen, sum(row[FLOAT] for row in table.values())


@pytest.mark.parametrize("limit", ["size<=5bits", "size<=12bits", "size<=0.2x", "size<=0.5x", "size<=0.01MiB"])
@pytest.mark.parametrize("allocator", allocators.names())
def test_the_size_asked_for_is_kept(limit, allocator):
    plan = planned(budget=limit, allocator=allocator)
    bits = plans.weight_bits(plan, toys.layers("residual"))
    weights = sum(layer.weights for layer in toys.layers("residual"))
    (term,) = budget.parse(limit).terms
    most = {"bits": term.most, "x": 32 * term.most, "MiB": term.most * 2**23 / weights}[term.unit]
    assert bits <= most * (1 + 1e-9)
    assert bits > most - 6  # and is used
    assert plan.predicted["weight_bits"] == pytest.approx(bits)
    assert plan.predicted["size_mib"] == pytest.approx(spent(plan, "size")[0])


@pytest.mark.parametrize(("kind", "board"), [("unet", "cpu-x86-vnni"), ("residual", "jetson-nano")])
def test_without_a_budget_there_is_a_plan_wherever_and_it_says_its_size(kind, board):
    made = planning.plan(
        toys.model(kind), toys.pictures(1), toys.batches(), target=board, budget=None, sensitivity="sqnr"
    )
    (term,) = budget.parse(made.budget).terms
    assert term.quantity == "size" and term.most > 0.25
    assert made.predicted["weight_bits"] <= 32 * term.most
    with pytest.raises(PlanError, match="size<=0.25x"):  # what no plan of this model on this board can keep
        planning.plan(toys.model(kind), toys.pictures(1), toys.batches(), board, "size<=0.25x", "sqnr",
                      formats=["fp32", "fp16", "w8a8"])  # fmt: skip


def test_the_latency_asked_for_is_kept():
    for share in (0.9, 0.7, 0.5):
        plan = planned(budget=f"latency<={share}x", target=INSTANT)
        chosen, whole = spent(plan, "roofline")
        assert chosen <= share * whole * (1 + 1e-9)
        assert plan.predicted["latency_ms"] == pytest.approx(chosen)


def test_measured_times_count_instead_of_predicted_ones_and_so_does_time_outside_the_layers():
    layers = toys.layers("residual")
    times: dict[tuple[str, str], dict[str, float]] = {FLOAT: {}, ("int8", "int8"): {}}
    for index, layer in enumerate(layers):
        times[FLOAT][layer.name], times["int8", "int8"][layer.name] = 1.0, 0.2 if index % 2 else 0.9
    plan = planned(budget="latency<=0.75x", formats=["fp32", "w8a8"], timing=Timing(times))
    chosen, whole = spent(plan, "measured", times=times)
    assert whole == pytest.approx(len(layers)) and chosen <= 0.75 * whole
    plan = planned(budget="latency<=10ms", formats=["fp32", "w8a8"], timing=Timing(times, 2.5))
    assert spent(plan, "measured", times=times)[0] <= 7.5 * (1 + 1e-9)
    with pytest.raises(PlanError, match="pass outside the layers"):
        planned(budget="latency<=2ms", formats=["fp32", "w8a8"], timing=Timing(times, 2.5))


def test_every_term_of_a_budget_is_kept():
    plan = planned(budget="size<=9bits,latency<=0.8x,bitops<=0.1x", target=INSTANT)
    assert plan.budget == "size<=9bits,latency<=0.8x,bitops<=0.1x"
    for method, share in (("size", 9 / 32), ("roofline", 0.8), ("bitops", 0.1)):
        chosen, whole = spent(plan, method)
        assert chosen <= share * whole * (1 + 1e-9)


@pytest.mark.parametrize("score", sensitivity.names())
def test_more_room_never_harms_more(score):
    harms = [planned(budget=f"size<={bits}bits", sensitivity=score).predicted["harm"] for bits in (2, 4, 6, 8, 16, 32)]
    assert harms == sorted(harms, reverse=True)
    assert harms[-1] == 0 < harms[0]


def test_a_plan_fits_its_model_and_target_names_its_makers_and_is_made_again_alike():
    for target, formats in (("cpu-x86-vnni", WIDTHS), (BOARD, None), ("jetson-nano", None), ("simulation", None)):
        plan = planned(target=target, budget="size<=0.6x", formats=formats, ranges=None, sensitivity="sqnr")
        plan.check(toys.layers("residual"), targets.get(target))
        assert (plan.target, plan.sensitivity, plan.allocator) == (target, "sqnr", "milp")
        assert all(choice.why.startswith("harm ") for choice in plan.choices.values())
    assert planned() == planned()


def test_tied_layers_are_planned_alike():
    for bits in (3, 5, 7):
        plan = planned(budget=f"size<={bits}bits")
        for one, other in (("stem.0", "two.0"), ("deep.0", "short.0"), ("left.0", "right.0")):
            assert plan.choices[one][:2] == plan.choices[other][:2]


@pytest.mark.parametrize("formats", [None, ["w8a8"], ["w8a8", "w4a8"]])
def test_a_layer_without_an_integer_kernel_stays_float_and_takes_its_ties_along(formats):
    plan = planned("unet", budget="size<=0.9x", formats=formats)
    assert plan.choices["grow"][:2] == plan.choices["encode.0"][:2] == FLOAT
    assert any(choice[:2] != FLOAT for choice in plan.choices.values())


def test_ranges_of_an_earlier_calibration_are_not_measured_again():
    told = []

    def progress(items, what, total=None):
        told.append(what)
        return iter(items)

    planned(progress=progress)
    assert told == ["sensitivity (fisher)"]
    planned(progress=progress, ranges=None, observer="percentile")
    assert told[1:] == ["calibrating (percentile)", "sensitivity (fisher)"]


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({"budget": "size<=1bits"}, PlanError, "cannot be met.*the least possible is"),
        ({"budget": "latency<=0.01x"}, PlanError, "latency<=0.01x .*cannot be met"),
        ({"budget": "size<=5bits,latency<=0.01x"}, PlanError, "cannot be met"),
        ({"budget": "weight<=5bits"}, PlanError, "no quantity 'weight'"),
        ({"budget": "size<=5bits", "target": "jetson-nonexistent"}, TargetError, "choose one of jetson-nano"),
        ({"target": "jetson-nano", "formats": ["w8a8"]}, PlanError, "jetson-nano runs none of w8a8; it runs .*fp16"),
        ({"formats": ["w9a9"]}, PlanError, "no format 'w9a9'"),
        ({"formats": ["int99"]}, PlanError, "no format 'int99'"),
        ({"sensitivity": "guess"}, UsageError, "choose one of .*fisher"),
        ({"allocator": "guess"}, UsageError, "choose one of .*milp"),
        ({"budget": "drop<=1%"}, PlanError, "there is no validation data"),
    ],
)
def test_faults_are_told_with_a_mend(options, kind, said):
    with pytest.raises(kind, match=said) as caught:
        planned(**options)
    assert isinstance(caught.value, EdgeMpqError) and caught.value.mend


def test_without_pictures_or_layers_there_is_no_plan():
    with pytest.raises(CalibrationError, match="no calibration picture"):
        planning.plan(toys.graph("residual"), toys.pictures(1), [], ranges=toys.ranges("residual"))
    with pytest.raises(ModelError, match="no convolution or linear"):
        planning.plan(nn.Sequential(nn.ReLU()), toys.pictures(1), toys.batches())


# Short names of formats.


@pytest.mark.parametrize(
    ("name", "pair"),
    [("fp16", ("fp16", "fp16")), ("w4a8", ("int4", "int8")), ("w8a32", ("int8", "fp32")), ("int8", ("int8", "int8"))],
)
def test_short_names(name, pair):
    assert menu.parse(name) == pair


@pytest.mark.parametrize("name", ["", "w", "w4", "a8", "w4a", "wxa8", "w4a16", "w33a8", "W4A8", "w-4a8", "w4a8 "])
def test_what_is_no_short_name(name):
    with pytest.raises(PlanError, match="there is no format"):
        menu.parse(name)


def test_a_menu_holds_what_the_target_runs_widest_first():
    layers = toys.layers("residual")
    whole = menu.menu_of(layers, targets.get("simulation"), ["w2a8", "fp16", "fp32", "w8a8"])
    assert set(map(tuple, whole.values())) == {(FLOAT, ("fp16", "fp16"), ("int8", "int8"), ("int2", "int8"))}
    assert set(map(tuple, menu.menu_of(layers, targets.get("jetson-nano")).values())) == {(FLOAT, ("fp16", "fp16"))}
