"""Layers that half precision would harm are found in a torch graph, and the planner keeps them in fp32."""

import pytest
import torch
from torch import nn

import edge_mpq
from apps import half
from edge_mpq import menu
from edge_mpq.layers import layers_of
from edge_mpq.records import plan as plans
from edge_mpq.records import target as targets
from edge_mpq.simulation import prepared
from tests import toys

NANO = targets.get("jetson-nano")


class Loud(nn.Module):
    """Two convolutions and a residual sum; ``gain`` of the first is taken back behind the second."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.third, self.head = nn.Conv2d(16, 16, 3, padding=1), nn.Linear(16, 4)
        with torch.no_grad():
            self.first.weight.mul_(gain)
        self.back = 1 / gain

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.second(torch.relu(self.first(pictures)))) * self.back
        x = torch.relu(self.third(x) + x)
        return self.head(x.mean((2, 3)))


def _graph(gain: float):
    return prepared(Loud(gain), toys.pictures(1))


def test_what_overflows_is_found_in_the_layer_that_writes_and_the_one_that_reads() -> None:
    found = half.harmed(_graph(3e4), NANO, toys.batches())
    assert set(found) == {"first", "second"}
    assert "a half ends at 65504" in found["first"]


@pytest.mark.parametrize(("gain", "board"), [(1.0, "jetson-nano"), (3e4, "cpu-x86-vnni")])
def test_calm_models_and_boards_without_half_keep_nothing(gain: float, board: str) -> None:
    assert half.harmed(_graph(gain), targets.get(board), toys.batches()) == {}


@pytest.mark.parametrize(("each", "harmed"), [(10000.0, set()), (20000.0, {"third", "head"})])
def test_a_sum_counts_with_the_layer_that_it_stands_behind(each: float, harmed: set) -> None:
    model = Loud(1.0)
    with torch.no_grad():
        model.second.bias.fill_(each)
        model.third.bias.fill_(each)
        model.third.weight.zero_()
    assert set(half.harmed(prepared(model, toys.pictures(1)), NANO, toys.batches())) == harmed


def test_the_planner_keeps_them_in_fp32_and_says_why() -> None:
    graph = _graph(3e4)
    keep = half.harmed(graph, NANO, toys.batches())
    options = dict(target="jetson-nano", sensitivity="sqnr", budget="size<=0.9x")
    made = edge_mpq.plan(graph, toys.pictures(1), toys.batches(), keep=keep, **options)
    short = {name: plans.describe(choice) for name, choice in made.choices.items()}
    assert short["first"] == short["second"] == "fp32" and "fp16" in short.values()
    assert made.choices["first"].why == keep["first"]
    with pytest.raises(edge_mpq.errors.PlanError, match="cannot be met"):
        edge_mpq.plan(graph, toys.pictures(1), toys.batches(), keep=keep, **{**options, "budget": "size<=0.5x"})


def test_a_kept_layer_takes_fp32_and_those_tied_to_it_may_too() -> None:
    layers = layers_of(toys.graph("residual"))
    board = targets.get("jetson-orin-nano")
    free = menu.menu_of(layers, board, ["fp16", "w8a8"])
    for layer in layers:
        kept = menu.menu_of(layers, board, ["fp16", "w8a8"], [layer.name])
        assert kept[layer.name] == [menu.FLOAT]
        for other in layers:
            tied = layer.tie is not None and other.tie == layer.tie
            assert other is layer or (menu.FLOAT in kept[other.name]) == tied
            assert set(free[other.name]) <= set(kept[other.name]) or other is layer
