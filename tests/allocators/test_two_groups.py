"""Two groups of layers with programs of their own: how a limit is split, and what that wins where units differ."""

import functools

import numpy as np
import pytest

from edge_mpq.allocators import Limit, milp, two_groups
from edge_mpq.errors import PlanError
from tests.laws.test_allocators import BITS, PAIRS, holds, network, total


class Grouped(dict):
    """Scores that tell the group of each layer."""

    def __init__(self, rows, groups):
        super().__init__(rows)
        self.groups = groups


def halves(rows):
    return {name: "content" if index % 2 else "quality" for index, name in enumerate(rows)}


def incomparable(count=16, seed=0):
    """True harms, sizes, and scores in which one group's are told in a unit a million times as small."""
    harms, sizes, ms = network(count, seed)
    groups = halves(harms)
    told = {
        name: {pair: harm * (1e-6 if groups[name] == "content" else 1.0) for pair, harm in row.items()}
        for name, row in harms.items()
    }
    return harms, Grouped(told, groups), sizes, ms


def budget(sizes, bits):
    params = sum(row[PAIRS[1]] for row in sizes.values())  # bytes of 8-bit weights
    return Limit(sizes, params * bits / 8, "size")


@pytest.mark.parametrize("ratio", [0.46, 1.0, 2.0])
def test_a_split_is_the_paper_s_and_adds_up_to_the_limit(ratio):
    _, scores, sizes, _ = incomparable()
    limit = budget(sizes, 4.0)
    content, quality = ([name for name in scores if scores.groups[name] == group] for group in ("content", "quality"))
    parts = two_groups.split(limit, content, quality, ratio)
    assert sum(parts) == pytest.approx(limit.most)
    weights = [sum(sizes[name][PAIRS[1]] for name in names) for names in (content, quality)]
    bits = [8 * part / weight for part, weight in zip(parts, weights, strict=True)]
    assert bits[0] == pytest.approx(ratio * bits[1])
    relation = weights[0] / weights[1]
    assert bits[1] == pytest.approx(4.0 * (1 + relation) / (ratio * relation + 1))


def test_it_wins_where_the_metrics_of_groups_do_not_compare():
    won = []
    for seed in range(3):
        harms, scores, sizes, _ = incomparable(seed=seed)
        limit = budget(sizes, 4.0)
        loss = functools.partial(total, harms)
        mine, one = (method.allocate(scores, [limit], [], loss) for method in (two_groups, milp))
        assert holds(limit, mine) and total(harms, mine) <= total(harms, one)
        best = total(harms, milp.allocate(harms, [limit], []))
        assert total(harms, mine) <= 3 * best
        won.append(total(harms, one) / total(harms, mine))
    assert np.median(won) > 2


def test_with_one_unit_there_is_nothing_to_win_and_without_groups_it_is_the_exact_program():
    harms, _, sizes, ms = incomparable()
    limits = [budget(sizes, 4.0), Limit(ms, 0.6 * sum(max(row.values()) for row in ms.values()), "latency")]
    exact = milp.allocate(harms, limits, [])
    assert two_groups.allocate(harms, limits, [], functools.partial(total, harms)) == exact
    one = limits[:1]
    split = two_groups.allocate(Grouped(harms, halves(harms)), one, [], functools.partial(total, harms))
    assert total(harms, split) == pytest.approx(total(harms, milp.allocate(harms, one, [])))


def test_two_budgets_are_split_one_after_the_other_and_both_hold():
    harms, scores, sizes, ms = incomparable(seed=3)
    asked = []

    def loss(plan):
        asked.append(tuple(plan.values()))
        return total(harms, plan)

    limits = [budget(sizes, 5.0), Limit(ms, 0.5 * sum(max(row.values()) for row in ms.values()), "latency")]
    chosen = two_groups.allocate(scores, limits, [], loss)
    assert list(chosen) == list(scores) and all(holds(limit, chosen) for limit in limits)
    assert len(asked) == len(set(asked)) <= 2 * len(two_groups.RATIOS) * len(two_groups.SHARES) + 1


def test_what_is_tied_across_groups_is_decided_in_one_of_them():
    harms, scores, sizes, _ = incomparable()
    ties = [["l0", "l1"], ["l1", "l4"]]
    chosen = two_groups.allocate(scores, [budget(sizes, 4.0)], ties, lambda plan: total(harms, plan))
    assert len({chosen[name] for name in ("l0", "l1", "l4")}) == 1 and list(chosen) == list(scores)


def test_a_group_that_fits_nowhere_but_in_the_whole_leaves_the_whole():
    """Where no split can be met, the program of all layers still answers."""
    rows = {"a": {PAIRS[3]: 0.0}, "b": {PAIRS[0]: 0.0}}
    sizes = {name: {pair: BITS[pair] / 8 for pair in row} for name, row in rows.items()}
    tight = Limit({**sizes, "a": {PAIRS[3]: 10.0}}, 14.0, "size")
    scores = Grouped(rows, {"a": "content", "b": "quality"})
    assert two_groups.allocate(scores, [tight], []) == {"a": PAIRS[3], "b": PAIRS[0]}


def test_three_groups_are_refused():
    scores = Grouped({name: {PAIRS[0]: 0.0} for name in "abc"}, dict(zip("abc", "xyz", strict=True)))
    with pytest.raises(PlanError, match="3 groups of layers: x, y, z"):
        two_groups.allocate(scores, [], [])
