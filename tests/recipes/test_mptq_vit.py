"""MPTQ-ViT on a small vision transformer: its parts together, what deploys of them, and what only simulates."""

import functools

import pytest
import torch

from edge_mpq import graph as ir
from edge_mpq import recipes
from edge_mpq.evaluator import Evaluator
from edge_mpq.quantizers.twin_region import TwinRegionQuantizer
from edge_mpq.quantizing import quantize
from edge_mpq.recipes import Outcome, Task, mptq_vit
from edge_mpq.records import target as targets
from edge_mpq.transforms import APPLIED
from tests import toys, trained_toys, trained_vits


@functools.cache
def task(board: str, budget: str, *formats: str) -> Task:
    """The small transformer with unlabelled pictures."""
    return Task(
        graph=trained_vits.outlying(),
        example=toys.pictures(1),
        calibration=[trained_toys.labelled(32, seed=4000 + index)[0] for index in range(2)],
        validation=[],
        training=None,
        target=targets.get(board),
        budget=budget,
        formats=formats,
    )


def eight_bits() -> Task:
    """Every layer in eight bits, on a board whose grids have no zero point."""
    return task("jetson-orin-nano", "bitops<=0.0626x", "w8a8")


@functools.cache
def outcome(twin: bool = False) -> Outcome:
    return mptq_vit.run(eight_bits(), twin=twin)


@functools.cache
def held_out() -> Evaluator:
    batches = [trained_toys.labelled(128, seed=8000 + index) for index in range(2)]
    given = eight_bits()
    return Evaluator(given.graph, given.target, outcome().ranges, batches)


def pairs(found: Outcome) -> int:
    return sum(node.target == ir.aten.sub.Tensor for node in found.graph.graph.nodes)


def test_by_default_all_of_it_deploys_and_the_plan_says_how_to_come_there():
    found = outcome()
    assert found.deployable and not found.note
    assert found.plan.transforms == found.graph.meta[APPLIED] == ("shift_smooth",)
    assert 0 < pairs(found) <= trained_vits.BLOCKS  # this board has no zero point, and each block one GELU
    again, _ = quantize(trained_vits.outlying(), found.plan, eight_bits().calibration, rounding="nearest")
    x = toys.pictures(8, seed=2)
    with torch.no_grad():
        assert torch.allclose(again(x), found.quantized(x), atol=1e-5)


def test_two_regions_stand_behind_every_gelu_and_are_said_not_to_deploy():
    found = outcome(twin=True)
    twins = [name for name, module in found.quantized.named_modules() if isinstance(module, TwinRegionQuantizer)]
    assert len(twins) == trained_vits.BLOCKS and all("gelu" in name for name in twins)
    assert not found.deployable and found.note.startswith(f"{trained_vits.BLOCKS} tensors behind GELU")
    assert pairs(found) == 0 and found.plan.transforms == ()


@pytest.mark.parametrize("twin", [False, True])
def test_channels_of_unlike_size_do_no_harm_where_plain_rounding_fails(twin):
    plain = recipes.get("uniform").run(eight_bits())
    assert held_out().of(outcome(twin).quantized).kl < 0.05 * held_out().of(plain.quantized).kl
    even = recipes.get("uniform").run(eight_bits()._replace(graph=trained_vits.trained()))
    assert held_out().of(outcome(twin).quantized).kl > 0.5 * held_out().of(even.quantized).kl  # and wins nothing else


def test_bits_of_weights_and_activations_are_chosen_apart_and_trials_are_told():
    given = task("simulation", "bitops<=0.03125x", "w8a8", "w8a4", "w4a8", "w4a4")
    found = mptq_vit.run(given)
    chosen = {name: choice[:2] for name, choice in found.plan.choices.items()}
    assert len(set(chosen.values())) > 1
    assert 0 < found.evaluations <= 4 * 2 * len(chosen)
    tried = Evaluator(found.graph, given.target, found.ranges, given.calibration)
    for uniform in (("int4", "int8"), ("int8", "int4")):  # of the same cost
        assert tried(chosen).kl <= tried(dict.fromkeys(chosen, uniform)).kl
