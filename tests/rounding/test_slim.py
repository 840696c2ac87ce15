"""SliM-LLM's rounding: feedback on mixed grids, what a layer keeps, and clipping that is learned."""

import functools

import pytest
import torch

from apps.models.gpt import GPT
from edge_mpq import calibration, column_bits, placement, simulation
from edge_mpq import graph as ir
from edge_mpq.column_bits import Columns
from edge_mpq.errors import UsageError
from edge_mpq.layers import layers_of
from edge_mpq.likelihood import classes
from edge_mpq.progress import silent
from edge_mpq.quantizers import blocks
from edge_mpq.reconstruction.clipping import ClippedWeight
from edge_mpq.records import plan as plans
from edge_mpq.records import target as targets
from edge_mpq.rounding import feedback, learned_clipping, nearest, slim
from edge_mpq.rounding.slim import Options

EVERYTHING = targets.get("simulation")
MIXED = Columns(torch.tensor([1, 2, 3, 2], dtype=torch.int32), torch.tensor([7, 40]))


def tokens(seed: int) -> torch.Tensor:
    return torch.randint(40, (6, 12), generator=torch.Generator().manual_seed(seed))


@functools.cache
def graph() -> torch.fx.GraphModule:
    """A small GPT that has learned nothing; its head is made to say something."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = GPT(40, 12, dim=64, depth=1, heads=4)
        for parameter in model.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.15)
    return simulation.prepared(model, tokens(0))


def batches() -> list[torch.Tensor]:
    return [tokens(1), tokens(2)]


def rounded(rule, form: str = "uint2b16") -> torch.fx.GraphModule:
    given = graph()
    ranges = calibration.ranges_of(given, placement.every_tensor(given), batches())
    plan = plans.uniform(layers_of(given), EVERYTHING, form, "fp32")
    quantized = simulation.simulate(given, plan, EVERYTHING, ranges)
    rule.apply(quantized, given, batches(), silent)
    return quantized


@torch.no_grad()
def divergence(quantized: torch.fx.GraphModule) -> float:
    """From the float model, on the batches that the rule saw."""
    total = 0.0
    for batch in batches():
        mine, its = (classes(model(batch)).log_softmax(1) for model in (quantized, graph()))
        total += torch.nn.functional.kl_div(mine, its, reduction="sum", log_target=True).item()
    return total


@functools.cache
def kl_of(name: str) -> float:
    rules = {
        "nearest": nearest,
        "feedback": feedback,
        "slim": slim,
        "unguarded": slim.Rule(Options(guarded=False)),
        "learned": learned_clipping.Rule(2),
        "learned, bits alike": learned_clipping.Rule(2, Options(allocates=False)),
    }
    return divergence(rounded(rules[name]))


# Feedback where widths differ by block.


@pytest.mark.parametrize("symmetric", [True, False])
def test_feedback_is_nearest_where_inputs_are_not_correlated(symmetric):
    weight = torch.randn(6, 64, generator=torch.Generator().manual_seed(0))
    grid = MIXED.grid(weight, symmetric)
    assert torch.equal(feedback.rounded(weight, torch.eye(64)[None], grid), grid(weight))
    inputs = torch.randn(200, 64) + torch.randn(200, 1)
    assert not torch.equal(feedback.rounded(weight, (inputs.T @ inputs)[None], grid), grid(weight))


@pytest.mark.parametrize("symmetric", [True, False])
def test_what_feedback_gives_lies_on_the_grid_and_float_inputs_make_up_for_more(symmetric):
    draw = torch.Generator().manual_seed(1)
    weight = torch.randn(6, 64, generator=draw)
    inputs = torch.randn(300, 64, generator=draw) + torch.randn(300, 1, generator=draw)
    moment = (inputs.T @ inputs / 300)[None]
    grid = MIXED.grid(weight, symmetric)
    found = feedback.rounded(weight, moment, grid)
    assert torch.equal(grid(found), found)
    codes = grid.integers(found).float() - grid.zero.repeat_interleave(16, 1)
    stored = codes * grid.scale.repeat_interleave(16, 1)
    assert torch.equal(torch.where(grid.stays(), found, stored), found) and not stored[:, MIXED.kept].any()
    left = torch.where(grid.stays(), weight, found)  # float inputs that make up for nothing

    def error(rows: torch.Tensor) -> torch.Tensor:
        return ((rows - weight) @ moment[0] * (rows - weight)).sum()

    assert error(found) < error(left)


# What a layer keeps.


def test_guarded_it_is_never_further_from_the_float_answers_than_feedback_alone():
    assert kl_of("slim") <= kl_of("feedback") < kl_of("nearest")
    assert kl_of("slim") <= kl_of("unguarded")  # the last of the choices that a layer has


def test_bits_differ_within_layers_and_the_average_is_the_format_s():
    quantized = rounded(slim.Rule(Options(clips=False, guarded=False)), "int2b16")
    grids = slim.in_blocks(quantized, ir.weighted(quantized))
    assert all(grid.bits.float().mean() == 2 for grid in grids.values())
    assert any(len(grid.columns()) > 1 for grid in grids.values())
    for name, grid in grids.items():
        weight = ir.attribute(quantized, name + ".weight").detach()
        assert torch.equal(grid(weight), weight)


def test_widths_that_a_runtime_stores_and_float_inputs_are_kept_to():
    quantized = rounded(slim.Rule(Options(widths=(2, 4, 8), guarded=False, clips=False, floats=0.02)), "int4b16")
    grids = slim.in_blocks(quantized, ir.weighted(quantized)).values()
    assert {int(bits) for grid in grids for bits in grid.bits} <= {2, 4, 8}
    for grid in grids:
        spent = sum(bits * count for bits, count in grid.columns().items()) / (grid.scale.shape[1] * 16)
        assert spent <= 4 and (spent == 4 or len(grid.kept))


def test_unknown_options_are_named_together():
    with pytest.raises(UsageError, match="metric 'psnr'.*formula 'exact'.*floats 2.*widths"):
        slim.checked(Options(metric="psnr", formula="exact", floats=2.0, widths=(2, 9)))


# Learned clipping.


@pytest.mark.parametrize("symmetric", [True, False])
def test_a_learner_rounds_as_the_grid_it_gives_does(symmetric):
    weight = torch.randn(6, 64, generator=torch.Generator().manual_seed(2))
    learner = ClippedWeight(weight, MIXED.grid(weight, symmetric))
    learner.reach.data += 0.5 * torch.randn(learner.reach.shape, generator=torch.Generator().manual_seed(3))
    now = learner()
    assert torch.allclose(now, learner.grid()(weight), atol=1e-6)
    assert torch.equal(now[:, MIXED.kept], weight[:, MIXED.kept])
    now.square().sum().backward()
    moved = learner.reach.grad.abs().sum(1)
    assert (moved[1] > 0).all() and ((moved[0] > 0) == torch.tensor([False, True, True, True])).all()


def test_learned_ends_beat_those_of_min_and_max():
    assert max(kl_of("learned, bits alike"), kl_of("learned")) < kl_of("nearest")
    assert isinstance(slim.in_blocks(rounded(learned_clipping.Rule(1)), ["lm_head"])["lm_head"], blocks.BlockQuantizer)


def test_inputs_are_seen_as_the_layer_reads_them():
    seen = column_bits.inputs_seen(graph(), ["lm_head"], batches())["lm_head"]
    assert seen.shape == (144, 64)
    weight = ir.attribute(graph(), "lm_head.weight")
    with torch.no_grad():
        answers = torch.cat([graph()(batch) for batch in batches()]).transpose(1, 2).reshape(144, 40)
    assert torch.allclose((seen @ weight.T).sum(0), answers.sum(0), atol=1e-3)
