"""Laws that every recipe keeps, present and future: a task goes in, a model inside its budget comes out."""

import functools

import pytest
import torch

from edge_mpq import graph as ir
from edge_mpq import recipes
from edge_mpq.drop import share_right
from edge_mpq.errors import PlanError, UsageError
from edge_mpq.evaluator import Evaluator
from edge_mpq.layers import layers_of
from edge_mpq.placement import every_tensor
from edge_mpq.progress import silent
from edge_mpq.recipes import Outcome, Task
from edge_mpq.records import plan as plans
from edge_mpq.records import target as targets
from tests import toys, trained_toys

every_recipe = pytest.mark.parametrize("name", recipes.names())
BUDGET, BITS = "size<=5bits", 5.0
# Recipes that take no budget of accuracy, and others with settings that make haste.
NO_DROPS = {"uniform", "fliqs", "quantmoe:presets=first_k"}
HASTY = {"gradient_ptq": "iterations=20", "quantune": "trials=4", "wildfire": "epochs=1"}


def epochs(epoch: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [trained_toys.labelled(64, seed=6000 + 10 * epoch + index) for index in range(4)]


def task(seed: int = 0) -> Task:
    """The trained toy whose layers bear few bits unequally, on a CPU."""
    return Task(
        graph=trained_toys.unbalanced(),
        example=toys.pictures(1),
        calibration=[trained_toys.labelled(32, seed=4000 + index)[0] for index in range(2)],
        validation=[trained_toys.labelled(64, seed=7000 + index) for index in range(4)],
        training=epochs,
        target=targets.get("cpu-x86-vnni"),
        budget=BUDGET,
        formats=["w8a8", "w4a8"],
        seed=seed,
    )


@functools.cache
def outcome(name: str) -> Outcome:
    return recipes.get(name).run(task(), silent)


@functools.cache
def held_out() -> Evaluator:
    batches = [trained_toys.labelled(128, seed=8000 + index) for index in range(4)]
    return Evaluator(trained_toys.unbalanced(), task().target, toys.ranges("residual"), batches)


def test_the_door_lists_the_recipes():
    assert {"default", "uniform"} <= set(recipes.names())
    with pytest.raises(UsageError, match="choose one of .*default"):
        recipes.get("magic")


@every_recipe
def test_it_says_whose_it_is_and_what_does_not_deploy(name):
    assert recipes.get(name).PAPER
    assert bool(outcome(name).note) or outcome(name).deployable


@every_recipe
def test_the_plan_fits_the_model_and_the_budget(name):
    found = outcome(name)
    layers = layers_of(found.graph)
    found.plan.check(layers, task().target)
    assert plans.weight_bits(found.plan, layers) <= BITS + 1e-9
    assert set(every_tensor(found.graph)) <= set(found.ranges.tensors)


@every_recipe
def test_what_is_simulated_is_what_the_plan_says(name):
    found = outcome(name)
    for layer, choice in found.plan.choices.items():
        grid = toys.weight_grid(found.quantized, layer)
        assert grid.bits == int(choice.weight.removeprefix("int"))
        rounded = grid(toys.weight(found.quantized, layer))
        assert len(rounded.flatten(1)[0].unique()) <= 2**grid.bits


@pytest.mark.parametrize("name", [*recipes.names(), "quantmoe:presets=first_k"])
def test_a_drop_is_kept_by_the_model_that_is_delivered(name):
    given = task()._replace(budget="drop<=20%", formats=["fp32", "w8a8", "w4a8", "w2a8"])
    recipe = recipes.get(f"{name}:{HASTY[name]}" if name in HASTY else name)
    if name in NO_DROPS:
        with pytest.raises(PlanError, match="speaks of accuracy"):
            recipe.run(given, silent)
        return
    promised = given.validation[1::2]
    assert share_right(recipe.run(given, silent).quantized, promised) >= share_right(given.graph, promised) - 0.2


def test_the_naive_choice_really_loses():
    assert held_out().of(outcome("uniform").quantized).right < held_out().of(task().graph).right - 0.2


@pytest.mark.parametrize("name", [name for name in recipes.names() if name != "uniform"])
def test_it_beats_one_format_for_all(name):
    found, naive = (held_out().of(outcome(which).quantized) for which in (name, "uniform"))
    assert found.kl < naive.kl and found.right > naive.right


@every_recipe
def test_the_task_is_left_as_it_was_and_the_same_task_has_the_same_outcome(name):
    given = task()._replace(graph=ir.copied(trained_toys.unbalanced()))
    before = {key: value.clone() for key, value in given.graph.state_dict().items()}
    code = given.graph.code
    again = recipes.get(name).run(given, silent)
    assert given.graph.code == code
    assert all(torch.equal(value, before[key]) for key, value in given.graph.state_dict().items())
    assert again.plan == outcome(name).plan
    x = toys.pictures(4, seed=3)
    with torch.no_grad():
        assert torch.equal(again.quantized(x), outcome(name).quantized(x))
