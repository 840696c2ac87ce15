"""What is peculiar to scores by relevance: at equal bits they beat one format for all, and their own reverse."""

import functools

import pytest
import torch

from edge_mpq import budget as budgets
from edge_mpq import calibration, placement, planning, relevance, sensitivity
from edge_mpq import menu as menus
from edge_mpq.allocators import ScoreTable, milp
from edge_mpq.evaluator import Evaluator
from edge_mpq.layers import layers_of
from edge_mpq.progress import silent
from edge_mpq.records import plan as plans
from edge_mpq.records import target as targets
from edge_mpq.sensitivity.relevance import layer_noise
from tests import trained_toys, trained_vits

BOARD = targets.get("simulation")
WIDTHS = ["w8a8", "w6a8", "w5a8", "w4a8", "w3a8", "w2a8"]


@functools.cache
def batches() -> list[torch.Tensor]:
    return [trained_toys.labelled(64, seed=5000 + index)[0] for index in range(2)]


@functools.cache
def known():
    """Menu and ranges of the trained transformer."""
    graph = trained_vits.trained()
    menu = menus.menu_of(layers_of(graph), BOARD, WIDTHS)
    return menu, calibration.ranges_of(graph, placement.every_tensor(graph), batches(), "mse")


@functools.cache
def held_out() -> Evaluator:
    ranges = known()[1]
    return Evaluator(trained_vits.trained(), BOARD, ranges, [trained_toys.labelled(256, seed=9000)])


def scored(name: str) -> ScoreTable:
    menu, ranges = known()
    return sensitivity.get(name).scores(trained_vits.trained(), menu, batches(), ranges, BOARD, silent)


def planned(table: ScoreTable, bits: int) -> dict:
    layers = layers_of(trained_vits.trained())
    tables = planning.cost_tables(layers, known()[0], BOARD)
    return milp.allocate(table, budgets.limits(budgets.parse(f"size<={bits}bits"), layers, tables), [])


def reversed_shares() -> dict[str, float]:
    """The shares of relevance, the least to the layer that has the greatest and so on."""
    shares = relevance.contributions(trained_vits.trained(), batches())
    ranked = sorted(shares, key=shares.__getitem__)
    return {name: shares[other] for name, other in zip(ranked, reversed(ranked), strict=True)}


@pytest.mark.parametrize("bits", [3, 4])
def test_at_equal_bits_it_beats_one_format_for_all_and_the_reverse(bits):
    menu, ranges = known()
    noise = layer_noise(trained_vits.trained(), menu, batches(), ranges, BOARD)
    swapped = {
        name: {pair: share * noise[name][pair] for pair in menu[name]} for name, share in reversed_shares().items()
    }
    alike = {name: menus.parse(f"w{bits}a8") for name in menu}
    chosen, against = planned(scored("relevance"), bits), planned(swapped, bits)
    found, reverse, naive = (held_out()(choices).kl for choices in (chosen, against, alike))
    assert found < 0.8 * reverse and found < 0.5 * naive
    spent = [weight_bits(choices) for choices in (chosen, against)]
    assert all(bits - 0.3 < each <= bits for each in spent)


def weight_bits(choices: dict) -> float:
    layers = layers_of(trained_vits.trained())
    made = plans.uniform(layers, BOARD, "int8", "int8")
    return plans.weight_bits(
        made._replace(choices={name: plans.Choice(*pair) for name, pair in choices.items()}), layers
    )


def test_by_measurement_it_beats_one_format_for_all():
    found = held_out()(planned(scored("relevance_measured"), 3)).kl
    assert found < 0.5 * held_out()({name: menus.parse("w3a8") for name in known()[0]}).kl


def test_noise_falls_fourfold_with_every_bit():
    graph, (_, ranges) = trained_vits.trained(), known()
    menu = {name: [("int8", "fp32"), ("int5", "fp32")] for name in known()[0]}
    for row in layer_noise(graph, menu, batches(), ranges, BOARD).values():
        assert 4**2 < row["int5", "fp32"] / row["int8", "fp32"] < 4**4


def test_measured_scores_are_those_of_kl_times_relevance():
    graph = trained_vits.trained()
    shares = relevance.contributions(graph, batches())
    measured, table = scored("kl"), scored("relevance_measured")
    assert all(
        table[name][pair] == pytest.approx(shares[name] * harm)
        for name, row in measured.items()
        for pair, harm in row.items()
    )
