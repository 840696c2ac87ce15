"""Constant tokens: found where they are, answered in float, and out of sight of ranges and grids."""

import functools

import pytest
import torch
from torch import fx, nn

from apps.models.conditional_generator import Generator
from edge_mpq import graph as ir
from edge_mpq import simulation
from edge_mpq.calibration import ranges_of
from edge_mpq.errors import CalibrationError
from edge_mpq.layers import layers_of
from edge_mpq.partial import PartialRun
from edge_mpq.placement import every_tensor
from edge_mpq.quantizing import quantize
from edge_mpq.records import target as targets
from edge_mpq.records.plan import uniform
from edge_mpq.transforms import apply_all, constant_tokens
from tests import toys, trained_generator

CPU = targets.get("cpu-x86-vnni")
TO_K = "blocks.0.attn2.to_k"


@functools.cache
def generator(ratio: float) -> fx.GraphModule:
    """An untrained generator whose token 0 is ``ratio`` times as great as any word."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Generator().eval()
    return simulation.prepared(model.strengthen(ratio), inputs()[0])


@functools.cache
def inputs() -> list[torch.Tensor]:
    return trained_generator.calibration(2)


def bypassed(ratio: float) -> fx.GraphModule:
    return apply_all(["constant_tokens"], generator(ratio), inputs(), CPU)


def read(graph: fx.GraphModule, layer: str = TO_K) -> fx.Node:
    return ir.weighted(graph)[layer][0].args[0]


class Tokens(nn.Module):
    """8 tokens of 3x16 pixels each, ``places`` of them replaced by one vector, and what a linear writes of them."""

    def __init__(self, places: tuple[int, ...], size: float = 100.0) -> None:
        super().__init__()
        mask = torch.zeros(1, 8, 1)
        mask[:, list(places)] = 1.0
        self.mask, self.vector = nn.Buffer(mask), nn.Buffer(size * torch.linspace(-1, 1, 96))
        self.linear = nn.Linear(96, 12)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        tokens = pictures.flatten(1).unflatten(1, (8, 96))
        return self.linear(tokens * (1 - self.mask) + self.mask * self.vector)


def traced(*places: int, size: float = 100.0) -> fx.GraphModule:
    torch.manual_seed(0)
    return simulation.prepared(Tokens(places, size), toys.pictures(2))


def found(graph: fx.GraphModule, batches: list[torch.Tensor]) -> list[list[int]]:
    tensors = [nodes[0].args[0] for nodes in ir.weighted(graph).values()]
    return list(constant_tokens.constant_positions(graph, tensors, batches).values())


@pytest.mark.parametrize("places", [(0,), (7,), (3,), (0, 1), (2, 5), (0, 3, 4, 7)])
@torch.no_grad()
def test_tokens_anywhere_are_found_and_the_function_stays(places):
    graph = traced(*places)
    x = toys.pictures(5, seed=9)
    before = graph(x)
    assert found(graph, toys.batches()) == [list(places)]
    constant_tokens.apply(graph, toys.batches(), CPU)
    assert torch.allclose(graph(x), before, rtol=1e-5, atol=1e-4)
    value = read(graph, "linear").meta["val"]
    assert value.shape[1] == 8 - len(places) and ir.outputs(graph).meta["val"].shape[1] == 8
    code = graph.code
    constant_tokens.apply(graph, toys.batches(), CPU)
    assert graph.code == code


def test_what_varies_once_is_small_or_was_seen_once_is_no_constant_token():
    assert found(traced(), toys.batches()) == []
    graph = traced(0)
    assert found(graph, toys.batches()) == [[0]]
    assert found(graph, [toys.pictures(1)]) == []  # anything is constant in one sample
    assert found(traced(0, size=4 * float(torch.cat(toys.batches()).abs().max())), toys.batches()) == []
    batches = toys.batches()
    batches[-1][-1] *= 100.0  # one sample as great as the token
    assert found(graph, batches) == []
    assert found(traced(*range(8)), toys.batches()) == []  # learned queries: there is nothing beside them


def test_without_inputs_nothing_can_be_found():
    with pytest.raises(CalibrationError, match="constant tokens are found by what layers read"):
        constant_tokens.apply(generator(60.0))


@torch.no_grad()
def test_the_constant_token_is_answered_in_float_bit_for_bit_and_the_others_are_rounded():
    graph = bypassed(60.0)
    plan = uniform(layers_of(graph), CPU, "int8", "int8")._replace(transforms=("constant_tokens",))
    quantized, _ = quantize(graph, plan, inputs(), rounding="nearest")
    answers = []
    for model in (graph, quantized):
        run = PartialRun(model)
        run.run(inputs()[0])
        joined = next(user for user in ir.weighted(model)[TO_K][0].users if user.target in ir.CONCAT)
        answers.append(run.values[joined])
    kept, rounded = answers
    assert torch.equal(kept[:, 0], rounded[:, 0]) and not torch.equal(kept[:, 1:], rounded[:, 1:])
    run = PartialRun(generator(60.0))
    run.run(inputs()[0][:1])
    assert torch.equal(run.values[ir.weighted(generator(60.0))[TO_K][0]][0, 0], kept[0, 0])


def width(graph: fx.GraphModule) -> float:
    """The width of the range on which a reader of the tokens rounds them."""
    table = ranges_of(graph, every_tensor(graph), inputs())
    low, high = table.tensors[read(graph).name]
    return high - low


def test_the_range_of_the_others_does_not_know_how_great_the_token_is():
    widths = [width(bypassed(ratio)) for ratio in (10.0, 60.0, 600.0)]
    assert widths[0] == widths[1] == widths[2]
    naive = [width(generator(ratio)) for ratio in (10.0, 60.0, 600.0)]
    assert naive[1] > 5 * naive[0] and naive[2] > 9 * naive[1]


@torch.no_grad()
def test_the_others_gain_twenty_decibels_where_the_token_is_sixty_times_as_great():
    def decibels(graph: fx.GraphModule) -> float:
        plan = uniform(layers_of(graph), CPU, "int8", "int8")
        plan = plan._replace(transforms=graph.meta.get("transforms", ()))
        quantized, _ = quantize(graph, plan, inputs(), observer="minmax", rounding="nearest")
        values = []
        for model in (graph, quantized):
            run = PartialRun(model)
            run.run(inputs()[0])
            values.append(run.values[ir.weighted(model)[TO_K][0]][:, -7:])
        noise = (values[1] - values[0]).square().sum() / values[0].square().sum()
        return float(-10 * torch.log10(noise))

    assert decibels(bypassed(60.0)) > decibels(generator(60.0)) + 20
