"""What recipes begin with on a target of few bits: ranges and rewrites are those of the bits that activations get."""

import pytest

from edge_mpq import recipes
from edge_mpq.calibration import ranges_of
from edge_mpq.placement import every_tensor
from edge_mpq.progress import silent
from edge_mpq.recipes import Task
from edge_mpq.recipes._planned import at_fewest_bits, planned
from edge_mpq.records import target as targets
from tests import toys


def task(*formats: str, board: str = "simulation", kind: str = "transformer") -> Task:
    return Task(
        graph=toys.graph(kind),
        example=toys.pictures(1),
        calibration=toys.batches(),
        validation=[],
        training=None,
        target=targets.get(board),
        budget="size<=8bits",
        formats=formats or None,
    )


def test_the_ranges_are_those_of_the_planned_bits() -> None:
    found = planned(task("w4a4"), silent, sensitivity="sqnr")
    eight = ranges_of(found.graph, every_tensor(found.graph), toys.batches(), "mse")
    assert planned(task("w4a8"), silent, sensitivity="sqnr").ranges == eight
    assert found.ranges.tensors.keys() == eight.tensors.keys() and found.ranges != eight


@pytest.mark.parametrize(
    ("formats", "board", "name"),
    [
        (("w8a8", "w6a6", "w4a4", "fp4"), "simulation", "noisy_bias:bits=4"),
        (("w8a8", "w4a6"), "simulation", "noisy_bias:bits=6"),
        (("w4b32", "fp8"), "simulation", "noisy_bias"),
        ((), "simulation", "noisy_bias"),
        (("w8a8", "w4a8", "w4a4"), "cpu-x86-vnni", "noisy_bias"),
    ],
)
def test_rewrites_are_for_the_fewest_integer_bits_that_the_target_may_give(formats, board, name) -> None:
    assert at_fewest_bits("noisy_bias", task(*formats, board=board)) == name


@pytest.mark.parametrize(("recipe", "rewrite"), [("noisy_quant", "noisy_bias"), ("lrp_qvit", "channel_clip")])
def test_recipes_that_rewrite_by_the_grid_say_its_bits_in_their_plan(recipe, rewrite) -> None:
    assert recipes.get(recipe).run(task("w4a4"), silent).plan.transforms == (f"{rewrite}:bits=4",)
