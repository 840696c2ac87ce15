"""After bias correction, every rounded layer writes what the float layer writes, on the mean."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from edge_mpq import bias_correction, simulation
from edge_mpq import graph as ir
from edge_mpq.calibration import ranges_of
from edge_mpq.layers import layers_of
from edge_mpq.partial import PartialRun
from edge_mpq.placement import every_tensor
from edge_mpq.records import plan as plans
from edge_mpq.records import target as targets
from tests import toys
from tests.test_graph import InPlace

every_toy = pytest.mark.parametrize("kind", toys.KINDS)


def means(graph: torch.fx.GraphModule, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """weighted node -> the mean of each channel it writes."""
    run = PartialRun(graph)
    run.run(x)
    found = {}
    for nodes in ir.weighted(graph).values():
        for node in nodes:
            value = run.values[node]
            channel = value.dim() - 1 if ir.WEIGHTED[node.target] == "linear" else 1
            found[node.name] = value.mean([axis for axis in range(value.dim()) if axis != channel])
    return found


def shift(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    return max((one[name] - other[name]).abs().max().item() for name in one)


def rounded(model: nn.Module, weight: str = "int2") -> tuple[torch.fx.GraphModule, torch.fx.GraphModule]:
    """(float, quantized) graph of a model with all its weights at ``weight``."""
    graph = simulation.prepared(model, toys.pictures(1))
    board = targets.get("cpu-x86-vnni")
    table = ranges_of(graph, every_tensor(graph), toys.batches())
    return graph, simulation.simulate(graph, plans.uniform(layers_of(graph), board, weight, "int8"), board, table)


@every_toy
@torch.no_grad()
def test_channel_means_are_the_float_ones_on_a_batch(kind):
    plan, x = toys.planned(kind, "cpu-x86-vnni", "int2"), toys.pictures(16)
    quantized = toys.simulated(kind, plan)
    wanted = means(toys.graph(kind), x)
    before = shift(means(quantized, x), wanted)
    bias_correction.correct(quantized, toys.graph(kind), [x])
    assert shift(means(quantized, x), wanted) < 1e-4 < before


@every_toy
@torch.no_grad()
def test_over_several_batches_and_on_held_out_pictures_the_shift_shrinks(kind):
    quantized = toys.simulated(kind, toys.planned(kind, "cpu-x86-vnni", "int2"))
    held_out = toys.pictures(64, seed=50)
    wanted = means(toys.graph(kind), held_out)
    before = shift(means(quantized, held_out), wanted)
    bias_correction.correct(quantized, toys.graph(kind), toys.batches(count=8))
    assert shift(means(quantized, held_out), wanted) < 0.5 * before


@torch.no_grad()
def test_batches_count_by_their_pictures():
    x = toys.pictures(12)
    one, other = (toys.simulated("residual", toys.planned("residual", "cpu-x86-vnni", "int2")) for _ in range(2))
    bias_correction.correct(one, toys.graph("residual"), [x[:4], x[4:8], x[8:]])
    bias_correction.correct(other, toys.graph("residual"), [x[:4], (x[4:], torch.zeros(8))])
    # The first layer reads floats: its shift is a plain mean, whichever way it is split.
    assert torch.allclose(ir.attribute(one, "stem.0.bias"), ir.attribute(other, "stem.0.bias"), atol=1e-6)


@torch.no_grad()
def test_models_that_work_in_place_are_corrected_like_others():
    graph, quantized = rounded(InPlace())
    x = toys.pictures(16)
    bias_correction.correct(quantized, graph, [x])
    assert shift(means(quantized, x), means(graph, x)) < 1e-4


class Twice(nn.Module):
    """One layer applied twice."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return self.shared(functional.relu(self.shared(pictures)))


@torch.no_grad()
def test_a_shared_bias_takes_the_mean_of_what_its_applications_want():
    torch.manual_seed(0)
    graph, quantized = rounded(Twice())
    x = toys.pictures(16)
    wanted = means(graph, x)

    def power() -> float:
        found = means(quantized, x)
        return sum((found[name] - wanted[name]).square().sum().item() for name in wanted)

    before = power()
    bias_correction.correct(quantized, graph, [x])
    # One bias cannot undo two shifts, but the mean of both halves them; their sum would undo nothing.
    assert power() < 0.25 * before


@torch.no_grad()
def test_float_layers_and_layers_without_bias_are_left_alone():
    graph = simulation.prepared(nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.Conv2d(4, 4, 1)), toys.pictures(1))
    board = targets.get("cpu-x86-vnni")
    plan = plans.uniform(layers_of(graph), board, "int2", "int8")
    plan = plan._replace(choices={**plan.choices, "1": plans.Choice("fp32", "fp32")})
    quantized = simulation.simulate(graph, plan, board, ranges_of(graph, every_tensor(graph), toys.batches()))
    before = {name: value.clone() for name, value in quantized.state_dict().items()}
    bias_correction.correct(quantized, graph, toys.batches())
    assert all(torch.equal(value, before[name]) for name, value in quantized.state_dict().items())
    assert set(quantized.state_dict()) == set(before)


@torch.no_grad()
def test_the_float_graph_is_only_read():
    before = {name: value.clone() for name, value in toys.graph("residual").state_dict().items()}
    quantized = toys.simulated("residual", toys.planned("residual", "cpu-x86-vnni", "int2"))
    bias_correction.correct(quantized, toys.graph("residual"), toys.batches())
    assert all(torch.equal(value, before[name]) for name, value in toys.graph("residual").state_dict().items())
