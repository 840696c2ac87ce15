"""PTQTP on a small GPT: where its planes go, what they cost beside two bits, and where they are tied."""

import functools

import pytest
import torch
from torch import nn

from edge_mpq import hessians, simulation
from edge_mpq.layers import layers_of
from edge_mpq.quantizers.affine import AffineQuantizer
from edge_mpq.quantizers.blocks import BlockQuantizer
from edge_mpq.quantizers.trit_planes import TritPlaneQuantizer
from edge_mpq.quantizing import quantize
from edge_mpq.recipes import Outcome, Task, ptqtp
from edge_mpq.records import plan as plans
from edge_mpq.records import target as targets
from tests import toys, trained_language

CPU = targets.get("cpu-x86-vnni")


@functools.cache
def outcome(variant: str, weighted: bool = False) -> Outcome:
    """Every layer of the GPT in four bits by blocks of 64."""
    given = Task(
        graph=trained_language.graph(),
        example=trained_language.calibration(1)[0][:1],
        calibration=trained_language.calibration(2),
        validation=[],
        training=None,
        target=CPU,
        budget="size<=4bits",
        formats=["w4b64"],
    )
    return ptqtp.run(given, variant=variant, weighted=weighted)


@functools.cache
def plain(form: str) -> torch.fx.GraphModule:
    """The GPT rounded to nearest in blocks of plain integers."""
    graph, board = trained_language.graph(), targets.get("simulation")
    made = plans.uniform(layers_of(graph), board, form, "fp32")
    return quantize(graph, made, trained_language.calibration(2), rounding="nearest")[0]


def grids(found: Outcome) -> list:
    return [simulation.weight_quantizer(found.quantized, name) for name in found.plan.choices]


@pytest.mark.parametrize(("variant", "kind"), [("free", TritPlaneQuantizer), ("tied", BlockQuantizer)])
def test_four_bit_blocks_become_planes_and_the_weights_are_what_they_say(variant, kind):
    found = outcome(variant)
    assert {type(grid) for grid in grids(found)} == {kind} and found.deployable and not found.note
    for name in found.plan.choices:
        grid, weight = toys.weight_grid(found.quantized, name), toys.weight(found.quantized, name)
        assert torch.equal(grid(weight), weight)
        assert all(len(row.unique()) <= 9 for row in weight.reshape(-1, 64)[:20])


def test_planes_lose_far_less_than_two_bits():
    """Not less than four plain bits of the same bytes: that is no law, and does not hold."""
    lossless = trained_language.loss(trained_language.graph(), 4)
    naive = trained_language.loss(plain("uint2b64"), 4) - lossless
    for variant in ("free", "tied"):
        assert trained_language.loss(outcome(variant).quantized, 4) - lossless < 0.4 * naive


@torch.no_grad()
def test_weights_of_channels_are_tied_on_an_integer_grid_and_other_widths_stay_with_theirs():
    layers = toys.layers("residual")
    plan = toys.planned("residual", "cpu-x86-vnni", "int4", head=("int8", "int8"))
    quantized, _ = quantize(toys.graph("residual"), plan, toys.batches(), rounding=ptqtp.TritPlanes(CPU))
    nearest, _ = quantize(toys.graph("residual"), plan, toys.batches(), rounding="nearest")
    assert torch.equal(toys.weight(quantized, "head"), toys.weight(nearest, "head"))
    for layer in layers[:-1]:
        grid = toys.weight_grid(quantized, layer.name)
        assert isinstance(grid, AffineQuantizer) and grid.bits == 4
        weight = toys.weight(quantized, layer.name)
        assert grid.integers(weight).abs().max() == 4 and torch.equal(grid(weight), weight)


@torch.no_grad()
def test_errors_count_by_the_mean_square_of_what_they_meet():
    plan = toys.planned("residual", "cpu-x86-vnni", "int4", "fp32")
    layers = [layer.name for layer in toys.layers("residual") if layer.groups == 1]
    moments = hessians.second_moments(toys.graph("residual"), layers, toys.batches())
    counted = []
    for weighted in (False, True):
        rule = ptqtp.TritPlanes(CPU, weighted=weighted)
        quantized, _ = quantize(toys.graph("residual"), plan, toys.batches(), rounding=rule)
        moved = [toys.weight(quantized, name) - toys.weight(toys.graph("residual"), name) for name in layers]
        pairs = zip(moved, layers, strict=True)
        counted.append([float((away.flatten(1).square() * moments[name][0].diagonal()).sum()) for away, name in pairs])
    assert all(after <= before * (1 + 1e-5) for before, after in zip(*counted, strict=True))
    assert sum(counted[1]) < 0.98 * sum(counted[0])


class Odd(nn.Module):
    """Layers whose inputs have no second moment here: a convolution with padding by name, and one of one dimension."""

    def __init__(self) -> None:
        super().__init__()
        self.same, self.line, self.head = nn.Conv2d(3, 4, 3, padding="same"), nn.Conv1d(4, 6, 3), nn.Linear(6, 5)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return self.head(self.line(self.same(pictures).flatten(2)).mean(2))


def test_layers_whose_inputs_are_not_known_count_every_error_alike():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        graph = simulation.prepared(Odd().eval(), toys.pictures(1))
    plan = plans.uniform(layers_of(graph), CPU, "int4", "fp32")
    alike, counted = (
        quantize(graph, plan, toys.batches(), rounding=ptqtp.TritPlanes(CPU, weighted=weighted))[0]
        for weighted in (False, True)
    )
    same = [name for name in plan.choices if torch.equal(toys.weight(alike, name), toys.weight(counted, name))]
    assert same == ["same", "line"]
