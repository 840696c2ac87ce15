"""Laws that every allocator keeps, present and future, and what is peculiar to each."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_mpq import allocators
from edge_mpq.allocators import Limit, greedy, milp
from edge_mpq.errors import PlanError, UsageError

PAIRS = [("fp32", "fp32"), ("int8", "int8"), ("int4", "int8"), ("int2", "int8")]
BITS = {pair: width for pair, width in zip(PAIRS, (32, 8, 4, 2), strict=True)}

every_method = pytest.mark.parametrize("method", allocators.names())


def total(table, chosen):
    return math.fsum(table[name][pair] for name, pair in chosen.items())


def holds(limit, chosen):
    return total(limit.costs, chosen) <= limit.most * (1 + 1e-9)


def network(count, seed=0):
    """Scores that rise as bits fall, sizes, and milliseconds that follow other layers than sizes."""
    generator = np.random.default_rng(seed)
    weights, times = (np.exp(generator.normal(0, 1.5, count)) for _ in range(2))
    harms = np.exp(generator.normal(0, 2, count))
    scores, sizes, ms = {}, {}, {}
    for layer in range(count):
        steps = np.cumsum(np.append(0, generator.exponential(1, 3) * [0.02, 1, 6]))
        scores[f"l{layer}"] = {pair: float(harms[layer] * step) for pair, step in zip(PAIRS, steps, strict=True)}
        sizes[f"l{layer}"] = {pair: float(weights[layer] * BITS[pair] / 8) for pair in PAIRS}
        ms[f"l{layer}"] = {pair: float(times[layer] * (4 if pair == PAIRS[0] else 1)) for pair in PAIRS}
    return scores, sizes, ms


def at(share, table, what="size"):
    """The limit that lies ``share`` of the way from the least to the most possible."""
    least = sum(min(row.values()) for row in table.values())
    most = sum(max(row.values()) for row in table.values())
    return Limit(table, least + share * (most - least), what)


def test_the_door_lists_the_methods_and_hides_what_they_share():
    assert {"milp", "greedy"} <= set(allocators.names())
    assert "_problem" not in allocators.names()
    with pytest.raises(UsageError, match="choose one of .*milp"):
        allocators.get("annealing")


@every_method
@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.7, 1.0])
def test_every_limit_holds_and_every_layer_is_answered_in_order(method, share):
    for seed in range(5):
        scores, sizes, ms = network(20, seed)
        limits = [at(share, sizes), at(0.5 + share / 2, ms, "latency")]
        chosen = allocators.get(method).allocate(scores, limits, [])
        assert list(chosen) == list(scores)
        assert all(holds(limit, chosen) for limit in limits)


@every_method
def test_a_loose_budget_leaves_every_layer_at_its_best(method):
    scores, sizes, ms = network(12)
    for limits in ([], [at(1.0, sizes)], [at(1.5, sizes), at(1.5, ms)]):
        assert set(allocators.get(method).allocate(scores, limits, []).values()) == {PAIRS[0]}


@every_method
def test_the_tightest_budget_leaves_one_plan(method):
    scores, sizes, _ = network(12)
    assert set(allocators.get(method).allocate(scores, [at(0.0, sizes)], []).values()) == {PAIRS[-1]}


@every_method
def test_tied_layers_choose_alike(method):
    ties = [["l0", "l5", "l9"], ["l3", "l4"], ["l4", "l7"], ["l11"], []]
    for seed in range(5):
        scores, sizes, ms = network(12, seed)
        limits = [at(0.25, sizes), at(0.6, ms)]
        chosen = allocators.get(method).allocate(scores, limits, ties)
        assert list(chosen) == list(scores)
        assert len({chosen[name] for name in ("l0", "l5", "l9")}) == 1
        assert len({chosen[name] for name in ("l3", "l4", "l7")}) == 1
        assert all(holds(limit, chosen) for limit in limits)


@every_method
def test_tied_layers_take_a_pair_that_all_of_them_have(method):
    scores, sizes, _ = network(3)
    del scores["l0"][PAIRS[0]], scores["l1"][PAIRS[1]]
    chosen = allocators.get(method).allocate(scores, [at(1.0, sizes)], [["l0", "l1"]])
    assert chosen["l0"] == chosen["l1"] == PAIRS[2]
    with pytest.raises(PlanError, match="no pair of formats suits l0, l1"):
        only = {"l0": {PAIRS[0]: 0.0}, "l1": {PAIRS[1]: 0.0}}
        allocators.get(method).allocate(only, [], [["l0", "l1"]])


@every_method
def test_the_same_input_gives_the_same_answer(method):
    scores, sizes, ms = network(30, 3)
    flat = {name: dict.fromkeys(row, 1.0) for name, row in scores.items()}
    for table in (scores, flat):
        answers = [allocators.get(method).allocate(table, [at(0.3, sizes), at(0.6, ms)], []) for _ in range(3)]
        assert answers[0] == answers[1] == answers[2]


@every_method
def test_measured_plans_beat_uniform_and_random_ones_of_the_same_size(method):
    scores, sizes, _ = network(30, 1)
    uniform = dict.fromkeys(scores, PAIRS[2])
    limit = Limit(sizes, total(sizes, uniform), "size")
    chosen = allocators.get(method).allocate(scores, [limit], [])
    assert total(scores, chosen) < 0.5 * total(scores, uniform)
    # Where all layers are alike there is nothing to distribute, and uniform is as good as any.
    alike = {name: {pair: 1.0 / BITS[pair] for pair in PAIRS} for name in scores}
    same = {name: {pair: float(BITS[pair]) for pair in PAIRS} for name in scores}
    chosen = allocators.get(method).allocate(alike, [Limit(same, 4.0 * len(same), "size")], [])
    assert total(alike, chosen) == pytest.approx(total(alike, uniform))


@every_method
def test_an_impossible_limit_is_named_with_what_was_asked_and_the_least(method):
    scores, sizes, ms = network(4)
    least = sum(row[PAIRS[-1]] for row in sizes.values())
    with pytest.raises(PlanError) as caught:
        allocators.get(method).allocate(scores, [Limit(sizes, least / 2, "size<=1bits"), at(1, ms)], [])
    assert f"size<=1bits cannot be met: it allows {least / 2:.4g}, the least possible is {least:.4g}" in str(
        caught.value
    )


@every_method
def test_limits_that_exclude_each_other_are_named(method):
    scores = {"a": {PAIRS[0]: 0.0, PAIRS[1]: 1.0}}
    one = Limit({"a": {PAIRS[0]: 1.0, PAIRS[1]: 2.0}}, 1.0, "latency<=1ms")
    other = Limit({"a": {PAIRS[0]: 2.0, PAIRS[1]: 1.0}}, 1.0, "size<=1MiB")
    with pytest.raises(PlanError, match=r"latency<=1ms.*size<=1MiB"):
        allocators.get(method).allocate(scores, [one, other], [])


@every_method
def test_faults_are_named(method):
    allocate = allocators.get(method).allocate
    scores, sizes, _ = network(2)
    with pytest.raises(PlanError, match="no layer to plan"):
        allocate({}, [], [])
    with pytest.raises(PlanError, match="tied layer 'l9' has no scores"):
        allocate(scores, [], [["l0", "l9"]])
    with pytest.raises(PlanError, match="size knows no cost of layer 'l1' in int8/int8"):
        del sizes["l1"][PAIRS[1]]
        allocate(scores, [Limit(sizes, 1e9, "size")], [])
    with pytest.raises(PlanError, match="the harm of layer 'l0' in int8/int8 is nan"):
        scores["l0"][PAIRS[1]] = math.nan
        allocate(scores, [], [])


@every_method
def test_a_pair_of_infinite_harm_is_never_chosen(method):
    scores, sizes, _ = network(6)
    scores["l2"][PAIRS[3]] = scores["l2"][PAIRS[2]] = math.inf
    chosen = allocators.get(method).allocate(scores, [at(0.2, sizes)], [])
    assert chosen["l2"] in PAIRS[:2] and holds(at(0.2, sizes), chosen)


harms = st.floats(0, 1e3, allow_subnormal=False) | st.sampled_from([0.0, 1.0, 1e-6])
costs = st.floats(0.01, 100) | st.integers(1, 4).map(float)


@st.composite
def problems(draw, most_limits=2):
    """Up to 8 layers with 2 to 3 choices, their costs, limits that can each be met, ties."""
    names = [f"l{index}" for index in range(draw(st.integers(1, 8)))]
    menus = {name: PAIRS[: draw(st.integers(2, 3))] for name in names}
    scores = {name: {pair: draw(harms) for pair in menu} for name, menu in menus.items()}
    limits = []
    for what in ("size", "latency")[: draw(st.integers(0, most_limits))]:
        table = {name: {pair: draw(costs) for pair in menu} for name, menu in menus.items()}
        limits.append(at(draw(st.floats(0, 1.1)), table, what))
    ties = [draw(st.lists(st.sampled_from(names), min_size=2, max_size=3))] if draw(st.booleans()) else []
    return scores, limits, ties


def brute_force(scores, limits, ties):
    """Least harm of all plans within limits and ties; infinite if there is none."""
    plans = (dict(zip(scores, row, strict=True)) for row in itertools.product(*scores.values()))
    return min(
        (total(scores, plan) for plan in plans
         if all(holds(limit, plan) for limit in limits) and all(len({plan[n] for n in tie}) == 1 for tie in ties)),
        default=math.inf,
    )  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(problem=problems())
def test_milp_is_exactly_as_good_as_trying_everything(problem):
    scores, limits, ties = problem
    best = brute_force(*problem)
    if best == math.inf:
        with pytest.raises(PlanError, match="cannot be met"):
            milp.allocate(*problem)
        return
    chosen = milp.allocate(*problem)
    assert all(holds(limit, chosen) for limit in limits)
    assert all(len({chosen[name] for name in tie}) == 1 for tie in ties)
    span = max(max(row.values()) for row in scores.values())
    assert total(scores, chosen) == pytest.approx(best, rel=1e-9, abs=1e-9 * span)


@settings(max_examples=80, deadline=None)
@given(problem=problems())
def test_greedy_keeps_the_rules_and_is_never_better_than_milp(problem):
    scores, limits, ties = problem
    try:
        chosen = greedy.allocate(*problem)
    except PlanError:
        # With one limit and no ties greedy fails only where nothing fits.
        assert len(limits) > 1 or brute_force(*problem) == math.inf
        return
    assert all(holds(limit, chosen) for limit in limits)
    assert all(len({chosen[name] for name in tie}) == 1 for tie in ties)
    span = max(max(row.values()) for row in scores.values())
    assert total(scores, chosen) >= total(scores, milp.allocate(*problem)) - 1e-9 * span


def test_a_larger_budget_never_does_more_harm():
    scores, sizes, ms = network(25, 5)
    for other in (0.4, 1.0):
        shares = np.linspace(0, 1, 15)
        least = [
            total(scores, milp.allocate(scores, [at(share, sizes), at(other, ms)], []))
            for share in shares
            if other == 1.0 or share > 0.05
        ]
        assert all(after <= before * (1 + 1e-9) for before, after in itertools.pairwise(least))


def test_an_answer_just_beyond_a_limit_is_not_taken():
    # HiGHS accepts a constraint that slips by 1e-6; the answer must not.
    scores = {"a": {PAIRS[0]: 0.0, PAIRS[1]: 1.0}, "b": {PAIRS[0]: 0.0, PAIRS[1]: 5.0}}
    table = {name: {PAIRS[0]: 1.0, PAIRS[1]: 0.5} for name in scores}
    limit = Limit(table, 2 - 1e-7, "size")
    assert milp.allocate(scores, [limit], []) == {"a": PAIRS[1], "b": PAIRS[0]}
    assert milp.allocate(scores, [limit._replace(most=2.0)], []) == dict.fromkeys("ab", PAIRS[0])


def test_the_least_beside_the_other_limits_is_told():
    scores = {"a": dict.fromkeys(PAIRS[:3], 0.0)}
    size = Limit({"a": {PAIRS[0]: 4.0, PAIRS[1]: 3.0, PAIRS[2]: 1.0}}, 2.0, "size<=2MiB")
    latency = Limit({"a": {PAIRS[0]: 1.0, PAIRS[1]: 1.0, PAIRS[2]: 9.0}}, 1.0, "latency<=1ms")
    with pytest.raises(
        PlanError, match="size<=2MiB cannot be met with latency<=1ms: it allows 2, the least possible is 3"
    ):
        milp.allocate(scores, [size, latency], [])


def test_greedy_spends_the_slack_that_its_last_step_left():
    # The first step (b, the cheaper harm per MiB) does not suffice; the second (a) saves so
    # much that b fits at full precision again.
    scores = {"a": {PAIRS[0]: 0.0, PAIRS[1]: 9.0}, "b": {PAIRS[0]: 0.0, PAIRS[1]: 0.5}}
    size = {"a": {PAIRS[0]: 10.0, PAIRS[1]: 1.0}, "b": {PAIRS[0]: 2.0, PAIRS[1]: 1.0}}
    assert greedy.allocate(scores, [Limit(size, 5.0, "size")], []) == {"a": PAIRS[1], "b": PAIRS[0]}


def test_greedy_stays_near_the_best_on_networks():
    for seed in range(6):
        scores, sizes, _ = network(40, seed)
        best = total(scores, milp.allocate(scores, [at(0.2, sizes)], []))
        assert total(scores, greedy.allocate(scores, [at(0.2, sizes)], [])) <= 1.1 * best


# What changes of format between neighbours cost, which milp counts.

FLOATS, INTEGERS = PAIRS[0], PAIRS[1]
CONVERSION = {("fp32", "int8"): 1.0, ("int8", "fp32"): 2.0}


def chain(harms, times):
    """Scores, ms and neighbours of layers in a row: integers take 1 ms, floats what ``times`` says."""
    names = [f"l{index}" for index in range(len(harms))]
    scores = {name: {FLOATS: 0.0, INTEGERS: harm} for name, harm in zip(names, harms, strict=True)}
    ms = {name: {FLOATS: float(time), INTEGERS: 1.0} for name, time in zip(names, times, strict=True)}
    return scores, ms, dict.fromkeys(itertools.pairwise(names), CONVERSION)


def test_a_fragile_layer_between_integers_pays_both_conversions():
    scores, ms, changes = chain([1, 9, 1], [3, 3, 3])
    whole = Limit(ms, 5.5, "latency<=5.5ms")  # one float layer, were conversions free
    assert milp.allocate(scores, [whole], [])["l1"] == FLOATS
    chosen = milp.allocate(scores, [whole._replace(changes=changes)], [])
    assert set(chosen.values()) == {INTEGERS}
    # With room for a conversion in one direction, the float layer stands at an end, where one is enough.
    chosen = milp.allocate(scores, [Limit(ms, 6.0, "latency<=6ms", changes)], [])
    assert chosen == {"l0": FLOATS, "l1": INTEGERS, "l2": INTEGERS}


@settings(max_examples=60, deadline=None)
@given(
    harms=st.lists(st.integers(0, 9), min_size=2, max_size=6),
    data=st.data(),
    most=st.floats(2, 25, allow_nan=False),
)
def test_milp_with_changes_is_exactly_as_good_as_trying_everything(harms, data, most):
    times = data.draw(st.lists(st.integers(1, 5), min_size=len(harms), max_size=len(harms)))
    scores, ms, changes = chain(harms, times)
    limit = Limit(ms, most, "latency", changes)
    plans = [dict(zip(scores, row, strict=True)) for row in itertools.product((FLOATS, INTEGERS), repeat=len(scores))]
    allowed = [total(scores, plan) for plan in plans if limit.holds(plan)]
    if not allowed:
        with pytest.raises(PlanError, match=f"least possible is {min(map(limit.cost, plans)):.4g}"):
            milp.allocate(scores, [limit], [])
        return
    chosen = milp.allocate(scores, [limit], [])
    assert limit.holds(chosen) and total(scores, chosen) == pytest.approx(min(allowed))
