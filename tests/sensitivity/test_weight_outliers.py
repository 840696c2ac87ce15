"""The outlier-aware scorer: no scale of a weight moves it, and one entry a hundred times as great does."""

import pytest
import torch
from torch import nn

from edge_mpq import calibration, placement, simulation
from edge_mpq.records import target as targets
from edge_mpq.sensitivity import weight_outliers
from edge_mpq.sensitivity.weight_outliers import towering
from tests import toys

WEIGHT = torch.randn(12, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("factor", [1e-6, 0.5, 3.0, 1e6])
def test_scaling_a_weight_changes_nothing_and_neither_does_scaling_its_columns(factor):
    assert towering(factor * WEIGHT) == pytest.approx(towering(WEIGHT))
    columns = torch.linspace(0.1, 5, 8)
    assert towering(WEIGHT * columns) == pytest.approx(towering(WEIGHT))
    rows = torch.ones(12, 1)
    rows[3] = 50
    assert towering(WEIGHT * rows) > 1.5 * towering(WEIGHT)  # rows are what it looks along


@pytest.mark.parametrize("column", range(8))
def test_an_entry_a_hundred_times_as_great_raises_it(column):
    moved = WEIGHT.clone()
    moved[WEIGHT[:, column].abs().argmax(), column] *= 100
    assert towering(moved) > 1.5 * towering(WEIGHT)


def test_it_lies_between_one_and_the_number_of_outputs():
    assert towering(torch.ones(12, 8)) == pytest.approx(1)
    alone = torch.zeros(12, 8)
    alone[2, 5] = 3
    assert towering(alone) == pytest.approx(12)
    assert towering(torch.zeros(3, 3)) == 0
    kernel = torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(1))
    assert towering(kernel) == pytest.approx(towering(kernel.flatten(1)))


def test_a_transposed_convolution_is_asked_along_its_outputs():
    """Turned about, it is the layer that it is the transpose of: both have the same score."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        plain, turned = nn.Conv2d(3, 6, 1, bias=False), nn.ConvTranspose2d(3, 6, 1, bias=False)
    turned.weight.data = plain.weight.detach().transpose(0, 1).clone()
    menu, tables = {"0": [("int4", "fp32")]}, []
    for layer in (plain, turned):
        graph = simulation.prepared(nn.Sequential(layer), toys.pictures(1))
        ranges = calibration.ranges_of(graph, placement.every_tensor(graph), toys.batches())
        tables.append(weight_outliers.scores(graph, menu, toys.batches(), ranges, targets.get("simulation")))
    assert tables[0]["0"]["int4", "fp32"] == pytest.approx(tables[1]["0"]["int4", "fp32"], rel=1e-3)
