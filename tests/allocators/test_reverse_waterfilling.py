"""Reverse water-filling: its closed form where the menu holds it, and whole plans where it does not."""

import numpy as np
import pytest

from edge_mpq.allocators import Limit, milp
from edge_mpq.allocators import reverse_waterfilling as filling
from edge_mpq.allocators._problem import problem
from tests.laws import test_allocators as laws

PAIRS = [(f"int{bits}", "int8") for bits in range(8, 1, -1)]
BITS = {pair: int(pair[0].removeprefix("int")) for pair in PAIRS}


def network(importances: list[float], weights: list[int]):
    """Layers whose harm falls by four a bit, and their sizes in bits."""
    scores, sizes = {}, {}
    for index, (importance, count) in enumerate(zip(importances, weights, strict=True)):
        scores[f"l{index}"] = {pair: importance * 4.0 ** -BITS[pair] for pair in PAIRS}
        sizes[f"l{index}"] = {pair: float(count * BITS[pair]) for pair in PAIRS}
    return scores, sizes


def test_the_closed_form_is_the_published_one():
    weights, importances = [100, 300, 50, 800], [3.0, 0.5, 9.0, 40.0]
    scores, sizes = network(importances, weights)
    limit = Limit(sizes, 5.0 * sum(weights), "size")
    made = problem(scores, [limit], [])
    bits = filling._bits(made)
    per_weight = np.log2(np.array(importances) / weights)
    expected = 5.0 + 0.5 * (per_weight - np.average(per_weight, weights=weights))
    assert filling._level(made, bits, np.isfinite(made.harm), 0) == pytest.approx(expected, abs=1e-6)
    assert 2 < expected.min() and expected.max() < 8  # or the menu would have held it


def test_where_the_law_is_exact_whole_bits_are_the_best_of_all():
    # Importances a power of sixteen apart: the closed form has whole bits.
    scores, sizes = network([16.0**power for power in (0, 1, 2, 3)], [10] * 4)
    limit = Limit(sizes, 10 * (2 + 4 + 6 + 8), "size")
    chosen = filling.allocate(scores, [limit], [])
    assert [BITS[pair] for pair in chosen.values()] == [2, 4, 6, 8]
    assert chosen == milp.allocate(scores, [limit], [])


def test_importance_decides_and_not_size_alone():
    scores, sizes = network([1.0, 64.0, 1.0, 64.0], [10] * 4)
    limit = Limit(sizes, 10 * 4 * 5.0, "size")
    chosen = [BITS[pair] for pair in filling.allocate(scores, [limit], []).values()]
    assert min(chosen[1], chosen[3]) > max(chosen[0], chosen[2])
    reversed_scores, _ = network([64.0, 1.0, 64.0, 1.0], [10] * 4)
    wrong = filling.allocate(reversed_scores, [limit], [])
    assert laws.total(scores, wrong) > 4 * laws.total(scores, filling.allocate(scores, [limit], []))


def test_it_stays_near_the_best_where_harms_keep_the_law():
    for seed in range(6):
        draw = np.random.default_rng(seed)
        scores, sizes = network(list(np.exp(draw.normal(0, 2, 40))), list(draw.integers(100, 5000, 40)))
        limit = Limit(sizes, 4.7 * sum(row[PAIRS[-1]] / 2 for row in sizes.values()), "size")
        best = laws.total(scores, milp.allocate(scores, [limit], []))
        assert laws.total(scores, filling.allocate(scores, [limit], [])) <= 1.1 * best


def test_a_layer_that_nothing_harms_gives_its_bits_to_the_others():
    scores, sizes = network([1.0, 1.0], [10, 10])
    scores["l0"] = dict.fromkeys(PAIRS, 0.0)
    chosen = filling.allocate(scores, [Limit(sizes, 10 * 10.0, "size")], [])
    assert [BITS[pair] for pair in chosen.values()] == [2, 8]
