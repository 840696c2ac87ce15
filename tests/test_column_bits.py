"""Bits for blocks of inputs by salience: what is exchanged, what it costs, and where the bits go."""

import math

import pytest
import torch
from torch import nn

from edge_mpq import column_bits, salience, simulation
from edge_mpq import graph as ir
from edge_mpq.column_bits import FLOAT, alike, allocated, candidates, disturbance
from edge_mpq.quantizers import blocks

BLOCK = 16


def layer(outliers: int = 0, factor: float = 12.0, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A weight [24, 128], 256 inputs of it, their second moment; the first ``outliers`` inputs of the third block
    are ``factor`` times as large and their weights as much smaller, which leaves the outputs as they were."""
    draw = torch.Generator().manual_seed(seed)
    weight = torch.randn(24, 128, generator=draw)
    mixing = torch.eye(128) + 0.1 * torch.randn(128, 128, generator=draw)
    inputs = torch.randn(256, 128, generator=draw) @ mixing
    scale = torch.ones(128)
    scale[2 * BLOCK : 2 * BLOCK + outliers] = factor
    inputs, weight = inputs * scale, weight / scale
    return weight, inputs, (inputs.T @ inputs / len(inputs))[None]


@pytest.mark.parametrize(
    ("bits", "widths"),
    [(2, column_bits.WIDTHS), (3, column_bits.WIDTHS), (4, (2, 4, 8)), (4, (3, 4, 8)), (4, (2, 4, 5))],
)
@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 16])
def test_the_average_stays_for_every_exchange_and_all_alike_comes_first(bits, widths, count):
    worth = torch.rand(5, count * BLOCK, generator=torch.Generator().manual_seed(0))
    found = list(candidates(worth, bits, BLOCK, widths))
    assert found[0].is_like(alike(bits, count))
    assert all(one.mean(BLOCK) == bits for one in found)
    low, high = (max(w for w in widths if w < bits), min(w for w in widths if w > bits))
    assert all(set(one.bits.tolist()) <= {low, bits, high} for one in found)
    raised = [int((one.bits == high).sum()) for one in found]
    lowered = [int((one.bits == low).sum()) for one in found]
    assert raised == sorted(set(raised)) and all(
        up * (high - bits) == down * (bits - low) for up, down in zip(raised, lowered, strict=True)
    )
    # No block that could still be exchanged is left over.
    assert count - raised[-1] - lowered[-1] < (high - low) // math.gcd(high - bits, bits - low)


def test_the_least_salient_are_lowered_and_the_most_salient_raised():
    worth = torch.tensor([3.0, 1, 4, 2]).repeat_interleave(BLOCK)[None]
    once, twice = list(candidates(worth, 2, BLOCK))[1:]
    assert once.bits.tolist() == [2, 1, 3, 2] and twice.bits.tolist() == [3, 1, 3, 1]


def test_a_width_at_the_end_of_those_there_are_stays():
    worth = torch.rand(3, 4 * BLOCK)
    for bits, widths in ((8, column_bits.WIDTHS), (1, column_bits.WIDTHS), (2, (2, 4, 8))):
        (only,) = candidates(worth, bits, BLOCK, widths)
        assert only.is_like(alike(bits, 4))


@pytest.mark.parametrize("floats", [1, 2, 3])
def test_float_inputs_are_the_most_salient_and_paid_for(floats):
    worth = torch.rand(5, 8 * BLOCK, generator=torch.Generator().manual_seed(1))
    found = [one for one in candidates(worth, 3, BLOCK, floats=floats) if len(one.kept)]
    best = set(worth.mean(0).argsort(descending=True)[:floats].tolist())
    assert found and all(set(one.kept.tolist()) == best for one in found)
    assert all(3 - FLOAT / BLOCK / 8 < one.mean(BLOCK) <= 3 for one in found)
    grid = found[0].grid(torch.randn(5, 8 * BLOCK), False)
    assert sum(bits * count for bits, count in grid.columns().items()) / (8 * BLOCK) == found[0].mean(BLOCK)


def test_floats_that_nothing_can_pay_for_are_not_offered():
    assert not [one for one in candidates(torch.rand(5, 2 * BLOCK), 2, BLOCK, floats=2) if len(one.kept)]


@pytest.mark.parametrize("metric", column_bits.METRICS)
@pytest.mark.parametrize("outliers", [0, 4])
@pytest.mark.parametrize("symmetric", [True, False])
def test_the_choice_disturbs_no_more_than_all_alike(metric, outliers, symmetric):
    weight, inputs, moment = layer(outliers)
    choices = list(candidates(salience.of_weights(weight, moment), 2, BLOCK, floats=1))
    chosen = allocated(weight, inputs, choices, symmetric, metric)

    def error(columns: column_bits.Columns) -> float:
        return disturbance(inputs @ columns.grid(weight, symmetric)(weight).T, inputs @ weight.T, metric)

    assert error(chosen) <= error(alike(2, 8))
    assert error(chosen) == min(error(one) for one in choices)
    assert max(error(one) for one in choices) > error(chosen)  # there was something to lose


@torch.no_grad()
def test_the_inputs_of_a_layer_are_those_of_every_application():
    shared, inputs = nn.Linear(4, 4), torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(6))
    graph = simulation.prepared(nn.Sequential(shared, nn.Tanh(), shared), inputs)
    (seen,) = column_bits.inputs_seen(graph, ir.weighted(graph), [inputs]).values()
    read = torch.cat([inputs, shared(inputs).tanh()]).flatten(0, 1)
    assert torch.allclose(seen.sort(0).values, read.sort(0).values, atol=1e-6)


@pytest.mark.parametrize("metric", column_bits.METRICS)
def test_a_block_of_outlying_inputs_gets_a_wider_format(metric):
    weight, inputs, moment = layer(outliers=4)
    plain, before, _ = layer()
    worth = salience.of_weights(plain, moment)
    chosen = allocated(plain, inputs, candidates(worth, 2, BLOCK), False, metric)
    assert chosen.bits[2] == 3 and (chosen.bits == 1).any()
    # Where their weights are as much smaller, so that the function is what it was, every exchange raises them still.
    assert torch.allclose(inputs @ weight.T, before @ plain.T, atol=1e-3)
    _, *exchanges = candidates(salience.of_weights(weight, moment), 2, BLOCK)
    assert len(exchanges) == 4 and all(one.bits[2] == 3 for one in exchanges)


def test_only_the_inverse_formula_sees_what_larger_inputs_and_smaller_weights_do():
    """Hence it is the one by default: w^2 times a precision is the same for both, its square is not."""
    places = {}
    for formula in salience.FORMULAS:
        weight, _, moment = layer(outliers=4)
        worth = salience.of_weights(weight, moment, formula).reshape(24, -1, BLOCK).mean((0, 2))
        places[formula] = int(worth.argsort(descending=True).tolist().index(2))
    assert places["inverse"] == 0 < places["conditional"]


@pytest.mark.parametrize("formula", salience.FORMULAS)
def test_the_order_of_inputs_within_a_block_changes_no_bits(formula):
    (weight, _, _), (_, inputs, moment) = layer(), layer(outliers=4)
    draw = torch.Generator().manual_seed(3)
    within = torch.cat([BLOCK * block + torch.randperm(BLOCK, generator=draw) for block in range(8)])
    across = torch.arange(128).reshape(8, BLOCK).T.flatten()

    def bits(order: torch.Tensor) -> list[int]:
        worth = salience.of_weights(weight[:, order], moment[:, order][:, :, order], formula)
        return allocated(weight[:, order], inputs[:, order], candidates(worth, 2, BLOCK), False).bits.tolist()

    assert bits(within) == bits(torch.arange(128))
    if formula == "inverse":
        assert bits(across) != bits(torch.arange(128))


def test_inputs_that_never_vary_are_no_fault():
    weight = torch.randn(4, 2 * BLOCK)
    for formula in salience.FORMULAS:
        assert torch.isfinite(salience.of_weights(weight, torch.zeros(1, 32, 32), formula)).all()


def test_signs_are_what_one_bit_holds():
    weight = torch.randn(6, 2 * BLOCK, generator=torch.Generator().manual_seed(4))
    for symmetric in (True, False):
        grid = alike(1, 2).grid(weight, symmetric)
        mean = weight.reshape(6, 2, BLOCK).abs().mean(2).repeat_interleave(BLOCK, 1)
        assert torch.allclose(grid(weight), torch.where(weight < 0, -mean, mean))
        assert isinstance(grid, blocks.BlockQuantizer) and len(grid.integers(weight).unique()) == 2
