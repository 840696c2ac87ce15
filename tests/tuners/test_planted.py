"""Searches of planted tables: the trees find structure where there is one; where there is none, chance does as well."""

import random
import statistics

import numpy as np
import pytest

from edge_mpq.configurations import AXES
from edge_mpq.records.tuning import Configuration, Space, Trial, Tuning
from edge_mpq.tuners import Tuner, boosted_trees, genetic, random_search

SPACE = Space(AXES)
GOOD = 3
EXPECTED = (96 + 1) / (GOOD + 1)
# What each value costs, in points, on models in general.
COSTS = {"one": 3.0, "few": 0.6, "symmetric": 1.2, "symmetric_uint8": 0.5, "power_of_two": 2.5, "max": 0.8}
COSTS |= {"tensor": 4.0, "off": 1.0}


def planted(seed: int) -> dict[Configuration, float]:
    """A model's table: costs of its own, not far from the general ones, that add up, and one that needs two values."""
    draw = random.Random(seed)
    mine = {value: draw.gauss(COSTS.get(value, 0.0), 0.5) for values in AXES.values() for value in values}
    table = {}
    for configuration in SPACE.configurations():
        both = 1.5 if {"one", "kl"} <= set(configuration) else 0.0
        table[configuration] = 90 - both - sum(mine[value] for value in configuration) + draw.gauss(0, 0.05)
    return table


def even(seed: int) -> dict[Configuration, float]:
    """A table that nothing can be learned from."""
    draw = random.Random(seed)
    return {configuration: draw.random() for configuration in SPACE.configurations()}


def tuning(table: dict[Configuration, float]) -> Tuning:
    return Tuning(SPACE, tuple(Trial(*row) for row in table.items()))


def until_good(tuner: Tuner, table: dict[Configuration, float], seed: int, known: list[Tuning]) -> int:
    enough = sorted(table.values())[-GOOD]
    return len(tuner.search(SPACE, table.__getitem__, 96, seed, known, enough).trials)


def trials(tuner: Tuner, tables: range, made=planted, transfer: bool = False) -> list[int]:
    """Trials to one of the ``GOOD`` best, a table each, with or without the tables of two other models."""
    known = [tuning(made(seed)) for seed in (1000, 1001)] if transfer else []
    return [until_good(tuner, made(seed), seed, known) for seed in tables]


def test_transfer_beats_the_trees_alone_which_beat_genes_and_chance():
    many = range(100)
    chance, genes = (statistics.median(trials(tuner, many)) for tuner in (random_search, genetic))
    cold = statistics.median(trials(boosted_trees, range(15)))
    transfer = statistics.median(trials(boosted_trees, range(15), transfer=True))
    assert transfer < cold <= genes < chance
    assert cold < EXPECTED / 2 and transfer < EXPECTED / 4


def test_without_structure_the_trees_are_no_better_than_chance():
    found = trials(boosted_trees, range(6), even)
    assert statistics.mean(found) > EXPECTED / 2


def test_chance_needs_what_chance_must():
    assert statistics.mean(trials(random_search, range(400), even)) == pytest.approx(EXPECTED, rel=0.1)


def test_how_accurate_other_models_are_plays_no_part_only_which_of_their_configurations_is_better():
    table, others = planted(0), [planted(1000), planted(1001)]
    moved = [{configuration: 0.01 * score - 7 for configuration, score in other.items()} for other in others]
    searches = [
        boosted_trees.search(SPACE, table.__getitem__, 8, 0, [tuning(other) for other in known])
        for known in (others, moved)
    ]
    assert searches[0] == searches[1]


def test_the_encoding_is_one_hot_and_complete():
    space = SPACE._replace(features={"layers": 20.0, "depthwise": 0.4})
    rows = np.array([boosted_trees.encoded(space, space, ["depthwise", "layers"], c) for c in space.configurations()])
    bits = rows[:, : sum(map(len, AXES.values()))]
    assert set(bits.flat) == {0.0, 1.0} and len({tuple(row) for row in bits}) == 96
    start = 0
    for values in AXES.values():
        assert (bits[:, start : start + len(values)].sum(1) == 1).all()
        start += len(values)
    assert (rows[:, start:] == [0.4, 20.0]).all()


def test_a_model_of_other_axes_sets_only_the_bits_that_both_know():
    own = Space({"scheme": ("symmetric",), "rounding": ("up",)}, {"layers": 5.0})
    row = boosted_trees.encoded(own, SPACE, ["layers", "depthwise"], ("symmetric", "up"))
    assert sum(row[:13]) == 1 and row[3 + 1] == 1
    assert row[13] == 5.0 and np.isnan(row[14])
