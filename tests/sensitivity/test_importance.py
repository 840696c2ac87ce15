"""Importance: it is first order in the step of rounding, and sees what a power law of bits does not."""

import pytest
import torch

from edge_mpq import calibration, placement, sensitivity
from edge_mpq import menu as menus
from edge_mpq.layers import layers_of
from edge_mpq.progress import silent
from edge_mpq.records import target as targets
from tests import toys, trained_toys

BOARD = targets.get("simulation")


def scored(name: str, batches: list[torch.Tensor], *formats: str):
    graph = trained_toys.trained()
    menu = menus.menu_of(layers_of(graph), BOARD, ["fp32", *formats])
    ranges = calibration.ranges_of(graph, placement.every_tensor(graph), toys.batches())
    return sensitivity.get(name).scores(graph, menu, batches, ranges, BOARD, silent)


def test_a_bit_less_doubles_it_where_fisher_s_loss_is_four_times():
    pictures = [trained_toys.labelled(64, seed=5000)[0]]
    wide, narrow = ("int8", "fp32"), ("int5", "fp32")
    for name, factor in (("importance", 2.0**3), ("fisher", 4.0**3)):
        rows = scored(name, pictures, "w8a32", "w5a32")
        ratio = sum(row[narrow] for row in rows.values()) / sum(row[wide] for row in rows.values())
        assert ratio == pytest.approx(factor, rel=0.25)


def test_how_pictures_are_cut_into_batches_changes_it_little():
    pictures = trained_toys.labelled(64, seed=5000)[0]
    pair = ("int4", "int8")
    whole, parts = (scored("importance", batches, "w4a8") for batches in ([pictures], list(pictures.split(8))))
    for layer, row in whole.items():
        assert parts[layer][pair] == pytest.approx(row[pair], rel=0.5)
