"""What is peculiar to clipping by channel: the fold errs as the channels' own grids, and the clip is never a guess."""

import pytest
import torch

from edge_mpq import calibration, placement, transforms
from edge_mpq import graph as ir
from edge_mpq import menu as menus
from edge_mpq.errors import CalibrationError
from edge_mpq.evaluator import Evaluator
from edge_mpq.layers import layers_of
from edge_mpq.partial import PartialRun
from edge_mpq.records import target as targets
from edge_mpq.transforms import channel_clip
from tests import toys, trained_toys, trained_vits

WITH_ZERO, WITHOUT = targets.get("cpu-x86-vnni"), targets.get("jetson-orin-nano")
either = pytest.mark.parametrize("symmetric", [True, False])


def unlike(rows: int = 2000, channels: int = 32, seed: int = 0) -> torch.Tensor:
    """Channels of unlike size and place."""
    draw = torch.Generator().manual_seed(seed)
    sizes = torch.exp(1.5 * torch.randn(channels, generator=draw))
    return sizes * (torch.randn(rows, channels, generator=draw) + torch.randn(channels, generator=draw))


def error_by_channel(rows: torch.Tensor, grids: channel_clip.Grids) -> torch.Tensor:
    """Rounded on a grid for each channel, less the values."""
    return channel_clip.rounded(rows, grids.steps, grids.zeros, grids.lowest, grids.highest) - rows


@either
@pytest.mark.parametrize("bits", [4, 8])
def test_one_grid_behind_the_fold_errs_as_one_grid_a_channel(symmetric, bits):
    rows = unlike().double()
    grids = channel_clip.grids(rows, symmetric, bits)
    moved = (rows - grids.shift()) / grids.scale()
    folded = channel_clip.rounded(moved, grids.step, grids.zero, grids.lowest, grids.highest) - moved
    assert torch.allclose(folded * grids.scale(), error_by_channel(rows, grids), rtol=0, atol=1e-9)
    assert not symmetric or grids.zero == 0 and grids.lowest == -grids.highest
    assert grids.zero == grids.zero.round()  # a zero point is a code


def test_a_symmetric_grid_costs_nothing():
    rows = unlike().double()
    with_zero, without = (
        error_by_channel(rows, channel_clip.grids(rows, one)).square().mean().item() for one in (False, True)
    )
    assert without == pytest.approx(with_zero, rel=0.03)


@either
def test_it_errs_far_less_than_one_grid_for_all(symmetric):
    rows = unlike()
    grids = channel_clip.grids(rows, symmetric, 4)
    low, high = rows.amin(), rows.amax()
    step = (high - low) / (grids.highest - grids.lowest)
    naive = channel_clip.rounded(rows, step, torch.round(grids.lowest - low / step), grids.lowest, grids.highest) - rows
    assert error_by_channel(rows, grids).square().mean() < 0.2 * naive.square().mean()


@either
def test_the_clip_errs_less_than_the_full_range_and_than_a_fixed_share(symmetric, monkeypatch):
    rows = unlike(4000)
    rows[::1000] *= 6  # outliers in every channel
    errors = {}
    for shares in (channel_clip.SHARES, (1.0,), (0.95,)):
        monkeypatch.setattr(channel_clip, "SHARES", shares)
        errors[shares] = error_by_channel(rows, channel_clip.grids(rows, symmetric, 4)).square().sum().item()
    searched, whole, fixed = errors.values()
    assert searched < 0.9 * whole and searched < 0.9 * fixed


@either
def test_channels_that_never_move_keep_their_place(symmetric):
    rows = torch.cat([unlike(channels=6), torch.full((2000, 1), 3.0), torch.zeros(2000, 1)], 1)
    grids = channel_clip.grids(rows, symmetric)
    assert torch.isfinite(grids.shift()).all() and (grids.scale() > 0).all()
    assert error_by_channel(rows, grids)[:, 6:].abs().max() < grids.step
    still = channel_clip.grids(torch.full((10, 3), 2.0), symmetric)
    assert torch.isfinite(still.shift()).all() and (still.scale() == 1).all()


@pytest.mark.parametrize("target", [WITH_ZERO, WITHOUT], ids=lambda target: target.name)
def test_a_transformer_of_unlike_channels_then_bears_eight_bits(target):
    graph = trained_vits.outlying()
    kl = {}
    for wanted in ((), ("channel_clip",)):
        batches = [trained_toys.labelled(64, seed=5000)[0]]
        moved = transforms.apply_all(wanted, graph, batches, target)
        ranges = calibration.ranges_of(
            moved, placement.every_tensor(moved), batches, "mse", target.scheme.activation == "int8"
        )
        evaluator = Evaluator(moved, target, ranges, [trained_toys.labelled(256, seed=9000)])
        kl[wanted] = evaluator({layer.name: menus.parse("w8a8") for layer in layers_of(moved)}).kl
    assert kl["channel_clip",] < 0.1 * kl[()]


def test_every_normalization_before_linears_writes_one_size_and_others_stay():
    graph, batch = ir.copied(trained_vits.outlying()), trained_toys.labelled(64, seed=5000)[0]

    def spreads(one):
        run = PartialRun(one)
        with torch.no_grad():
            run.run(batch)
        norms = [node for node in one.graph.nodes if node.target == ir.aten.layer_norm.default]
        widths = [run.values[node].flatten(0, 1).std(0) for node in norms]
        return [float(width.max() / width.min()) for width in widths]

    before = spreads(graph)
    after = spreads(channel_clip.apply(graph, [batch], WITHOUT))
    assert all(spread > 10 for spread in before[:-1]) and all(spread < 3 for spread in after[:-1])


def test_a_board_without_integers_needs_nothing_and_pictures_are_needed():
    graph = ir.copied(trained_vits.outlying())
    code, before = graph.code, {key: value.clone() for key, value in graph.state_dict().items()}
    same = channel_clip.apply(graph, toys.batches(), targets.get("jetson-nano"))
    assert same.code == code and all(torch.equal(value, before[key]) for key, value in same.state_dict().items())
    with pytest.raises(CalibrationError, match="batches of pictures"):
        channel_clip.apply(graph, [], WITHOUT)
