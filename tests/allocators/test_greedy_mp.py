"""Greedy mixed precision measures whole plans, few of them, and never loses to one format for all."""

import itertools

import numpy as np
import pytest

from edge_mpq.allocators import Limit, greedy_mp, milp
from edge_mpq.records import formats

PAIRS = [("int8", "int8"), ("int4", "int8"), ("int8", "int4"), ("int4", "int4")]


def bits(form):
    return formats.get(form).bits


def costs(names, sizes=None):
    """Bit operations of layers of ``sizes``, or of one each."""
    sizes = dict.fromkeys(names, 1.0) if sizes is None else sizes
    return {name: {pair: sizes[name] * bits(pair[0]) * bits(pair[1]) for pair in PAIRS} for name in names}


def total(table, chosen):
    return sum(table[name][pair] for name, pair in chosen.items())


class Model:
    """A loss over whole plans: errors of weights and activations that also meet each other; counts what it is asked."""

    def __init__(self, count, seed=0, meeting=0.1):
        draw = np.random.default_rng(seed)
        self.names = [f"l{index}" for index in range(count)]
        self.harm = np.exp(draw.normal(0, 1.5, 2 * count))
        coupling = np.abs(draw.normal(0, meeting, (2 * count, 2 * count)))
        self.meeting = (coupling + coupling.T) * np.sqrt(np.outer(self.harm, self.harm))
        self.calls = 0

    def __call__(self, chosen):
        self.calls += 1
        narrow = np.array([form == "int4" for name in self.names for form in chosen[name]], float)
        return float(narrow @ self.harm + narrow @ self.meeting @ narrow)

    def scores(self):
        """What one layer at a time would tell."""
        rows = {name: self.harm[2 * index : 2 * index + 2] for index, name in enumerate(self.names)}
        return {
            name: {pair: float(sum(h for h, form in zip(row, pair, strict=True) if form == "int4")) for pair in PAIRS}
            for name, row in rows.items()
        }


def budget(names, share, sizes=None):
    table = costs(names, sizes)
    most = sum(row[PAIRS[0]] for row in table.values())
    return Limit(table, share * most, "bitops")


@pytest.mark.parametrize("seed", range(5))
def test_it_is_never_worse_than_one_pair_for_all_at_the_same_cost(seed):
    model = Model(12, seed, meeting=0.5)
    for uniform in PAIRS[1:]:
        limit = budget(model.names, bits(uniform[0]) * bits(uniform[1]) / 64)
        chosen = greedy_mp.allocate(model.scores(), [limit], [], model)
        assert total(limit.costs, chosen) <= limit.most
        assert model(chosen) <= model(dict.fromkeys(model.names, uniform)) + 1e-9


def test_where_descent_is_led_astray_one_pair_for_all_is_the_answer():
    # Every mixture hurts, and hurts more the more layers are moved; only the end of the way is free.
    names = [f"l{index}" for index in range(6)]

    def loss(chosen):
        narrow = sum(pair == ("int4", "int8") for pair in chosen.values())
        others = sum(pair not in (("int4", "int8"), PAIRS[0]) for pair in chosen.values())
        return 0.0 if narrow in (0, 6) and not others else 1.0 + narrow + 0.1 * others

    scores = {name: dict(zip(PAIRS, (0.0, 1.0, 1.0, 2.0), strict=True)) for name in names}
    chosen = greedy_mp.allocate(scores, [budget(names, 0.5)], [], loss)
    assert set(chosen.values()) == {("int4", "int8")}
    alone = greedy_mp._Descent(greedy_mp.problem(scores, [budget(names, 0.5)], []), loss)
    assert loss(alone.made.answer(alone.run())) > 0  # what descent by itself would have answered


@pytest.mark.parametrize("count", [10, 20, 40])
def test_it_tries_a_few_plans_a_layer_where_measuring_every_step_tries_hundreds(count):
    for seed in range(3):
        model = Model(count, seed)
        limit = budget(model.names, 0.4)
        chosen = greedy_mp.allocate(model.scores(), [limit], [], model)
        assert model.calls <= 4 * 2 * count  # four for each of a layer's two tensors
        steps = sum(form == "int4" for pair in chosen.values() for form in pair)
        every = 2 * count * steps - steps * (steps - 1) // 2
        assert model.calls < every / (count / 10)


def test_with_losses_that_add_up_it_is_the_best_plan_up_to_its_last_step():
    for seed in range(5):
        model = Model(15, seed, meeting=0.0)
        sizes = {name: {pair: float(bits(pair[0]) + bits(pair[1])) for pair in PAIRS} for name in model.names}
        limit = Limit(sizes, 12.0 * 15 + 1, "bits")  # 44 bits over: eleven steps of four, and an odd bit
        chosen = greedy_mp.allocate(model.scores(), [limit], [])
        best = milp.allocate(model.scores(), [limit], [])
        assert total(model.scores(), chosen) == pytest.approx(total(model.scores(), best))
        assert limit.most - 4 < total(sizes, chosen) <= limit.most


def test_weights_and_activations_move_apart():
    model = Model(8)
    model.harm[1::2] *= 1e3  # activations bear nothing
    limit = budget(model.names, 0.5)
    assert set(greedy_mp.allocate(model.scores(), [limit], [], model).values()) == {("int4", "int8")}
    model.harm[:] = np.where(np.arange(16) % 2, model.harm / 1e6, model.harm * 1e6)
    assert set(greedy_mp.allocate(model.scores(), [limit], [], model).values()) == {("int8", "int4")}
    # What saves nothing is never taken: activations take no room in a file.
    sizes = {name: {pair: float(bits(pair[0])) for pair in PAIRS} for name in model.names}
    chosen = greedy_mp.allocate(model.scores(), [Limit(sizes, 6.0 * 8, "size")], [], model)
    assert {pair[1] for pair in chosen.values()} == {"int8"} and total(sizes, chosen) == 48


def test_what_is_measured_counts_and_not_what_was_predicted():
    model = Model(10, meeting=0.0)
    misled = {name: {pair: -0.0 + 1 / (1e-3 + harm) if harm else 0.0 for pair, harm in row.items()}
              for name, row in model.scores().items()}  # fmt: skip
    limit = budget(model.names, 0.6)
    measured = greedy_mp.allocate(misled, [limit], [], model)
    assert measured == greedy_mp.allocate(model.scores(), [limit], [])
    assert model(measured) < 0.5 * model(greedy_mp.allocate(misled, [limit], []))


def test_steps_skip_no_pair_of_the_menu():
    wide = [("fp32", "fp32"), *PAIRS]
    below = greedy_mp._narrower(wide)
    assert below == [[1], [2, 3], [4], [4], []]
    assert all(index in itertools.chain(*below) for index in range(1, 5))
