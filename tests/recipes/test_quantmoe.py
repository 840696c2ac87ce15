"""What is peculiar to QuantMoE-Bench: what a trained mixture loses by which of its parts, and that routers stay."""

import functools

import pytest
import torch

from edge_mpq import graph as ir
from edge_mpq import menu as menus
from edge_mpq import presets, recipes, routing
from edge_mpq.evaluator import Evaluator
from edge_mpq.layers import layers_of
from edge_mpq.recipes import quantmoe
from edge_mpq.records import plan as plans
from edge_mpq.records import target as targets
from edge_mpq.records.ranges import RangeTable
from edge_mpq.residuals import cosines, residuals
from edge_mpq.roles import blocks, roles_of
from edge_mpq.simulation import weight_quantizer
from edge_mpq.training.block_predictor import ends, learn
from tests import toys, trained_language, trained_mixture

pytestmark = pytest.mark.slow  # a model is trained

BOARD = targets.get("simulation")
FORMATS = ["u4b32", "u2b32"]


@functools.cache
def known() -> presets.Model:
    graph = trained_mixture.graph()
    return presets.Model(graph, roles_of(graph), trained_language.calibration(4))


@functools.cache
def judge() -> Evaluator:
    batches = trained_language.batches("validation", 4)
    return Evaluator(trained_mixture.graph(), BOARD, RangeTable({}, "none", 0, ""), batches)


def divergence(groups: presets.Groups, bits: float = 4.0) -> float:
    """Of the answers from the float model's, with groups at four bits and the rest at two."""
    layers = layers_of(known().graph)
    menu = menus.menu_of(layers, BOARD, FORMATS, keep=["head"])
    made = presets.planned(known(), groups, BOARD, menu, presets.within(bits, layers))
    return judge()({name: choice[:2] for name, choice in made.choices.items()}).kl


@functools.cache
def nothing() -> float:
    return divergence([])


def test_attention_in_four_bits_wins_back_more_than_half_of_what_two_bits_lose():
    assert divergence([[name] for name in known().roles]) < 0.2 * nothing()
    assert divergence(presets.attn4(known())) < 0.5 * nothing()


def test_at_the_same_bits_frequent_experts_are_better_to_raise_than_rare_ones():
    loads = routing.loads(known().graph, known().roles, known().batches)
    rare = presets.by_rank(known(), {block: -load.frequency for block, load in loads.items()})
    first = presets.attn4(known()) + presets.shared4(known())
    assert divergence(first + presets.freq_topk(known()), 2.8) < divergence(first + rare, 2.8)


def test_the_block_that_turns_its_tokens_farthest_is_the_best_to_raise():
    losses = [divergence([group]) for group in presets.block_cos_k(known())]
    assert losses[0] == min(losses)
    assert losses[0] < 0.5 * losses[-1]


def test_a_predictor_of_the_cosine_beats_the_mean_on_tokens_held_back():
    experts = [block for block in residuals(known().graph) if len(block.layers) > 2]
    turned = cosines(known().graph, experts, known().batches)
    farthest = experts[turned.index(min(turned))]
    ((tokens, cosine),) = ends(known().graph, [farthest], known().batches)
    found = learn(tokens, cosine, epochs=20)
    assert found.error < found.variance
    assert found.predictor(tokens).mean().item() == pytest.approx(min(turned), abs=0.1)


@functools.cache
def outcome(*rules: str) -> recipes.Outcome:
    calibration = trained_language.calibration(2)
    graph = trained_mixture.graph()
    task = recipes.Task(graph, calibration[0][:1], calibration, [], None, BOARD, "size<=3bits", FORMATS)
    return quantmoe.run(task, presets=rules)


@pytest.mark.parametrize("rules", [(), ("attn4", "shared4", "freq_topk")])
def test_routers_are_untouched_bit_for_bit_all_else_is_rounded_and_the_budget_holds(rules):
    found = outcome(*rules)
    layers = layers_of(found.graph)
    assert plans.weight_bits(found.plan, layers) <= 3 + 1e-9
    assert {choice.weight for choice in found.plan.choices.values()} == {"fp32", "uint4b32", "uint2b32"}
    for name, role in known().roles.items():
        grid, weight = weight_quantizer(found.quantized, name), toys.weight(found.quantized, name)
        path = str(ir.weighted(found.graph)[name][0].args[1].target)
        if role.kind == "router":
            assert grid is None and torch.equal(weight, ir.attribute(trained_mixture.graph(), path))
        else:
            assert grid is not None and torch.allclose(grid(weight), weight, atol=1e-6)


def test_what_it_plans_beats_two_bits_for_all():
    assert judge().of(outcome().quantized).kl < 0.5 * nothing()


def test_every_layer_but_the_head_belongs_to_a_block():
    assert sum(map(len, blocks(known().roles))) == len(known().roles) - len(known().named("router")) - 1
