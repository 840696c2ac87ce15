"""Noisy biases and offsets of channels: what theory says they gain, what is taken back, where they must not help."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from edge_mpq import calibration, placement, simulation, transforms
from edge_mpq import graph as ir
from edge_mpq.errors import CalibrationError
from edge_mpq.layers import layers_of
from edge_mpq.progress import silent
from edge_mpq.quantizers.affine import AffineQuantizer
from edge_mpq.recipes.noisy_quant import TakenBack
from edge_mpq.records import plan as plans
from edge_mpq.records import target as targets
from edge_mpq.transforms import _offsets, channel_offset, noisy_bias
from tests import toys, trained_vits

ORIN = targets.get("jetson-orin-nano")


def grid(scale: float = 1.0, bits: int = 8) -> AffineQuantizer:
    return AffineQuantizer(torch.tensor([scale]), torch.zeros(1, dtype=torch.int32), bits, True, None)


@pytest.mark.parametrize("n", [0.3, 0.5, 0.75])
@pytest.mark.parametrize("x", [0.0, 0.1, 0.25])
def test_noise_changes_the_error_as_the_theorem_says(x, n):
    """E[err(x + N)] - err(x) = -(b/n)(n - x)^2 + n^2/3 for x <= n <= 2b - x, x from the midpoint, b half a step."""
    b = 0.5
    if not x <= n <= 2 * b - x:
        return
    draws = n * (2 * torch.rand(400_000, generator=torch.Generator().manual_seed(0)) - 1)
    value = torch.full_like(draws, 0.5 + x)
    with_noise = (grid()(value + draws) - draws - value).square().mean().item()
    without = (b - x) ** 2
    assert with_noise - without == pytest.approx(-(b / n) * (n - x) ** 2 + n**2 / 3, abs=2e-3)


def plateau(count: int = 4096) -> tuple[torch.Tensor, torch.Tensor]:
    """Values that crowd midway between grid points of step 0.34, as GELU's least value does, and a weight."""
    draw = torch.Generator().manual_seed(1)
    values = functional.gelu(torch.randn(count, 32, generator=draw) * 0.5 - 1.2)
    return values, torch.randn(16, 32, generator=draw)


def test_on_the_plateau_noise_alone_saves_a_third_of_the_error():
    values, weight = plateau()
    rough = grid(0.34)
    draw = 2 * torch.rand(32, generator=torch.Generator().manual_seed(0)) - 1
    before = _offsets.error(values, weight, rough, torch.zeros(32))
    best = min(_offsets.error(values, weight, rough, step * rough.scale * draw) for step in noisy_bias.RANGES)
    assert best < 0.7 * before


def test_uniform_values_within_their_steps_gain_nothing():
    draw = torch.Generator().manual_seed(2)
    values, weight = 20 * torch.rand(8192, 16, generator=draw) - 10, torch.randn(8, 16, generator=draw)
    fresh = 20 * torch.rand(8192, 16, generator=draw) - 10
    before = _offsets.error(fresh, weight, grid(), torch.zeros(16))
    for choose in (noisy_bias.noise, channel_offset.offsets):
        assert _offsets.error(fresh, weight, grid(), choose(values, weight, grid())) > 0.97 * before


def test_every_stage_of_the_search_lessens_the_error_or_leaves_it():
    values, weight = plateau()
    for scale in (0.05, 0.34, 0.6):
        nothing = _offsets.error(values, weight, grid(scale), torch.zeros(32))
        assert _offsets.error(values, weight, grid(scale), noisy_bias.noise(values, weight, grid(scale))) <= nothing


def test_chosen_offsets_beat_drawn_ones_on_channels_that_hardly_move():
    draw = torch.Generator().manual_seed(3)
    values = torch.randn(32, generator=draw) + 0.05 * torch.randn(4096, 32, generator=draw)
    weight = torch.randn(16, 32, generator=draw)
    rough = grid(0.5, 4)
    drawn, chosen = (
        _offsets.error(values, weight, rough, choose(values, weight, rough))
        for choose in (noisy_bias.noise, channel_offset.offsets)
    )
    assert chosen < 0.3 * drawn


@pytest.mark.parametrize("choose", [noisy_bias.noise, channel_offset.offsets])
@pytest.mark.parametrize("bits", [4, 6])
def test_what_is_chosen_on_a_grid_of_few_bits_is_better_there_than_what_is_chosen_on_eight(choose, bits):
    draw = torch.Generator().manual_seed(1)
    values, weight = functional.gelu(torch.randn(2048, 32, generator=draw)), torch.randn(16, 32, generator=draw)
    left = {}
    for chosen_on in (bits, 8):
        offset = choose(values, weight, _offsets.grid_of(values, True, chosen_on))
        left[chosen_on] = _offsets.error(values, weight, _offsets.grid_of(values + offset, True, bits), offset)
    assert left[bits] < 0.85 * left[8]


class Projections(nn.Module):
    """A normalization whose channels hardly move, read by three layers, of which the first has no weight to err by."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(16)
        self.q, self.k, self.v = nn.Linear(16, 4), nn.Linear(16, 4), nn.Linear(16, 4)
        nn.init.constant_(self.norm.weight, 0.05)
        nn.init.normal_(self.norm.bias)
        nn.init.zeros_(self.q.weight)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        x = self.norm(pictures.mean(1))
        return self.q(x) + self.k(x) + self.v(x)


@pytest.mark.parametrize("name", ["noisy_bias:bits=4", "channel_offset:bits=4"])
def test_an_offset_is_chosen_and_judged_for_all_that_read_it(name):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        graph = simulation.prepared(Projections().eval(), toys.pictures(1))
    assert set(noisy_bias.added(transforms.get(name).apply(graph, toys.batches(), ORIN))) == {"q", "k", "v"}


@pytest.fixture(scope="module")
def noisy() -> torch.fx.GraphModule:
    """A trained transformer with an offset before every linear layer that can bear one, whether it helps or not."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_offsets, "_judged", lambda graph, readers, *_: 0.3 * torch.sin(readers[0].channels.float()))
        return _offsets.rewritten(ir.copied(trained_vits.trained()), toys.batches(), ORIN, noisy_bias.noise, silent)


def test_offsets_cost_nothing_behind_normalizations_and_one_subtraction_behind_gelu(noisy):
    def count(graph, target):
        return sum(node.target == target for node in graph.graph.nodes)

    plain = trained_vits.trained()
    behind_gelu = sum(node.target == ir.aten.gelu.default for node in plain.graph.nodes)
    assert count(noisy, ir.aten.sub.Tensor) == behind_gelu > 0
    assert count(noisy, ir.aten.mul.Tensor) == count(plain, ir.aten.mul.Tensor)
    assert len(noisy.meta[_offsets.OFFSETS]) > behind_gelu


@torch.no_grad()
def test_the_float_function_stays_whatever_the_offset(noisy):
    x = toys.pictures(8, seed=5)
    assert torch.allclose(noisy(x), trained_vits.trained()(x), atol=1e-4)


@torch.no_grad()
def test_what_is_taken_back_is_what_was_added(noisy):
    """q(W) q(X + N) + (B - q(W) N), folded, is q(X + N) - N read by q(W), unfolded."""
    layers = layers_of(noisy)
    plan = plans.uniform(layers, ORIN, "int4", "int8")
    ranges = calibration.ranges_of(noisy, placement.every_tensor(noisy), toys.batches(), symmetric=True)
    quantized = simulation.simulate(noisy, plan, ORIN, ranges)
    name = "blocks.0.mlp.fc2"
    node, offset = ir.weighted(quantized)[name][0], noisy.meta[_offsets.OFFSETS][name]
    before = ir.tensor_argument(quantized, node, 2).clone()
    TakenBack.apply(quantized, noisy, [])
    after = ir.tensor_argument(quantized, node, 2)
    weight = toys.weight(quantized, name)
    rounded = toys.weight_grid(quantized, name)(weight)
    original = ir.attribute(trained_vits.trained(), f"{name}.bias")
    assert torch.allclose(after, original - rounded @ offset, atol=1e-5)
    assert not torch.allclose(after, before, atol=1e-5)  # W N would have been something else


def test_without_pictures_there_is_nothing_to_choose_by():
    for name in ("noisy_bias", "channel_offset"):
        with pytest.raises(CalibrationError, match="what layers read"):
            transforms.get(name).apply(ir.copied(toys.graph("transformer")))
