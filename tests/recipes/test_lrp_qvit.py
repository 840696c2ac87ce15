"""What is peculiar to LRP-QViT: a transformer whose channels are of unlike size keeps its answers at few bits."""

import functools

import pytest

from edge_mpq import recipes
from edge_mpq.evaluator import Evaluation, Evaluator
from edge_mpq.progress import silent
from edge_mpq.records import target as targets
from tests import toys, trained_toys, trained_vits


@functools.cache
def outcome(name: str, board: str) -> recipes.Outcome:
    return recipes.get(name).run(
        recipes.Task(
            graph=trained_vits.outlying(),
            example=toys.pictures(1),
            calibration=[trained_toys.labelled(64, seed=5000 + index)[0] for index in range(2)],
            validation=[trained_toys.labelled(64, seed=7000)],
            training=None,
            target=targets.get(board),
            budget="size<=4bits",
            formats=["w8a8", "w6a8", "w4a8", "w3a8"],
        ),
        silent,
    )


def judged(name: str, board: str) -> Evaluation:
    found = outcome(name, board)
    held_out = [trained_toys.labelled(256, seed=9000)]
    return Evaluator(trained_vits.outlying(), targets.get(board), found.ranges, held_out).of(found.quantized)


@pytest.mark.parametrize("board", ["cpu-x86-vnni", "simulation"])
def test_it_keeps_answers_that_one_format_for_all_loses(board):
    found, naive = judged("lrp_qvit", board), judged("uniform", board)
    assert found.kl < 0.2 * naive.kl
    assert found.right > naive.right + 0.1


def test_no_plan_was_tried_and_the_plan_says_how_it_was_made():
    found = outcome("lrp_qvit", "cpu-x86-vnni")
    assert found.evaluations == 0
    assert found.plan.sensitivity == "relevance" and found.plan.transforms == ("channel_clip",)
    assert len({choice.weight for choice in found.plan.choices.values()}) > 1
