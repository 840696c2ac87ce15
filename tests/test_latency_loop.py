"""Planning on measured times, against a bench that is a formula: the loop settles and keeps the limit."""

import pytest

from apps import engine_times, latency_loop
from apps.engine_times import FLOAT, INTEGER
from edge_mpq import budget as budgets
from edge_mpq import planning
from edge_mpq.allocators import Limit, change_cost, milp
from edge_mpq.cost.measured import Timing
from edge_mpq.errors import PlanError
from edge_mpq.neighbours import neighbours
from edge_mpq.records import plan as plans
from edge_mpq.records import target as targets
from edge_mpq.records.plan import Choice, PrecisionPlan
from tests import toys

LAYERS = toys.layers("shortcut")
NAMES = [layer.name for layer in LAYERS]
EDGES = neighbours(toys.graph("shortcut"))
TARGET = targets.get("cpu-x86-vnni")
SCORES = {name: {FLOAT: 0.0, INTEGER: 1.0 + index} for index, name in enumerate(NAMES)}
TRUE = Timing(
    {FLOAT: dict.fromkeys(NAMES, 3.0), INTEGER: dict.fromkeys(NAMES, 1.0)},
    0.5,
    {edge: {("fp32", "int8"): 0.4, ("int8", "fp32"): 0.6} for edge in EDGES},
)


def pairs_of(plan: PrecisionPlan) -> dict:
    return {name: choice[:2] for name, choice in plan.choices.items()}


class Formula:
    """A bench whose engines take what TRUE says, and a constant that no table knows in mixed ones."""

    def __init__(self, surprise: float = 0.0):
        self.surprise, self.plans, self.graph, self.layers = surprise, {}, toys.graph("shortcut"), LAYERS
        self.target = TARGET
        for name, pair in (("fp32", FLOAT), ("int8", INTEGER)):
            self.plans[name] = plans.uniform(LAYERS, TARGET, *pair)
        self.opened_ms = {name: self.ms(name) for name in ("fp32", "int8")}

    def add(self, name, plan):
        self.plans[name] = plan

    def ms(self, name):
        return sum(self.layer_ms(name, 0.0).values())

    def layer_ms(self, name, total_ms):
        chosen = pairs_of(self.plans[name])
        mixed = len(set(chosen.values())) > 1
        taken = {layer: TRUE.times[pair][layer] for layer, pair in chosen.items()}
        for edge, prices in TRUE.changes.items():
            taken[edge[0]] += change_cost({edge: prices}, chosen) + (self.surprise if mixed else 0.0)
        return {**taken, "": TRUE.other_ms}


def planner(allowed: float):
    def made(timing: Timing) -> PrecisionPlan:
        table = {name: {pair: timing.times[pair][name] for pair in (FLOAT, INTEGER)} for name in NAMES}
        limit = Limit(table, allowed - timing.other_ms, "latency", timing.changes)
        chosen = milp.allocate(SCORES, [limit], [])
        plan = plans.uniform(LAYERS, TARGET, *FLOAT)._replace(
            choices={name: Choice(*pair) for name, pair in chosen.items()}
        )
        harm = sum(SCORES[name][pair] for name, pair in chosen.items())
        return plan._replace(predicted={"latency_ms": limit.cost(chosen) + timing.other_ms, "harm": harm})

    return made


def uniform() -> list[PrecisionPlan]:
    return [
        plans.uniform(LAYERS, TARGET, *pair)._replace(
            predicted={"latency_ms": 0.0, "harm": sum(row[pair] for row in SCORES.values())}
        )
        for pair in (FLOAT, INTEGER)
    ]


def test_neighbours_are_the_layers_with_no_other_between():
    assert ("stem.0", "down.0") in EDGES and ("stem.0", "last.0") in EDGES and ("deep.0", "last.0") in EDGES
    assert ("stem.0", "deep.0") not in EDGES and ("down.0", "last.0") not in EDGES


def test_the_costs_of_change_are_found_from_alternating_engines():
    bench = Formula()
    found = engine_times.with_changes(bench, engine_times.layer_times(bench))
    assert found.other_ms == pytest.approx(TRUE.other_ms)
    for first in (0, 1):
        chosen = pairs_of(bench.plans[f"alternating-{first}"])
        planned = sum(found.times[pair][name] for name, pair in chosen.items()) + found.other_ms
        assert planned + change_cost(found.changes, chosen) == pytest.approx(bench.ms(f"alternating-{first}"), rel=0.05)


@pytest.mark.parametrize("surprise", [0.0, 0.3, 0.8])
def test_the_loop_ends_with_a_plan_that_was_foretold_and_keeps_the_limit(surprise):
    bench = Formula(surprise)
    allowed = 0.75 * bench.opened_ms["fp32"]
    timing = engine_times.with_changes(bench, engine_times.layer_times(bench))
    rounds = latency_loop.settle(planner(allowed), uniform(), bench, timing, allowed)
    best = rounds[-1]
    assert best.measured_ms <= allowed and len(rounds) <= latency_loop.ROUNDS + 1
    assert best.off <= latency_loop.TOLERANCE or pairs_of(best.plan) == pairs_of(uniform()[1])
    assert best.plan.predicted["harm"] <= uniform()[1].predicted["harm"]


def test_without_correction_the_surprise_would_break_the_limit():
    bench = Formula(0.8)
    allowed = 0.75 * bench.opened_ms["fp32"]
    blind = planner(allowed)(engine_times.layer_times(bench))
    bench.add("blind", blind)
    assert bench.ms("blind") > allowed


def test_a_correction_foretells_what_was_measured():
    bench = Formula(0.3)
    timing = engine_times.layer_times(bench)
    plan = planner(8.0)(timing)
    bench.add("one", plan)
    better = engine_times.corrected(timing, plan, bench.layer_ms("one", 0.0))
    again = sum(better.times[pair][name] for name, pair in pairs_of(plan).items()) + better.other_ms
    assert again + change_cost(better.changes, pairs_of(plan)) == pytest.approx(bench.ms("one"))


def test_a_mix_that_is_no_faster_than_one_format_is_not_taken():
    bench = Formula(50.0)  # every mix is hopeless
    allowed = bench.opened_ms["int8"] * 1.2
    rounds = latency_loop.settle(planner(allowed), uniform(), bench, engine_times.layer_times(bench), allowed)
    assert pairs_of(rounds[-1].plan) == dict.fromkeys(NAMES, INTEGER)


def test_a_limit_that_nothing_keeps_is_refused():
    bench = Formula()
    with pytest.raises(PlanError, match="took 5.5 ms, 2 are allowed"):
        latency_loop.settle(planner(2.0), uniform(), bench, engine_times.layer_times(bench), 2.0)


def test_a_budget_says_what_latency_it_allows():
    assert latency_loop.allowed_ms(budgets.parse("latency<=0.5x"), 8.0) == 4.0
    assert latency_loop.allowed_ms(budgets.parse("latency<=3ms,size<=5bits"), 8.0) == 3.0
    assert latency_loop.allowed_ms(budgets.parse("size<=5bits"), 8.0) is None


def test_a_greedy_plan_that_changes_of_format_push_over_the_limit_is_refused():
    graph = toys.graph("shortcut")
    float_ms, integer_ms = TRUE.times[FLOAT], TRUE.times[INTEGER]
    dear = {("fp32", "int8"): 9.0, ("int8", "fp32"): 9.0}
    timing = Timing({FLOAT: float_ms, INTEGER: integer_ms}, 0.0, dict.fromkeys(EDGES, dear))
    options = {"budget": "latency<=9ms", "formats": ["fp32", "w8a8"], "timing": timing}
    with pytest.raises(PlanError, match="by its changes of format; use the milp"):
        planning.plan(graph, toys.pictures(1), toys.batches(), allocator="greedy", **options)
    assert planning.plan(graph, toys.pictures(1), toys.batches(), **options).predicted["latency_ms"] <= 9
