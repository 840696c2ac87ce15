"""Formats and widths decided at once: costs are those of the narrow graph, and the best choice is the best."""

import itertools

import numpy as np
import pytest

from edge_mpq import menu as menus
from edge_mpq.allocators import Limit
from edge_mpq.cost import bitops, size
from edge_mpq.errors import PlanError, UsageError
from edge_mpq.layers import layers_of
from edge_mpq.planning import ties_of
from edge_mpq.records import target as targets
from edge_mpq.training import widths
from edge_mpq.training.joint import Joint
from tests.training.test_widths import found, graph

BOARD = targets.get("simulation")
SHARES = (1.0, 0.6, 0.3)


def joint(kind: str, share: float = 1.0, names=("w8a8", "w4a4"), shares=SHARES) -> Joint:
    """The decisions of a toy, whose size and bit operations may be ``share`` of those at 8 bits and full width."""
    layers = layers_of(graph(kind))
    menu = menus.menu_of(layers, BOARD, names)
    tables = [model.table(layers, menu, BOARD) for model in (size, bitops)]
    most = [share * sum(max(row.values()) for row in table.values()) for table in tables]
    limits = [Limit(*row) for row in zip(tables, most, ("size", "bitops"), strict=True)]
    blank = {name: dict.fromkeys(pairs, 0.0) for name, pairs in menu.items()}
    return Joint(blank, limits, ties_of(layers), found(kind), shares)


def every(made: Joint) -> list[np.ndarray]:
    return [np.array(chosen) for chosen in itertools.product(*map(range, made.counts))]


@pytest.mark.parametrize("kind", ["residual", "shortcut", "transformer", "plain", "joining", "tokens"])
def test_a_choice_costs_what_the_narrow_graph_costs_in_its_formats(kind):
    made, draw = joint(kind), np.random.default_rng(0)
    for _ in range(2):
        chosen = np.array([draw.integers(count) for count in made.counts])
        pairs = made.made.answer(chosen)
        layers = layers_of(widths.narrowed(graph(kind), found(kind).channels, made.kept(chosen)))
        menu = {name: [pair] for name, pair in pairs.items()}
        spent = [
            sum(row[pairs[name]] for name, row in model.table(layers, menu, BOARD).items()) for model in (size, bitops)
        ]
        assert made.totals(chosen) == pytest.approx(spent)
    widest = np.zeros(len(made.counts), int)
    assert made.totals(widest) == pytest.approx(made.made.totals(widest[: len(made.made.units)]))


@pytest.mark.parametrize("kind", ["shortcut", "joining"])
def test_the_best_choice_is_the_best_of_all(kind):
    for seed in range(3):
        draw = np.random.default_rng(seed)
        made = joint(kind)
        harm = [np.sort(draw.random(count)) for count in made.counts]  # wide is better
        total = {tuple(chosen): sum(row[c] for row, c in zip(harm, chosen, strict=True)) for chosen in every(made)}
        # Limits that some choice meets exactly.
        made.most = made.totals(np.array([draw.integers(count) for count in made.counts]))
        made.made = made.made._replace(most=made.most)
        within = {c: value for c, value in total.items() if made.made.within(made.totals(np.array(c))).all()}
        best = made.best(harm)
        assert total[tuple(best)] == pytest.approx(min(within.values()))
        assert min(total.values()) < min(within.values())  # without limits another would be


def test_widths_meet_what_formats_alone_cannot_and_less_than_the_least_is_refused():
    made = joint("shortcut", 0.2)
    narrowest = np.array([1] * len(made.made.units) + [0] * len(found("shortcut").groups))
    assert not made.made.within(made.totals(narrowest)).all()  # four bits everywhere, at full width
    assert made.made.within(made.totals(made.start)).all()
    with pytest.raises(PlanError, match="size cannot be met.*bitops cannot be met.*narrower layers"):
        joint("shortcut", 0.01)


def test_limits_that_clash_are_refused_before_any_training():
    sizes = joint("joining").made.limits[0].costs
    dear = {name: dict(zip(row, reversed(row.values()), strict=True)) for name, row in sizes.items()}  # four bits are
    blank = {name: dict.fromkeys(row, 0.0) for name, row in sizes.items()}
    most = 0.18 * sum(max(row.values()) for row in sizes.values())
    limits = [Limit(sizes, most, "small"), Limit(dear, most, "dear")]
    for limit in limits:
        Joint(blank, [limit], [], found("joining"), SHARES)
    with pytest.raises(PlanError, match="small, dear cannot be met together"):
        Joint(blank, limits, [], found("joining"), SHARES)


@pytest.mark.parametrize("shares", [(1.0, 0.0), (1.5,), (0.5, 0.5)])
def test_shares_that_are_none_are_refused(shares):
    with pytest.raises(UsageError, match="different shares of the channels"):
        joint("joining", shares=shares)


def test_what_cannot_be_narrower_is_refused_with_the_reason():
    with pytest.raises(PlanError, match="no layer can have fewer channels: .*slice.*search formats alone"):
        joint("refusing")
    with pytest.raises(PlanError, match="int4b32 cut inputs into blocks"):
        joint("transformer", names=("w4b32", "w8a8"))
