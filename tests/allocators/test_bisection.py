"""Bisection along an order: what interactions change, how few trials it takes, and when it is exact."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_mpq.allocators import Interacting, Limit, Searching, bisection, milp
from edge_mpq.sensitivity._pairs import interacting

WIDE, MILD, FEW = ("fp32", "fp32"), ("int8", "int8"), ("int4", "int8")
LAYERS = [f"l{index}" for index in range(12)]


def planted() -> Interacting:
    """Twelve layers; the two least sensitive alone, l3 and l8, are a catastrophe together."""
    harms = dict(zip(LAYERS, np.linspace(1, 2, 12), strict=True)) | {"l3": 0.01, "l8": 0.02}
    menu = {name: [WIDE, MILD] for name in LAYERS}
    return interacting(
        menu, {(name, MILD): harm for name, harm in harms.items()}, {("l3", "l8"): {(MILD, MILD): 100.0}}
    )


def harm_of(scores: Interacting, lowered) -> float:
    """What the layers of ``lowered`` do alone and in twos."""
    alone = math.fsum(scores.alone[name][MILD] for name in lowered)
    return alone + math.fsum(
        row[MILD, MILD] for (one, other), row in scores.joint.items() if one in lowered and other in lowered
    )


def prefix(scores, truth: Interacting, most: float) -> tuple[int, int]:
    """(layers lowered, trials) of a search whose accuracy is the planted harm."""

    def accuracy(chosen):
        return -harm_of(truth, {name for name, pair in chosen.items() if pair == MILD})

    found = bisection.search(scores, [], accuracy, -most)
    return sum(pair == MILD for pair in found.kept[-1].values()), len(found.trials)


def test_interactions_lengthen_the_prefix_and_the_conditional_order_is_the_best_there_is():
    truth = planted()
    most = math.fsum(sorted(row[MILD] for row in truth.alone.values())[2:9]) + 0.5
    best = max(
        count
        for count in range(13)
        if any(harm_of(truth, set(some)) <= most for some in itertools.combinations(LAYERS, count))
    )
    assert best == 8
    assert prefix(truth.alone, truth, most) == (1, 4)
    assert prefix(dict(truth), truth, most) == (7, 4)
    assert prefix(truth, truth, most) == (8, 4)


def test_without_interactions_all_orders_are_one():
    alone = interacting(
        {name: [WIDE, MILD] for name in LAYERS}, {(name, MILD): i + 1.0 for i, name in enumerate(LAYERS)}, {}
    )
    assert len({prefix(scores, alone, 30.5) for scores in (alone, dict(alone), alone.alone)}) == 1


@st.composite
def losses(draw):
    """Harms of up to 20 layers in two narrower formats, and a floor that some prefix meets."""
    count = draw(st.integers(1, 20))
    steps = draw(st.lists(st.tuples(st.floats(0.01, 1), st.floats(0.01, 9)), min_size=count, max_size=count))
    scores = {f"l{i}": {WIDE: 0.0, MILD: mild, FEW: mild + more} for i, (mild, more) in enumerate(steps)}
    return scores, draw(st.floats(0, 1.1)) * sum(row[FEW] for row in scores.values())


@settings(max_examples=60, deadline=None)
@given(losses())
def test_where_accuracy_falls_along_the_order_bisection_is_a_linear_scan_in_log_time(problem):
    scores, most = problem
    found = bisection.search(scores, [], lambda chosen: -total(scores, chosen), -most)
    line, harm, taking = [], 0.0, list(scores)
    for pair, before in ((MILD, WIDE), (FEW, MILD)):
        taken = []
        for name in sorted(taking, key=lambda name: scores[name][pair] - scores[name][before]):
            harm += scores[name][pair] - scores[name][before]
            if harm > most:
                harm -= scores[name][pair] - scores[name][before]
                break
            taken.append(name)
        line.append(set(taken))
        taking = [name for name in scores if name in taken]
    got = found.kept[-1]
    slack = 1e-9 * sum(row[FEW] for row in scores.values())
    if abs(total(scores, got) - most) > slack:  # else the sum of floats decides whether the last one fits
        assert {name for name, pair in got.items() if pair != WIDE} == line[0]
        assert {name for name, pair in got.items() if pair == FEW} == line[1]
    assert not bisection.rises(found.trials)
    stages = [[trial for trial in found.trials if trial[0] == stage] for stage in (0, 1)]
    assert len(stages[0]) <= math.ceil(math.log2(len(scores) + 1))
    assert len(stages[1]) <= math.ceil(math.log2(len(line[0]) + 1))


def total(scores, chosen):
    return math.fsum(scores[name][pair] for name, pair in chosen.items())


def test_prefixes_that_are_longer_and_more_accurate_are_told():
    scores = {name: {WIDE: 0.0, MILD: i + 1.0} for i, name in enumerate(LAYERS)}
    by_length = [1.0, 1.0, 1.0, 0.2, 1.0, 1.0, 0.9, 0.5, 0.5, 0.4, 0.4, 0.4, 0.4]  # the 3rd harms, the 4th mends it
    found = bisection.search(scores, [], lambda chosen: by_length[sum(p == MILD for p in chosen.values())], 0.95)
    tried = {count for _, count, _ in found.trials}
    assert tried == {6, 3, 1, 2}
    assert bisection.rises(found.trials) == [(0, 3, 6)]
    assert sum(pair == MILD for pair in found.kept[-1].values()) == 2  # 5 would do, and is missed


def test_plans_kept_grow_cheaper_one_by_one_and_tied_layers_go_together():
    scores = {name: {WIDE: 0.0, MILD: 1.0 + i, FEW: 10.0 + 3 * i} for i, name in enumerate(LAYERS)}
    found = bisection.search(scores, [["l0", "l11"], ["l4", "l5"]], lambda chosen: -total(scores, chosen), -90.0)
    depth = {WIDE: 0, MILD: 1, FEW: 2}
    assert set(found.kept[0].values()) == {WIDE}
    for before, after in itertools.pairwise(found.kept):
        assert all(depth[before[name]] <= depth[after[name]] for name in scores) and before != after
    assert all(plan["l0"] == plan["l11"] and plan["l4"] == plan["l5"] for plan in found.kept)
    assert {MILD, FEW} <= set(found.kept[-1].values())


def test_tied_layers_that_harm_each_other_count_as_one_that_does():
    scores = planted()
    free = list(bisection.search(scores, [], lambda _: 1.0, 0.0).kept[-1].values())
    assert set(free) == {MILD}
    together = bisection.search(scores, [["l3", "l8"]], lambda chosen: -sum(p == MILD for p in chosen.values()), -10)
    assert {name for name, pair in together.kept[-1].items() if pair == WIDE} == {"l3", "l8"}


def test_inside_a_limit_it_knows_what_adding_up_does_not():
    truth = planted()
    size = {name: {WIDE: 4.0, MILD: 1.0} for name in LAYERS}
    limit = Limit(size, 12 * 4.0 - 8 * 3.0, "size")
    lowered = {
        which: {name for name, pair in allocate(table, [limit], []).items() if pair == MILD}
        for which, allocate, table in (
            ("blind", milp.allocate, truth.alone),
            ("rows", milp.allocate, truth),
            ("order", bisection.allocate, truth),
        )
    }
    assert all(len(names) == 8 for names in lowered.values())
    harms = {which: harm_of(truth, names) for which, names in lowered.items()}
    assert harms["order"] < harms["rows"] < harms["blind"]


def test_only_bisection_has_a_search_of_its_own():
    assert isinstance(bisection, Searching) and not isinstance(milp, Searching)


@pytest.mark.parametrize("scores", [planted(), dict(planted())], ids=["conditional", "rows"])
def test_a_search_may_find_that_nothing_can_be_lowered(scores):
    found = bisection.search(scores, [], lambda _: 0.0, 1.0)
    assert found.kept == [dict.fromkeys(LAYERS, WIDE)] and [count for _, count, _ in found.trials] == [6, 3, 1]
