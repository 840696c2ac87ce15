"""Routing: who gets which tokens, and that experts are rounded and scored on those alone."""

import pytest
import torch

from edge_mpq import graph as ir
from edge_mpq import hessians, routing
from edge_mpq import menu as menus
from edge_mpq.errors import CalibrationError
from edge_mpq.layers import layers_of
from edge_mpq.partial import PartialRun
from edge_mpq.progress import silent
from edge_mpq.records import target as targets
from edge_mpq.records.plan import uniform
from edge_mpq.records.ranges import RangeTable
from edge_mpq.roles import roles_of
from edge_mpq.rounding import feedback
from edge_mpq.sensitivity import expert_frequency
from edge_mpq.simulation import simulate
from tests import toys, trained_mixture

BOARD, NONE = targets.get("simulation"), RangeTable({}, "none", 0, "")


def test_every_token_is_sent_to_as_many_experts_as_the_model_says():
    graph = trained_mixture.small()
    texts = trained_mixture.tokens()
    loads = routing.loads(graph, roles_of(graph), texts.split(4))
    assert list(loads) == [0, 1]
    for load in loads.values():
        assert load.tokens == texts.numel()
        assert load.frequency.sum() == pytest.approx(2)
        assert ((load.weight > 0) == (load.frequency > 0)).all() and load.weight.max() <= 1


def test_a_router_with_favourites_sends_them_everything():
    graph = trained_mixture.biased({1: [2, 0]})
    loads = routing.loads(graph, roles_of(graph), [trained_mixture.tokens()])
    assert loads[1].frequency.tolist() == [1, 0, 1, 0]
    assert loads[1].weight[2] > loads[1].weight[0] > loads[1].weight[1] == 0
    assert loads[0].frequency.max() < 1


@torch.no_grad()
def test_the_tokens_of_an_expert_are_those_it_counts_for_in_the_model():
    graph = trained_mixture.small()
    run = PartialRun(graph)
    run.run(trained_mixture.tokens())
    sent = routing.sent(graph)
    (last,) = ir.weighted(graph)["blocks.1.mlp.experts.3.down"]
    (product,) = last.users
    rows = sent["blocks.1.mlp.experts.3.down"].rows(run.values)
    assert 0 < rows.sum() < len(rows)
    assert torch.equal(run.values[product].flatten(0, 1).abs().sum(1) > 0, rows)


def test_a_dense_model_sends_nothing_and_no_text_is_told():
    assert routing.sent(toys.graph("transformer")) == {}
    graph = trained_mixture.small()
    with pytest.raises(CalibrationError, match="no calibration text"):
        routing.loads(graph, roles_of(graph), [])


@torch.no_grad()
def test_second_moments_of_an_expert_are_of_its_tokens_and_white_where_they_are_few():
    graph = trained_mixture.biased({1: [2, 0]})
    texts = trained_mixture.tokens()
    names = [f"blocks.1.mlp.{part}.up" for part in ("shared", "experts.2", "experts.1")]
    found = hessians.second_moments(graph, names, [texts])
    assert torch.allclose(found[names[1]], found[names[0]])  # it is sent every token
    assert torch.equal(found[names[2]][0], torch.eye(32))
    some = hessians.second_moments(trained_mixture.small(), names, [texts])
    assert not torch.allclose(some[names[1]], some[names[0]])
    few = hessians.second_moments(graph, names, [texts[:3]])  # 48 tokens for 32 rows
    assert torch.equal(few[names[1]][0], torch.eye(32)) and not torch.equal(few[names[0]][0], torch.eye(32))


def test_feedback_rounds_an_expert_of_few_tokens_to_nearest_and_others_not():
    graph = trained_mixture.biased({1: [2, 0]})
    plan = uniform(layers_of(graph), BOARD, "int4b32", "fp32")
    nearest, chosen = simulate(graph, plan, BOARD, NONE), simulate(graph, plan, BOARD, NONE)
    feedback.apply(chosen, graph, [trained_mixture.tokens()], silent)

    def same(layer: str) -> bool:
        one, other = (toys.weight_grid(model, layer)(toys.weight(model, layer)) for model in (nearest, chosen))
        return torch.equal(one, other)

    assert same("blocks.1.mlp.experts.1.up") and same("blocks.1.mlp.experts.3.down")
    assert not same("blocks.1.mlp.experts.2.up") and not same("blocks.1.mlp.shared.up")


def test_experts_that_get_no_token_harm_nothing_and_favourites_most():
    graph = trained_mixture.biased({1: [2, 0]})
    menu = menus.menu_of(layers_of(graph), BOARD, ["fp32", "w2b32"])

    def harm(**options: float) -> list[float]:
        table = expert_frequency.scores(graph, menu, [trained_mixture.tokens()], NONE, BOARD, silent, **options)
        return [table[f"blocks.1.mlp.experts.{expert}.up"]["int2b32", "fp32"] for expert in range(4)]

    weighed, counted = harm(), harm(beta=0)
    assert weighed[1] == weighed[3] == 0 < weighed[0] < weighed[2]
    assert weighed[2] < counted[2]
