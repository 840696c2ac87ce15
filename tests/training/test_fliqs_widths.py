"""The joint search: what is trained masked is what is simulated narrow, within a budget that counts both."""

import functools

import pytest
import torch

from edge_mpq import calibration, simulation
from edge_mpq.cost import size
from edge_mpq.errors import PlanError
from edge_mpq.layers import layers_of
from edge_mpq.planning import ties_of
from edge_mpq.records import plan as plans
from edge_mpq.records import target as targets
from edge_mpq.records.plan import Choice
from edge_mpq.training import widths
from tests import toys
from tests.training import aware
from tests.training.test_fliqs import FLOATS, MIXED, mixed, searched, switching
from tests.training.test_widths import drawn, found, off

SHARES, BITS = (1.0, 0.75, 0.5), 3.0
joint = functools.cache(functools.partial(searched, bits=BITS, epochs=4, widths=SHARES))


@pytest.mark.parametrize(
    ("target", "pairs"), [(aware.UINT8, MIXED), (aware.INT8, [MIXED[0], MIXED[2]]), ("simulation", FLOATS)]
)
@torch.no_grad()
def test_masked_it_computes_what_the_narrow_graph_is_simulated_to(target, pairs):
    kind, board, choices = "residual", targets.get(target), mixed("residual", pairs)
    model, x = switching(kind, target, choices), toys.pictures(4, seed=1)
    whole, kept = model(x), found(kind).kept(drawn(kind, 0))
    model.switch(choices, widths.masks(model.graph, found(kind).channels, kept))
    narrow = widths.narrowed(toys.graph(kind), found(kind).channels, kept)
    plan = plans.uniform(layers_of(narrow), board, "fp32", "fp32")
    plan = plan._replace(choices={name: Choice(*pair) for name, pair in choices.items()})
    simulated = simulation.simulate(narrow, plan, board, model.ranges)(x)
    assert off(model(x), simulated) < 1e-5 < 1e-4 < off(whole, simulated)
    model.switch(choices)
    assert torch.equal(model(x), whole)


def test_a_budget_below_the_narrowest_format_is_kept_by_fewer_channels():
    with pytest.raises(PlanError, match="size<=3.0bits cannot be met"):
        searched(bits=BITS, epochs=1)
    answer, board, whole = joint(), targets.get("simulation"), toys.layers("residual")
    layers, menu = layers_of(answer.graph), {name: [pair] for name, pair in answer.choices.items()}
    most = BITS * sum(layer.weights for layer in whole) / (8 * 2**20)
    assert sum(row[answer.choices[name]] for name, row in size.table(layers, menu, board).items()) <= most * (1 + 1e-9)
    assert all(len({answer.choices[name] for name in tie}) == 1 for tie in ties_of(layers))
    assert len({step.share for step in answer.steps}) > 3 and len(answer.steps) == round(0.75 * 12)


def test_every_layer_says_what_it_keeps_and_has_it():
    answer, whole = joint(), {layer.name: layer for layer in toys.layers("residual")}
    assert list(answer.widths) == list(whole)
    for layer in layers_of(answer.graph):
        share, why = answer.widths[layer.name]
        assert layer.weight_shape[0] == -(-whole[layer.name].weight_shape[0] * share // 1)
        assert share in SHARES and ("probability" in why) == (layer.name != "head")
    assert answer.widths["head"] == (1.0, "the model's output")
    assert answer.widths["stem.0"] == answer.widths["two.0"]
    assert min(share for share, _ in answer.widths.values()) < 1


def test_ranges_are_those_of_the_narrow_graph():
    assert joint().ranges == calibration.ranges_of(
        joint().graph, list(joint().ranges.tensors), toys.batches(), "mse", False
    )


def test_a_seed_is_a_search_and_the_graph_that_was_given_is_left_alone():
    before = {name: value.clone() for name, value in toys.graph("residual").state_dict().items()}
    one, again = (searched(bits=BITS, epochs=1, widths=SHARES) for _ in range(2))
    assert (one.choices, one.widths, one.steps) == (again.choices, again.widths, again.steps)
    assert all(torch.equal(value, again.graph.state_dict()[name]) for name, value in one.graph.state_dict().items())
    assert all(torch.equal(value, toys.graph("residual").state_dict()[name]) for name, value in before.items())


def test_without_the_option_no_channel_is_looked_at(monkeypatch):
    for name in ("widths_of", "masks", "narrowed"):
        monkeypatch.delattr(widths, name)
    plain = searched(epochs=1)
    assert plain.widths == {} and layers_of(plain.graph) == toys.layers("residual")
    monkeypatch.undo()
    assert layers_of(joint().graph) != toys.layers("residual")
