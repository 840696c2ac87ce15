"""Laws that every rounding rule keeps, present and future, and what error feedback wins where."""

import functools

import pytest
import torch
from torch import nn

from edge_mpq import graph as ir
from edge_mpq import hessians, rounding, simulation
from edge_mpq.errors import UsageError
from edge_mpq.progress import silent
from edge_mpq.quantizers.affine import quantizer, weight_range
from edge_mpq.reconstruction import Options
from edge_mpq.records import formats
from edge_mpq.rounding import feedback, learned
from tests import toys

every_rule = pytest.mark.parametrize("name", rounding.names())
every_kind = pytest.mark.parametrize("kind", ["residual", "transformer", "unet"])


# Rules that iterate stop early where a law is not about how good their answer is.
HASTY = {"learned": learned.Rule(Options(iterations=20))}


def rounded(name: str, kind: str, weight: str = "int4", hasty: bool = False) -> torch.fx.GraphModule:
    """The simulated graph of a toy after rule ``name``."""
    quantized = toys.simulated(kind, toys.planned(kind, "cpu-x86-vnni", weight))
    rule = HASTY.get(name) if hasty else None
    (rule or rounding.get(name)).apply(quantized, toys.graph(kind), toys.batches(), silent)
    return quantized


def weights(quantized: torch.fx.GraphModule) -> dict[str, torch.Tensor]:
    """layer -> the weight it computes with."""
    found = {}
    for layer in ir.weighted(quantized):
        grid = toys.weight_grid(quantized, layer)
        found[layer] = grid(toys.weight(quantized, layer)).detach()
    return found


@functools.cache
def moments(kind: str, seed: int = 0) -> dict[str, torch.Tensor]:
    """layer -> second moment of its inputs, on the calibration pictures or (another seed) on held-out ones."""
    layers = [layer.name for layer in toys.layers(kind) if layer.kind != "conv_transpose2d"]
    return hessians.second_moments(toys.graph(kind), layers, toys.batches(count=4, seed=seed))


def output_error(kind: str, layer: str, weight: torch.Tensor, seed: int = 0) -> float:
    """Mean squared error of a layer's output, on float inputs."""
    node = ir.weighted(toys.graph(kind))[layer][0]
    groups = hessians.groups_of(node)
    moved = hessians.rows_of(weight - ir.attribute(toys.graph(kind), layer_path(kind, layer)).detach(), groups)
    return (moved @ moments(kind, seed)[layer] * moved).sum().item()


def layer_path(kind: str, layer: str) -> str:
    return str(ir.weighted(toys.graph(kind))[layer][0].args[1].target)


def test_the_door_lists_the_rules():
    assert {"nearest", "feedback"} <= set(rounding.names())
    with pytest.raises(UsageError, match="choose one of .*feedback"):
        rounding.get("stochastic")


@every_rule
@every_kind
@pytest.mark.parametrize("weight", ["int8", "int4", "int2"])
def test_every_weight_is_a_point_of_its_own_grid(name, kind, weight):
    quantized = rounded(name, kind, weight, hasty=True)
    plain = toys.simulated(kind, toys.planned(kind, "cpu-x86-vnni", weight))
    for layer, value in weights(quantized).items():
        grid = toys.weight_grid(quantized, layer)
        assert torch.equal(grid.scale, toys.weight_grid(plain, layer).scale)
        codes = grid.integers(value)
        assert codes.abs().max() <= formats.get(weight).largest
        shape = [-1 if axis == grid.axis else 1 for axis in range(value.dim())]
        assert torch.equal(codes * grid.scale.view(shape), value)


@every_rule
def test_only_rounded_weights_move_and_the_float_graph_stays(name):
    before = {key: value.clone() for key, value in toys.graph("residual").state_dict().items()}
    plan = toys.planned("residual", "cpu-x86-vnni", "int4", stem__0=("fp32", "fp32"), two__0=("fp32", "fp32"))
    quantized = toys.simulated("residual", plan)
    HASTY.get(name, rounding.get(name)).apply(quantized, toys.graph("residual"), toys.batches(), silent)
    assert all(torch.equal(value, before[key]) for key, value in toys.graph("residual").state_dict().items())
    after = quantized.state_dict()
    stayed = [key for key in before if not key.endswith("weight") or key.startswith(("stem.0", "two.0"))]
    assert stayed and all(torch.equal(after[key], before[key]) for key in stayed)


@every_rule
@every_kind
def test_the_output_error_is_never_above_nearest_s(name, kind):
    nearest, chosen = weights(rounded("nearest", kind)), weights(rounded(name, kind))
    for layer in moments(kind):
        assert output_error(kind, layer, chosen[layer]) <= output_error(kind, layer, nearest[layer]) * 1.02


@every_rule
@torch.no_grad()
def test_weights_in_blocks_are_rounded_too_and_answers_come_nearer_than_with_nearest_s(name):
    plan, x = toys.planned("transformer", "simulation", "uint3b16", "fp32", patches=("fp32", "fp32")), toys.pictures(16)
    chosen, nearest = (toys.simulated("transformer", plan) for _ in range(2))
    rounding.get(name).apply(chosen, toys.graph("transformer"), x.split(8), silent)
    errors = [(quantized(x) - toys.graph("transformer")(x)).square().mean() for quantized in (chosen, nearest)]
    assert errors[0] == errors[1] if name == "nearest" else errors[0] < 0.9 * errors[1]


@every_rule
def test_the_same_pictures_give_the_same_weights(name):
    one, other = (weights(rounded(name, "residual", hasty=True)) for _ in range(2))
    assert all(torch.equal(one[layer], other[layer]) for layer in one)


# Error feedback.


@every_kind
def test_feedback_beats_nearest_at_four_bits_where_inputs_are_correlated_and_on_held_out_pictures_too(kind):
    nearest, chosen = weights(rounded("nearest", kind)), weights(rounded("feedback", kind))
    for seed in (0, 77):
        errors = [
            (output_error(kind, layer, chosen[layer], seed), output_error(kind, layer, nearest[layer], seed))
            for layer in moments(kind)
        ]
        assert sum(mine for mine, _ in errors) < 0.8 * sum(its for _, its in errors)
        assert sum(mine < its for mine, its in errors) >= 0.8 * len(errors)


def test_feedback_leaves_eight_bits_to_nearest():
    nearest, chosen = weights(rounded("nearest", "residual", "int8")), weights(rounded("feedback", "residual", "int8"))
    assert all(torch.equal(nearest[layer], chosen[layer]) for layer in nearest)


@pytest.mark.parametrize(("shape", "groups"), [((6, 20), 1), ((8, 3, 3, 3), 1), ((8, 2, 3, 3), 4)])
def test_feedback_is_nearest_where_inputs_are_not_correlated(shape, groups):
    weight = torch.randn(*shape, generator=torch.Generator().manual_seed(1))
    grid = quantizer(formats.get("int4"), *weight_range(weight, 0), True, 0)
    columns = weight[0].numel()
    white = torch.eye(columns).repeat(groups, 1, 1)
    assert torch.equal(feedback.rounded(weight, white, grid, groups), grid(weight))
    uneven = torch.diag(torch.linspace(0.1, 9, columns)).repeat(groups, 1, 1)
    assert torch.equal(feedback.rounded(weight, uneven, grid, groups), grid(weight))


def test_feedback_finds_weights_close_to_the_best_of_all():
    draw = torch.Generator().manual_seed(0)
    weight = torch.randn(20, 4, generator=draw)
    grid = quantizer(formats.get("int2"), *weight_range(weight, 0), True, 0)
    inputs = torch.randn(200, 1, generator=draw) + 0.3 * torch.randn(200, 4, generator=draw)
    moment = (inputs.T @ inputs / len(inputs))[None]
    every = torch.cartesian_prod(*[torch.tensor([-1.0, 0.0, 1.0])] * 4)  # all 81 rows there are

    def errors(candidates: torch.Tensor) -> torch.Tensor:
        moved = candidates - weight[:, None]
        return (moved @ moment[0] * moved).sum(-1)

    best = errors(every[None] * grid.scale.view(-1, 1, 1)).amin(1).sum()
    found = errors(feedback.rounded(weight, moment, grid)[:, None]).sum()
    assert best <= found <= 1.5 * best
    assert found < 0.7 * errors(grid(weight)[:, None]).sum()


def test_inputs_that_never_vary_are_no_fault():
    weight = torch.randn(3, 5, generator=torch.Generator().manual_seed(2))
    grid = quantizer(formats.get("int4"), *weight_range(weight, 0), True, 0)
    for moment in (torch.zeros(1, 5, 5), torch.ones(1, 5, 5), torch.diag(torch.tensor([1.0, 0, 0, 2, 0]))[None]):
        found = feedback.rounded(weight, moment, grid)
        assert torch.isfinite(found).all() and torch.allclose(grid(found), found)


# The second moments that feedback stands on.


def convolved(module: nn.Module) -> tuple[torch.fx.GraphModule, torch.fx.Node]:
    graph = simulation.prepared(module, toys.pictures(1))
    ((_, (node,)),) = ir.weighted(graph).items()
    return graph, node


@pytest.mark.parametrize(
    "module",
    [
        nn.Conv2d(3, 4, 3, bias=False),
        nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=False),
        nn.Conv2d(3, 4, (1, 3), padding=(0, 2), dilation=2, bias=False),
        nn.Conv2d(3, 6, 3, groups=3, bias=False),
        nn.Sequential(nn.Flatten(2), nn.Linear(256, 5, bias=False)),
    ],
    ids=["plain", "strided", "dilated", "depthwise", "linear"],
)
@torch.no_grad()
def test_a_second_moment_is_the_mean_square_of_the_output(module):
    graph, node = convolved(module)
    x = toys.pictures(6)
    moment = hessians.second_moments(graph, ir.weighted(graph), [x[:2], x[2:]])
    rows = hessians.rows_of(ir.attribute(graph, str(node.args[1].target)), hessians.groups_of(node))
    power = (rows @ next(iter(moment.values())) * rows).sum()
    output = graph(x)
    places = output.numel() / rows.shape[0] / rows.shape[1]
    assert power.item() == pytest.approx((output.square().sum() / places).item(), rel=1e-4)


@torch.no_grad()
def test_a_second_moment_is_over_every_application_of_a_layer():
    one, other = nn.Linear(16, 16), nn.Linear(16, 16)
    other.load_state_dict(one.state_dict())
    x = toys.pictures(6).mean(1)
    apart, shared = (simulation.prepared(nn.Sequential(one, nn.ReLU(), last), x) for last in (other, one))
    moments = hessians.second_moments(apart, ir.weighted(apart), [x[:2], x[2:]])
    (moment,) = hessians.second_moments(shared, ir.weighted(shared), [x[:2], x[2:]]).values()
    assert torch.allclose(moment, (moments["0"] + moments["2"]) / 2, rtol=1e-4, atol=1e-6)
