"""Asymmetric feedback: nothing else than feedback where inputs are float, and nearer to float behind rounded ones."""

import functools

import pytest
import torch

from edge_mpq import quantizing
from edge_mpq.layers import layers_of
from edge_mpq.quantizers.affine import quantizer, weight_range
from edge_mpq.records import formats
from edge_mpq.records import plan as plans
from edge_mpq.records import target as targets
from edge_mpq.rounding import asymmetric, feedback
from tests import toys, trained_toys


def test_nothing_is_corrected_where_nothing_is_missed():
    draw = torch.Generator().manual_seed(0)
    rows, inputs = torch.randn(1, 6, 12, generator=draw), torch.randn(1, 12, 300, generator=draw)
    moment = inputs @ inputs.transpose(1, 2) / 300
    assert torch.equal(asymmetric.corrected(rows, moment, torch.zeros(1, 12, 12)), rows)


def test_a_correction_that_a_linear_layer_can_make_is_made():
    draw = torch.Generator().manual_seed(0)
    rows, inputs = torch.randn(1, 6, 12, generator=draw), torch.randn(1, 12, 300, generator=draw)
    read = 0.5 * inputs  # weights twice as large undo it
    moment = read @ read.transpose(1, 2) / 300
    missed = (inputs - read) @ read.transpose(1, 2) / 300
    assert torch.allclose(asymmetric.corrected(rows, moment, missed), 2 * rows, rtol=0.05, atol=0.05)


def test_a_first_layer_is_rounded_as_feedback_does():
    plan = toys.planned("residual", "simulation", "int4", "fp32")
    first, other = (
        quantizing.quantize(toys.graph("residual"), plan, toys.batches(), rounding=rule)[0]
        for rule in ("asymmetric", "feedback")
    )
    assert torch.equal(toys.weight(first, "stem.0"), toys.weight(other, "stem.0"))
    assert not torch.equal(toys.weight(first, "two.0"), toys.weight(other, "two.0"))


@functools.cache
def error(rule: str) -> float:
    """Of the trained toy's answers to held-out pictures, weights in three bits and activations in eight."""
    graph, board = trained_toys.unbalanced(), targets.get("cpu-x86-vnni")
    plan = plans.uniform(layers_of(graph), board, "int3", "int8")
    pictures = [trained_toys.labelled(64, seed=4000 + index)[0] for index in range(4)]
    model, _ = quantizing.quantize(graph, plan, pictures, rounding=rule)
    x = trained_toys.labelled(512, seed=9999)[0]
    with torch.no_grad():
        return (model(x) - graph(x)).square().mean().item()


def test_errors_of_earlier_layers_are_made_up_for():
    assert error("asymmetric") < error("feedback") < error("nearest")


@pytest.mark.parametrize("groups", [1, 4])
def test_groups_are_corrected_apart(groups):
    draw = torch.Generator().manual_seed(1)
    weight = torch.randn(8, 12, generator=draw)
    rows = weight.reshape(groups, 8 // groups, 12)
    moment = torch.eye(12).repeat(groups, 1, 1)
    missed = torch.randn(groups, 12, 12, generator=draw)
    whole = asymmetric.corrected(rows, moment, missed)
    apart = [asymmetric.corrected(rows[g : g + 1], moment[:1], missed[g : g + 1]) for g in range(groups)]
    assert torch.allclose(whole, torch.cat(apart), atol=1e-5)
    grid = quantizer(formats.get("int4"), *weight_range(weight, 0), True, 0)
    assert torch.isfinite(feedback.rounded(whole.reshape(8, 12), moment, grid, groups)).all()
