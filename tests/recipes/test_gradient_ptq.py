"""Gradient-based PTQ as a whole: its parts, and that importance serves better than the same upside down."""

import functools

from edge_mpq import menu as menus
from edge_mpq.allocators import ScoreTable
from edge_mpq.evaluator import Evaluator
from edge_mpq.layers import layers_of
from edge_mpq.planning import plan
from edge_mpq.progress import silent
from edge_mpq.quantizing import quantize
from edge_mpq.recipes import Outcome, gradient_ptq
from edge_mpq.records.plan import PrecisionPlan
from edge_mpq.sensitivity import importance
from tests.laws.test_recipes import held_out, task


@functools.cache
def outcome() -> Outcome:
    return gradient_ptq.run(task(), silent)


def test_the_plan_says_how_it_was_made_and_its_engine_computes_all_of_it():
    made = outcome()
    assert (made.plan.sensitivity, made.plan.allocator) == ("importance", "reverse_waterfilling")
    assert made.deployable and not made.note and made.evaluations == 0


def planned(scores: ScoreTable | None = None) -> PrecisionPlan:
    given = task()
    return plan(
        given.graph,
        given.example,
        given.calibration,
        given.target,
        given.budget,
        sensitivity="importance",
        allocator="reverse_waterfilling",
        formats=given.formats,
        scores=scores,
        ranges=outcome().ranges,
    )


def test_importance_upside_down_serves_worse():
    given = task()
    layers = layers_of(given.graph)
    menu = menus.menu_of(layers, given.target, given.formats)
    score = importance.scores(given.graph, menu, given.calibration, outcome().ranges, given.target)
    weights = {layer.name: layer.weights for layer in layers}
    ranked = sorted(score, key=lambda name: score[name]["int4", "int8"] / weights[name])
    mirrored = {name: score[other] for name, other in zip(ranked, reversed(ranked), strict=True)}
    mirrored = {name: mirrored[name] for name in score}
    judge = Evaluator(given.graph, given.target, outcome().ranges, held_out().batches)
    kl = {
        which: judge({name: choice[:2] for name, choice in made.choices.items()}).kl
        for which, made in (("right", planned(score)), ("wrong", planned(mirrored)))
    }
    assert planned(score).choices == outcome().plan.choices
    assert kl["right"] < 0.75 * kl["wrong"]


def test_learned_weights_answer_nearer_than_nearest_ones_under_the_same_plan():
    given, found = task(), outcome()
    nearest, _ = quantize(given.graph, found.plan, given.calibration, rounding="nearest", ranges=found.ranges)
    assert held_out().of(found.quantized).kl < 0.8 * held_out().of(nearest).kl
