"""Augmented Hessians inside an accuracy: the paper's search, how many trials it takes, and that its answer holds."""

import math

import pytest
import torch

from edge_mpq import drop
from edge_mpq.errors import PlanError
from edge_mpq.evaluator import Evaluator
from edge_mpq.layers import layers_of
from edge_mpq.recipes import augmented_hessians
from edge_mpq.records import plan as plans
from tests import trained_toys
from tests.laws.test_recipes import task

VALIDATION = [trained_toys.labelled(128, seed=7000 + index) for index in range(6)]


def given(budget: str, formats=("fp32", "w8a8", "w4a8")):
    return task()._replace(budget=budget, formats=list(formats), validation=VALIDATION)


def lost(model, batches) -> float:
    return drop.share_right(trained_toys.unbalanced(), batches) - drop.share_right(model, batches)


@pytest.fixture(scope="module")
def found():
    return augmented_hessians.run(given("drop<=8%"))


def test_the_drop_holds_on_both_halves_and_few_models_were_tried(found):
    seen, unseen = VALIDATION[::2], VALIDATION[1::2]
    assert lost(found.quantized, seen) <= 0.08 and lost(found.quantized, unseen) <= 0.08
    layers = layers_of(found.graph)
    assert plans.weight_bits(found.plan, layers) < 20
    searched = 2 * math.ceil(math.log2(len(layers) + 1))  # two stages: to 8 bits, to 4
    assert 0 < found.evaluations <= 2 * searched + 1  # held-out data judges those kept, and the first plan, once
    assert len({choice[:2] for choice in found.plan.choices.values()}) > 1


def test_a_plan_that_only_suits_the_searched_half_is_not_given():
    with torch.no_grad():
        answers = [trained_toys.unbalanced()(inputs).argmax(1) for inputs, _ in VALIDATION]
    # Nothing is right where the search looks, so that nothing can be lost there.
    labels = [torch.full_like(answer, 99) if index % 2 == 0 else answer for index, answer in enumerate(answers)]
    validation = [(inputs, label) for (inputs, _), label in zip(VALIDATION, labels, strict=True)]
    careful = augmented_hessians.run(given("drop<=2%")._replace(validation=validation))
    everywhere = [
        (inputs, torch.full_like(answer, 99)) for (inputs, _), answer in zip(VALIDATION, answers, strict=True)
    ]
    careless = augmented_hessians.run(given("drop<=2%")._replace(validation=everywhere))
    agreed = validation[1::2]
    assert drop.share_right(careful.quantized, agreed) >= 0.98 > drop.share_right(careless.quantized, agreed)


def test_a_drop_and_a_size_hold_together_or_it_is_told():
    both = augmented_hessians.run(given("size<=10bits,drop<=20%"))
    assert both.plan.predicted["weight_bits"] <= 10
    with pytest.raises(PlanError, match=r"no plan that stays within the drop keeps size<=4.05bits"):
        augmented_hessians.run(given("size<=4.05bits,drop<=2%"))


def test_a_size_alone_is_planned_without_a_single_trial(monkeypatch):
    monkeypatch.setattr(Evaluator, "__call__", lambda *_: pytest.fail("a plan was tried"))
    assert augmented_hessians.run(given("size<=5bits")).evaluations == 0
