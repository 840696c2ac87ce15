"""Shifts win where channels sit beside zero and nowhere else, and spare a grid its zero point."""

import functools

import pytest
import torch
from torch import fx, nn

from edge_mpq import graph as ir
from edge_mpq import simulation, transforms
from edge_mpq.errors import CalibrationError
from edge_mpq.progress import silent
from edge_mpq.records import target as targets
from edge_mpq.transforms import shift_smooth, smooth
from edge_mpq.transforms._channels import halves, reach_of, seen
from edge_mpq.transforms._sites import sites
from tests import toys

WIDTH, TOKENS = 48, 16
UNSIGNED, SIGNED = targets.get("cpu-x86-vnni"), targets.get("jetson-orin-nano")


class Block(nn.Module):
    """A pre-norm perceptron behind a skip; ``offset``: how far its channels lie from zero, in deviations."""

    def __init__(self, offset: float) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        draw = torch.Generator().manual_seed(0)
        self.norm.weight.data = torch.exp(0.5 * torch.randn(WIDTH, generator=draw))
        self.norm.bias.data = offset * torch.randn(WIDTH, generator=draw)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.down(nn.functional.gelu(self.up(self.norm(x))))


@functools.cache
def made(offset: float) -> fx.GraphModule:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return simulation.prepared(Block(offset).eval(), read()[0])


def read(count: int = 4, seed: int = 0) -> list[torch.Tensor]:
    """Batches of tokens [8, TOKENS, WIDTH]."""
    draw = torch.Generator().manual_seed(seed)
    return [torch.randn(8, TOKENS, WIDTH, generator=draw) for _ in range(count)]


def left(offset: float, symmetric: bool, shifts: bool) -> float:
    """Squared error of the layer behind the normalization, after the search, on values it has not seen."""
    graph = toys.copied(made(offset))
    (site,) = sites(graph)
    tensor = site.readers[0].node.args[0]
    known, fresh, unseen = (seen(graph, [tensor], read(4, seed), silent) for seed in range(3))
    shift, scale, _ = shift_smooth.searched(graph, site, known, fresh, symmetric, shifts)
    return shift_smooth._error(graph, site.readers[0], known[tensor], unseen[tensor], shift, scale, symmetric, "minmax")


@pytest.mark.parametrize(("offset", "gain"), [(5.0, 4.0), (1.5, 1.2)])
def test_shifts_win_where_channels_lie_beside_zero(offset, gain):
    assert left(offset, True, shifts=False) > gain * left(offset, True, shifts=True)


def test_shifts_win_next_to_nothing_where_channels_lie_around_zero():
    assert left(0.0, True, shifts=False) < 1.3 * left(0.0, True, shifts=True)


def test_channels_in_the_middle_need_no_zero_point():
    assert left(5.0, True, shifts=True) < 1.15 * left(5.0, False, shifts=True)


def test_the_search_is_never_worse_than_leaving_things_alone():
    for offset in (0.0, 1.5, 5.0):
        graph = toys.copied(made(offset))
        (site,) = sites(graph)
        parts = [seen(graph, [site.readers[0].node.args[0]], half, silent) for half in halves(read())]
        for symmetric in (True, False):
            for shifts in (True, False):
                shift, scale, share = shift_smooth.searched(graph, site, *parts, symmetric, shifts)
                assert 0 < share <= 1
                assert share < 1 or (not shift.any() and bool((scale == 1).all()))


def test_channels_that_fill_their_grid_on_few_pictures_are_judged_by_others():
    graph = toys.copied(made(0.0))
    (site,) = sites(graph)
    tensor = site.readers[0].node.args[0]
    few, many = (seen(graph, [tensor], [read(count)[0][:count]], silent) for count in (1, 8))
    honest = shift_smooth.searched(graph, site, few, seen(graph, [tensor], read(2, 7), silent), True, True)[2]
    fooled = shift_smooth.searched(graph, site, few, few, True, True)[2]
    assert fooled < 0.8 * honest
    low = [reach_of(graph, site, *parts).low for parts in ((few,), (few, many))]
    assert bool((low[1] <= low[0]).all())
    assert [len(half) for half in halves(read(5))] == [3, 2]
    assert [half[0].shape[0] for half in halves(read(1))] == [4, 4] and len(halves([read(1)[0][:1]])[1][0]) == 1


def added(graph: fx.GraphModule) -> int:
    """Sub and Mul pairs in a graph."""
    return sum(node.target == ir.aten.sub.Tensor for node in graph.graph.nodes)


@torch.no_grad()
def test_behind_gelu_a_pair_is_put_where_it_pays_and_not_where_the_grid_has_a_zero_point():
    graphs = [shift_smooth.apply(toys.copied(made(1.5)), read(), target) for target in (SIGNED, UNSIGNED)]
    assert [added(graph) for graph in graphs] == [1, 0]
    x = read(1, seed=5)[0]
    for graph in graphs:
        assert torch.allclose(graph(x), made(1.5)(x), rtol=1e-4, atol=1e-5)
    assert added(shift_smooth.rewritten(toys.copied(made(1.5)), read(), SIGNED, inserts=False)) == 0


@torch.no_grad()
def test_smoothing_alone_shifts_nothing():
    graph = smooth.apply(toys.copied(made(5.0)), read(), SIGNED)
    before, after = made(5.0).state_dict(), graph.state_dict()
    assert not torch.allclose(before["norm.weight"], after["norm.weight"])
    ratio = after["norm.weight"] / before["norm.weight"]
    assert torch.allclose(after["norm.bias"], before["norm.bias"] * ratio, rtol=1e-4, atol=1e-6)
    assert torch.equal(before["up.bias"], after["up.bias"])


def test_scales_stay_within_bounds_and_dead_channels_stay_as_they_are():
    reach = torch.tensor([0.0, 1e-12, 1.0, 1e6])
    scale = shift_smooth.scales(reach, torch.tensor([1.0, 1.0, 0.0, 1.0]), 1.0)
    assert scale[0] == scale[2] == 1
    assert scale.min() >= 1e-3 and scale.max() <= 1e3


def test_a_board_without_integers_keeps_its_model_and_nothing_to_look_at_is_refused():
    graph = toys.copied(made(5.0))
    before = {key: value.clone() for key, value in graph.state_dict().items()}
    shift_smooth.apply(graph, read(), targets.get("jetson-nano"))
    assert all(torch.equal(value, before[key]) for key, value in graph.state_dict().items())
    for batches, target in (([], SIGNED), (read(), None)):
        with pytest.raises(CalibrationError, match="looks at what layers read"):
            shift_smooth.apply(graph, batches, target)


@pytest.mark.parametrize("board", ["cpu-x86-vnni", "jetson-orin-nano"])
def test_what_is_deployed_is_what_is_simulated(board):
    pytest.importorskip("onnxruntime")
    from edge_mpq.quantizing import quantize
    from export import onnx_from_torch, qdq_into_onnx
    from tests.export import exported

    target = targets.get(board)
    graph = transforms.apply_all(["shift_smooth"], toys.graph("transformer"), toys.batches(), target)
    assert added(graph) > 0 or board == "cpu-x86-vnni"  # whose grids have a zero point
    plan = toys.planned("transformer", board)._replace(transforms=("shift_smooth",))
    quantized, _ = quantize(graph, plan, toys.batches())
    model = qdq_into_onnx.insert(onnx_from_torch.onnx_from_graph(graph, target.opset), graph, quantized, plan, target)
    x = toys.pictures(64, seed=11)
    exported.agree(quantized, exported.answers(model, x), x)
