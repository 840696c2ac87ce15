"""What is peculiar to CPTQuant: layers really are replaced, its scores rank them, and its clusters know no budget."""

import functools

import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from edge_mpq import menu as menus
from edge_mpq import recipes, sensitivity
from edge_mpq.errors import UsageError
from edge_mpq.evaluator import Evaluator
from edge_mpq.layers import layers_of
from edge_mpq.progress import silent
from edge_mpq.recipes import cptquant
from edge_mpq.records import plan as plans
from edge_mpq.records import target as targets
from edge_mpq.records.ranges import RangeTable
from edge_mpq.sensitivity import pruning
from edge_mpq.simulation import simulate
from tests import toys, trained_language

pytestmark = pytest.mark.slow  # a model is trained

BOARD, NONE = targets.get("simulation"), RangeTable({}, "none", 0, "")
FEW = ("uint2b32", "fp32")


def task(formats: list[str], budget: str) -> recipes.Task:
    calibration = trained_language.calibration(2)
    graph = trained_language.graph()
    return recipes.Task(graph, calibration[0][:1], calibration, [], None, BOARD, budget, formats)


def test_two_bits_really_change_the_answers_and_the_layer_is_the_one_that_rounds():
    graph = trained_language.graph()
    layers, tokens = layers_of(graph), trained_language.calibration(1)[0][:2]
    floats = plans.uniform(layers, BOARD, "fp32", "fp32")
    with torch.no_grad():
        known = graph(tokens)
        for layer in layers:
            made = floats._replace(choices={**floats.choices, layer.name: plans.Choice(*FEW)})
            rounded = simulate(graph, made, BOARD, NONE)
            weight = toys.weight(rounded, layer.name)
            assert not torch.equal(toys.weight_grid(rounded, layer.name)(weight), weight)
            assert (rounded(tokens) - known).abs().max() > 1e-3
        assert torch.equal(simulate(graph, floats, BOARD, NONE)(tokens), known)


def test_a_wrapper_set_beside_a_nested_layer_changes_nothing_which_is_what_the_test_above_would_find():
    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Sequential(nn.Linear(4, 4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(x)

    model, x = Outer(), torch.ones(1, 4)
    before = model(x)
    setattr(model, "inner.0", nn.Identity())
    assert "inner.0" in dict(model.named_children()) and torch.equal(model(x), before)
    assert isinstance(model.get_submodule("inner.0"), nn.Linear)
    model.inner[0] = nn.Identity()
    assert not torch.equal(model(x), before)


@functools.cache
def measured() -> dict[str, float]:
    """layer -> rise of the loss on text not trained on, with that layer alone in two bits."""
    graph = trained_language.graph()
    judge = Evaluator(graph, BOARD, NONE, trained_language.batches("validation", 4))
    floats = {layer.name: menus.FLOAT for layer in layers_of(graph)}
    base = judge.of(graph).loss
    return {name: judge({**floats, name: FEW}).loss - base for name in floats}


def agreement(table: dict[str, float]) -> float:
    rises = measured()
    return spearmanr([table[name] for name in rises], list(rises.values())).statistic


@pytest.mark.parametrize("score", ["fisher", "pruning"])
def test_it_ranks_the_layers_of_a_language_model_as_its_loss_does(score):
    graph = trained_language.graph()
    menu = menus.menu_of(layers_of(graph), BOARD, ["fp32", "u2b32"])
    table = sensitivity.get(score).scores(graph, menu, trained_language.calibration(4), NONE, BOARD, silent)
    assert agreement({name: row[FEW] for name, row in table.items()}) >= 0.7


def test_so_does_pruning_alone_and_not_with_its_sign_turned_round():
    graph = trained_language.graph()
    table = pruning.alone(graph, measured(), trained_language.calibration(4))
    assert agreement(table) >= 0.7
    assert agreement({name: -harm for name, harm in table.items()}) <= -0.7


def test_clusters_take_every_width_sorted_by_score_and_say_that_they_know_no_budget():
    given = task(["w8b32", "w4b32", "w2b32"], "size<=2.2bits")
    found = cptquant.run(given, mode="kmeans")
    layers = layers_of(found.graph)
    found.plan.check(layers, BOARD)
    assert "budget" in found.note and found.plan.allocator == "kmeans"
    assert plans.weight_bits(found.plan, layers) > 2.2
    values = pruning.alone(given.graph, found.plan.choices, given.calibration)
    bits = {name: int(choice.weight[3]) for name, choice in found.plan.choices.items()}
    assert set(bits.values()) == {8, 4, 2}
    ranked = sorted(bits, key=lambda name: -values[name])
    assert [bits[name] for name in ranked] == sorted(bits.values(), reverse=True)


def test_the_default_mode_keeps_the_budget_and_other_modes_are_refused():
    found = cptquant.run(task(["w8b32", "w4b32", "w2b32"], "size<=3bits"))
    assert plans.weight_bits(found.plan, layers_of(found.graph)) <= 3 + 1e-9 and found.note == ""
    with pytest.raises(UsageError, match="choose one of budget, kmeans"):
        cptquant.run(task(["w8b32"], "size<=8bits"), mode="harmonic")
