"""The fake-quantized graph: it rounds what the plan says, on the grids that export will read, and nothing else."""

from typing import Any

import pytest
import torch
from torch import fx, nn

from edge_mpq import graph as ir
from edge_mpq import placement, quantizing, simulation
from edge_mpq.errors import PlanError
from edge_mpq.layers import layers_of
from edge_mpq.quantizers.affine import AffineQuantizer, weight_range
from edge_mpq.records import plan as plans
from edge_mpq.records import target as targets
from edge_mpq.records.plan import Choice
from edge_mpq.records.ranges import RangeTable
from tests import toys

every_toy = pytest.mark.parametrize("kind", toys.KINDS)
every_board = pytest.mark.parametrize("board", ["cpu-x86-vnni", "jetson-orin-nano", "simulation"])
UINT8, INT8 = "cpu-x86-vnni", "jetson-orin-nano"


@every_toy
@every_board
@torch.no_grad()
def test_a_plan_of_float32_is_the_identity_bit_for_bit(kind, board):
    plan, x = toys.planned(kind, board, "fp32", "fp32"), toys.pictures(5, seed=3)
    quantized = toys.simulated(kind, plan)
    assert torch.equal(quantized(x), toys.graph(kind)(x))
    assert [node.op for node in quantized.graph.nodes] == [node.op for node in toys.graph(kind).graph.nodes]


@every_toy
@every_board
@torch.no_grad()
def test_fewer_bits_move_the_answer_further(kind, board):
    x = toys.pictures(32, seed=3)
    widths = ["int8"] if board == INT8 else ["int8", "int4", "int2"]
    moved = [
        (toys.simulated(kind, toys.planned(kind, board, width))(x) - toys.graph(kind)(x)).square().mean().item()
        for width in widths
    ]
    assert 0 < moved[0] < 0.05 * toys.graph(kind)(x).var().item()
    assert moved == sorted(moved)


class Seen(fx.Interpreter):
    """Every value of a run by the name of its node."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph)
        self.values: dict[str, torch.Tensor] = {}

    def run_node(self, node: fx.Node) -> object:
        self.values[node.name] = super().run_node(node)
        return self.values[node.name]


@every_toy
@pytest.mark.parametrize("board", [UINT8, INT8])
@torch.no_grad()
def test_every_point_is_rounded_for_its_readers_and_for_nobody_else(kind, board):
    target, plan = targets.get(board), toys.planned(kind, board)
    quantized = toys.simulated(kind, plan)
    seen = Seen(quantized)
    seen.run(toys.pictures(3, seed=3))
    nodes = {node.name: node for node in quantized.graph.nodes}
    points = placement.points_of(toys.graph(kind), plan, target.scheme)
    assert len(points) == sum(1 for _ in quantized.get_submodule(simulation.ACTIVATIONS).children())
    for point in points:
        grid = toys.tensor_grid(quantized, point.tensor)
        (rounded,) = [user for user in nodes[point.tensor].users if user.op == "call_module"]
        assert torch.equal(seen.values[rounded.name], grid(seen.values[point.tensor]))
        assert (grid.bits, grid.symmetric, grid.axis) == (8, target.scheme.activation == "int8", None)
        others = {user.name for user in nodes[point.tensor].users} - {rounded.name}
        assert not others if not point.readers else not others & set(point.readers)
        assert {user.name for user in rounded.users} >= set(point.readers)


@every_toy
def test_ranges_span_the_grids_and_points_of_a_group_have_one(kind):
    plan, table = toys.planned(kind, UINT8), toys.ranges(kind)
    quantized = toys.simulated(kind, plan)
    groups: dict[str, list[placement.Point]] = {}
    for point in placement.points_of(toys.graph(kind), plan, targets.get(UINT8).scheme):
        groups.setdefault(point.group, []).append(point)
    for group in groups.values():
        low = min(0.0, *(table.tensors[point.tensor][0] for point in group))
        high = max(0.0, *(table.tensors[point.tensor][1] for point in group))
        for point in group:
            grid = toys.tensor_grid(quantized, point.tensor)
            assert grid.scale.item() == pytest.approx((high - low) / 255, rel=1e-5)
            assert grid.zero.item() == round(-low / grid.scale.item())


def test_a_group_spans_the_union_of_its_ranges():
    points = [placement.Point(name, (), "a", "int8") for name in "abc"]
    table = RangeTable({"a": (-1.0, 0.5), "b": (-4.0, 0.0), "c": (0.0, 6.0)}, "minmax", 1)
    grid: Any
    for _, grid in simulation.activation_quantizers(points, targets.get(UINT8), table):
        assert (grid.scale.item(), grid.zero.item()) == (pytest.approx(10 / 255), 102)
    for _, grid in simulation.activation_quantizers(points, targets.get(INT8), table):
        assert (grid.scale.item(), grid.zero.item()) == (pytest.approx(6 / 127), 0)


@every_toy
def test_weights_are_rounded_per_output_channel_over_their_own_range(kind):
    quantized = toys.simulated(kind, toys.planned(kind, UINT8, "int4"))
    for layer in toys.layers(kind):
        grid = toys.weight_grid(quantized, layer.name)
        axis = 1 if layer.kind == "conv_transpose2d" else 0
        low, high = weight_range(toys.weight(quantized, layer.name), axis)
        assert (grid.axis, grid.bits, grid.symmetric) == (axis, 4, True)
        assert torch.allclose(grid.scale, torch.maximum(-low, high) / 7)


def test_layers_that_stay_float_have_no_quantizer():
    plan = toys.planned("residual", UINT8, stem__0=("fp32", "fp32"), two__0=("fp32", "fp32"))
    quantized = toys.simulated("residual", plan)
    assert simulation.weight_quantizer(quantized, "stem.0") is None
    assert simulation.weight_quantizer(quantized, "one.0") is not None


@torch.no_grad()
def test_half_precision_boards_compute_with_halves():
    plan = toys.planned("residual", "jetson-nano", "fp16", "fp16")
    quantized, x = toys.simulated("residual", plan), toys.pictures(4)
    seen = Seen(quantized)
    seen.run(x)
    for layer, nodes in ir.weighted(quantized).items():
        weight = ir.attribute(quantized, f"{layer}.weight")
        for argument, value in ((nodes[0].args[1], weight), (nodes[0].args[0], None)):
            computed = seen.values[argument.name]
            assert torch.equal(computed, computed.half().float())
            assert value is None or torch.equal(computed, value.half().float())


@torch.no_grad()
def test_the_graph_it_was_made_from_is_left_alone():
    graph = toys.copied(toys.graph("residual"))
    before = {name: value.clone() for name, value in graph.state_dict().items()}
    plan, target = toys.planned("residual", UINT8, "int2"), targets.get(UINT8)
    one, other = (simulation.simulate(graph, plan, target, toys.ranges("residual")) for _ in range(2))
    ir.set_parameter(one, "stem.0.weight", torch.zeros(8, 3, 3, 3))
    assert set(graph.state_dict()) == set(before)
    assert all(torch.equal(value, before[name]) for name, value in graph.state_dict().items())
    assert ir.attribute(other, "stem.0.weight").abs().max() > 0


def held(*graphs: fx.GraphModule) -> int:
    """Bytes of all tensors of ``graphs``, each counted once."""
    tensors = {value.data_ptr(): value for graph in graphs for value in (*graph.parameters(), *graph.buffers())}
    return sum(value.numel() * value.element_size() for value in tensors.values())


@every_toy
def test_a_simulation_holds_grids_and_no_second_model(kind):
    graph = toys.copied(toys.graph(kind))
    quantized = simulation.simulate(graph, toys.planned(kind, UINT8), targets.get(UINT8), toys.ranges(kind))
    grids = [value for name in (simulation.WEIGHTS, simulation.ACTIVATIONS)
             for value in quantized.get_submodule(name).buffers()]  # fmt: skip
    alone = sum(value.numel() * value.element_size() for value in grids)
    assert held(graph, quantized) == held(graph) + alone
    layer = toys.layers(kind)[0]
    ir.set_parameter(quantized, f"{layer.name}.weight", toys.weight(quantized, layer.name) + 1)
    assert held(graph, quantized) == held(graph) + alone + 4 * layer.weights
    assert held(graph, ir.copied(graph)) == 2 * held(graph)  # what it would be without


def test_a_missing_range_is_told_with_the_tensor():
    table = toys.ranges("residual")
    torn = table._replace(tensors={name: ends for name, ends in table.tensors.items() if not name.startswith("relu_")})
    with pytest.raises(PlanError, match=r"no range for 9 tensors .*relu_1, relu_2.*calibrate again"):
        simulation.simulate(toys.graph("residual"), toys.planned("residual", UINT8), targets.get(UINT8), torn)


def test_preparing_twice_is_preparing_once():
    graph = toys.graph("residual")
    assert simulation.prepared(graph, toys.pictures(1)) is graph
    assert not any(node.target in ir.BATCH_NORM for node in graph.graph.nodes)


# Biases, which integer kernels store as int32 in units of input scale x weight scale.


@pytest.mark.parametrize("weight", [0.0, 1e-12, 1e-9])
@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("kind", [nn.Conv2d, nn.ConvTranspose2d])
@torch.no_grad()
def test_the_bias_of_a_dead_channel_fits_its_code(kind, groups, weight):
    first = kind(3, 6, 1, groups=groups)
    axis = simulation.weight_axis("conv_transpose2d" if kind is nn.ConvTranspose2d else "conv2d")
    first.weight.select(axis, first.weight.shape[axis] - 1).fill_(weight)  # the last channel of every group
    first.bias.fill_(0.01)[5] = 50.0
    graph = simulation.prepared(nn.Sequential(first, nn.ReLU(), nn.Conv2d(6, 2, 1)), toys.pictures(1))
    plan = plans.uniform(layers_of(graph), targets.get(UINT8), "int8", "int8")
    quantized, _ = quantizing.quantize(graph, plan, toys.batches())
    read = ir.weighted(quantized)["0"][0].args[0]
    grid: Any = quantized.get_submodule(str(read.target))
    step = grid.scale * toys.weight_grid(quantized, "0").scale
    bias = ir.attribute(quantized, "0.bias")
    assert (bias / step.repeat(6 // len(step))).abs().max() < 2**31
    assert bias[5].item() == pytest.approx(50.0, rel=1e-3)


@every_toy
@torch.no_grad()
def test_biases_lie_on_the_grid_of_the_integer_kernels(kind):
    plan = toys.planned(kind, UINT8, "int4")
    quantized, _ = quantizing.quantize(toys.graph(kind), plan, toys.batches(), ranges=toys.ranges(kind))
    for layer, nodes in ir.weighted(quantized).items():
        read: Any = quantized.get_submodule(str(nodes[0].args[0].target))
        step = read.scale * toys.weight_grid(quantized, layer).scale
        bias = ir.tensor_argument(quantized, nodes[0], 2)
        assert bias is not None
        codes = bias / step.repeat(len(bias) // len(step))
        assert (codes - codes.round()).abs().max() <= 1e-6 * codes.abs().max() + 1e-3


def test_float_formats_beside_integers_are_no_fault():
    plan = toys.planned("residual", "simulation", "int8", "fp32", one__0=("fp8", "fp8"), down__0=("bf16", "bf16"))
    mixed = {"stem.0": Choice("fp16", "fp16"), "two.0": Choice("fp16", "fp16"), "left.0": Choice("fp4", "int8")}
    plan = plan._replace(choices={**plan.choices, **mixed, "right.0": mixed["left.0"]})
    quantized, _ = quantizing.quantize(toys.graph("residual"), plan, toys.batches(), ranges=toys.ranges("residual"))
    assert torch.isfinite(quantized(toys.pictures(2))).all()
    kinds = {type(simulation.weight_quantizer(quantized, name)).__name__ for name in plan.choices}
    assert kinds == {"CastQuantizer", "FloatQuantizer", AffineQuantizer.__name__}
