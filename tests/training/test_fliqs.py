"""Formats that change while a model trains: what is trained is what is simulated, and what the search answers."""

import functools

import pytest
import torch

from edge_mpq import graph as ir
from edge_mpq import menu as menus
from edge_mpq.allocators import Limit
from edge_mpq.cost import size
from edge_mpq.errors import PlanError
from edge_mpq.planning import ties_of
from edge_mpq.records import formats
from edge_mpq.records import plan as plans
from edge_mpq.records import target as targets
from edge_mpq.records.plan import Choice
from edge_mpq.training import fliqs
from edge_mpq.training.policy import Options
from edge_mpq.training.switching import LEAST_SIZE, Switching
from tests import toys
from tests.training import aware

MIXED = [("int8", "int8"), ("int4", "int8"), ("fp32", "fp32"), ("int8", "int8")]
FLOATS = [("fp8", "fp8"), ("fp4", "fp4"), ("int4", "int4"), ("fp5_e2m2", "fp5_e2m2")]
BITS = 5.5


def mixed(kind: str, pairs: list) -> dict:
    """Layers take ``pairs`` in turns, tied ones alike."""
    first: dict = {}
    return {
        layer.name: first.setdefault(layer.tie or layer.name, pairs[index % len(pairs)])
        for index, layer in enumerate(toys.layers(kind))
    }


def switching(kind: str, target: str, choices: dict) -> Switching:
    board = targets.get(target)
    return Switching(toys.graph(kind), board, toys.ranges(kind, board.scheme.activation == "int8"), choices)


@pytest.mark.parametrize("kind", ["residual", "transformer", "unet"])
@pytest.mark.parametrize(
    ("target", "pairs"), [(aware.UINT8, MIXED), (aware.INT8, [MIXED[0], MIXED[2]]), ("simulation", FLOATS)]
)
def test_it_computes_bit_for_bit_what_is_simulated_whatever_it_was_switched_from(kind, target, pairs):
    before, after = mixed(kind, pairs), mixed(kind, pairs[1:] + pairs[:1])
    model, x, answers = switching(kind, target, before), toys.pictures(4, seed=1), []
    for choices in (before, after):
        model.switch(choices)
        plan = plans.uniform(toys.layers(kind), targets.get(target), "fp32", "fp32")
        plan = plan._replace(choices={name: Choice(*pair) for name, pair in choices.items()})
        with torch.no_grad():
            answers.append(model(x))
            assert torch.equal(answers[-1], toys.simulated(kind, plan)(x))
    assert not torch.equal(*answers)


def test_gradients_reach_the_weights_through_every_rounding():
    model = switching("residual", "simulation", mixed("residual", FLOATS))
    model(toys.pictures(4)).square().sum().backward()
    for name, nodes in ir.weighted(model.graph).items():
        weight = ir.weight_of(nodes[0])
        assert weight is not None
        gradient = ir.attribute(model.graph, str(weight.target)).grad
        assert gradient is not None and gradient.abs().sum() > 0, name


def searched(seed: int = 0, bits: float = BITS, epochs: int = 6, **options) -> fliqs.Found:
    """A short search of the residual toy."""
    board, layers = targets.get("simulation"), toys.layers("residual")
    menu = menus.menu_of(layers, board, ["w8a8", "w6a6", "w4a4"])
    most = bits * sum(layer.weights for layer in layers) / (8 * 2**20)
    limit = Limit(size.table(layers, menu, board), most, f"size<={bits}bits")
    return fliqs.search(
        toys.graph("residual"),
        board,
        menu,
        [limit],
        ties_of(layers),
        toys.batches(),
        aware.labelled("residual"),
        epochs,
        seed=seed,
        **options,
    )


found = functools.cache(searched)


def test_what_it_chose_keeps_limits_and_ties_and_is_what_was_trained_last():
    answer, layers = found(), toys.layers("residual")
    spent = sum(layer.weights * formats.get(answer.choices[layer.name][0]).bits for layer in layers)
    assert spent <= BITS * sum(layer.weights for layer in layers) + 1e-6
    for tie in ties_of(layers):
        assert len({answer.choices[name] for name in tie}) == 1
        assert len({tuple(answer.probabilities[name].items()) for name in tie}) == 1
    assert all(sum(row.values()) == pytest.approx(1, abs=1e-5) for row in answer.probabilities.values())
    assert list(answer.choices) == [layer.name for layer in layers]


def test_the_last_part_of_the_training_draws_nothing():
    assert len(found().steps) == round(0.75 * 18)
    assert len(searched(epochs=2, settled=0.0).steps) == 6
    assert len(found().log) == 6 and all(step.share > 0 for step in found().steps)


def test_formats_change_from_step_to_step_and_weights_train_from_the_first_on():
    assert len({step.share for step in found().steps}) > 3
    before, after = toys.graph("residual").state_dict(), found().graph.state_dict()
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    assert {name for name in changed if name.endswith("weight")} >= {f"{name}.weight" for name in found().choices}


def test_the_graph_that_was_given_is_left_alone_and_a_seed_is_a_search():
    before = {name: value.clone() for name, value in toys.graph("residual").state_dict().items()}
    again = searched()
    assert all(torch.equal(value, toys.graph("residual").state_dict()[name]) for name, value in before.items())
    assert again.choices == found().choices and again.steps == found().steps and again.ranges == found().ranges
    assert all(torch.equal(value, again.graph.state_dict()[name]) for name, value in found().graph.state_dict().items())
    assert searched(seed=1, epochs=1).steps != searched(epochs=1).steps


def test_a_budget_that_the_most_probable_formats_exceed_is_still_kept():
    answer = searched(bits=4.5, epochs=4, options=Options(cost_weight=0.0))
    layers = toys.layers("residual")
    likely = {name: max(row, key=lambda pair: row[pair]) for name, row in answer.probabilities.items()}
    bits = [
        sum(layer.weights * formats.get(choices[layer.name][0]).bits for layer in layers)
        / sum(layer.weights for layer in layers)
        for choices in (likely, answer.choices)
    ]
    assert bits[0] > 4.5 >= bits[1]


def test_what_cannot_be_met_is_refused_before_any_training():
    def never(epoch: int) -> list:
        raise AssertionError("trained")

    with pytest.raises(PlanError, match="size<=2bits cannot be met"):
        board, layers = targets.get("simulation"), toys.layers("residual")
        menu = menus.menu_of(layers, board, ["w8a8", "w4a4"])
        limit = Limit(size.table(layers, menu, board), 1e-4, "size<=2bits")
        fliqs.search(toys.graph("residual"), board, menu, [limit], [], toys.batches(), never, 1)


def test_rates_are_in_proportion_to_what_folding_has_made_of_a_parameter():
    model = switching("residual", "simulation", mixed("residual", FLOATS))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(0.5)
        next(model.parameters()).zero_()
    first, *others = model.parameter_groups(0.01, 0.0)
    assert [group["lr"] for group in others] == pytest.approx([0.005] * len(others))
    assert first["lr"] == pytest.approx(0.01 * LEAST_SIZE)
    assert len(others) + 1 == len(list(model.parameters()))
