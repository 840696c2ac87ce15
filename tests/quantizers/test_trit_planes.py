"""What is peculiar to trit planes: the error falls step by step, and tied planes are INT4."""

import pytest
import torch

from edge_mpq.errors import CalibrationError
from edge_mpq.quantizers import trit_planes
from edge_mpq.quantizers.trit_planes import VARIANTS, fitted
from edge_mpq.records import formats

SHAPES = ("gaussian", "laplace", "student", "uniform")
every_shape = pytest.mark.parametrize("shape", SHAPES)
every_variant = pytest.mark.parametrize("variant", VARIANTS)


def weight(shape: str = "gaussian", outputs: int = 6, inputs: int = 256, seed: int = 0) -> torch.Tensor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if shape == "gaussian":
            return torch.randn(outputs, inputs)
        if shape == "uniform":
            return torch.rand(outputs, inputs) * 2 - 1
        drawn = torch.distributions.Laplace(0.0, 1.0) if shape == "laplace" else torch.distributions.StudentT(4.0)
        return drawn.sample((outputs, inputs))


def block_errors(values: torch.Tensor, block: int, variant: str = "free", **options) -> torch.Tensor:
    """The squared error of each block."""
    moved = fitted(values, block, variant, **options)(values) - values
    return moved.double().square().reshape(-1, block).sum(1)


def clipped(values: torch.Tensor, block: int, levels: int, symmetric: bool) -> torch.Tensor:
    """The squared error of each block on the uniform grid of ``levels`` whose clip, of forty, errs least there."""
    rows = values.double().reshape(-1, block)
    low, high = rows.amin(1, keepdim=True), rows.amax(1, keepdim=True)
    if symmetric:
        high = torch.maximum(-low, high)
        low = -high
    least = torch.full((len(rows),), torch.inf, dtype=torch.float64)
    for share in torch.linspace(1.0, 0.1, 40).tolist():
        step = (high - low) * share / (levels - 1)
        zero = torch.round(-low * share / step)
        codes = (torch.round(rows / step) + zero).clamp(0, levels - 1) - zero
        least = torch.minimum(least, (codes * step - rows).square().sum(1))
    return least


@every_shape
@pytest.mark.parametrize("block", [32, 128])
def test_no_step_makes_any_block_worse(shape, block):
    values = weight(shape)
    errors = [block_errors(values, block, iterations=count, tolerance=0.0) for count in range(1, 14)]
    for before, after in zip(errors, errors[1:], strict=False):
        assert (after <= before * (1 + 1e-5)).all()
    assert errors[-1].sum() < 0.9 * errors[0].sum()


@pytest.mark.parametrize("shape", ["gaussian", "laplace", "student"])
@pytest.mark.parametrize("block", [64, 128])
@every_variant
def test_two_planes_err_less_than_the_best_clip_of_two_bits(shape, block, variant):
    values = weight(shape, 12)
    mine = block_errors(values, block, variant).sum()
    naive = min(clipped(values, block, 4, False).sum(), clipped(values, block, 3, True).sum())
    assert mine < 0.5 * naive
    # It is no law that they beat INT4 of the same bytes: they do not.
    assert mine > clipped(values, block, 15, True).sum()


def test_a_plane_that_is_there_is_found():
    draw = torch.Generator().manual_seed(1)
    trits = torch.randint(-1, 2, (8, 128), generator=draw).float()
    scales = torch.rand(8, 1, generator=draw) + 0.1
    moved = fitted(trits * scales, 64)(trits * scales) - trits * scales
    assert moved.norm() < 1e-4 * (trits * scales).norm()


@every_variant
def test_zeros_stay_zeros_and_broken_weights_are_refused(variant):
    values = weight()
    values[3, :64] = 0
    made = fitted(values, 64, variant)
    assert torch.isfinite(made.scale).all() and not made.scale[:, 3, 0].any()
    assert not made(values)[3, :64].any()
    values[0, 0] = torch.nan
    with pytest.raises(CalibrationError, match="not finite"):
        fitted(values, 64, variant)


@every_variant
def test_the_other_sign_and_another_size_give_the_same_trits(variant):
    values = weight("student")
    made = fitted(values, 64, variant)
    turned, small = fitted(-values, 64, variant), fitted(values * 2.0**-7, 64, variant)
    assert torch.equal(turned.scale, made.scale) and torch.equal(turned.planes(-values), -made.planes(values))
    assert torch.equal(small.scale, made.scale * 2.0**-7)
    assert torch.equal(small.planes(values * 2.0**-7), made.planes(values))


def test_a_tolerance_that_knows_nothing_of_their_size_stops_small_weights_early():
    small = weight(outputs=64) * 0.02
    absolute = block_errors(small, 128, tolerance=trit_planes.TOLERANCE / small.std().item())
    assert block_errors(small, 128).sum() < absolute.sum()


def test_without_a_ridge_two_equal_planes_have_no_answer(monkeypatch):
    monkeypatch.setattr(trit_planes, "LEAST_RIDGE", 0.0)
    monkeypatch.setattr(trit_planes, "MOST_RIDGE", 0.0)
    assert not torch.isfinite(fitted(weight(), 64, iterations=1).scale).all()


@every_shape
def test_tied_planes_are_int4(shape):
    values = weight(shape)
    made = fitted(values, 64, "tied")
    grid = trit_planes.integer_grid(made)
    codes = 3 * made.planes(values)[0] + made.planes(values)[1]
    assert codes.abs().max() == 4
    assert torch.equal(grid.integers(made(values)), codes)
    assert torch.equal(grid(made(values)), made(values))
    with pytest.raises(ValueError, match="not tied"):
        trit_planes.integer_grid(fitted(values, 64, "free"))


@every_shape
def test_a_warm_start_is_never_worse_than_tied_and_several_starts_never_worse_than_one(shape):
    values = weight(shape)
    errors = {variant: block_errors(values, 64, variant) * (1 - 1e-5) for variant in VARIANTS}
    tied, warm, best = (errors[name] / (1 - 1e-5) for name in ("tied", "warm", "multistart"))
    assert (errors["warm"] <= tied).all() and warm.sum() < tied.sum()
    assert (errors["multistart"] <= warm).all() and (errors["multistart"] <= errors["free"] / (1 - 1e-5)).all()
    assert best.sum() < warm.sum()


def test_a_warm_start_mends_what_a_start_by_signs_misses():
    values = weight("uniform")
    assert block_errors(values, 64, "warm").sum() < 0.85 * block_errors(values, 64, "free").sum()


@every_variant
def test_importance_moves_the_error_to_where_it_counts_less(variant):
    values = weight(outputs=16)
    counts = torch.logspace(-2, 2, 256)[torch.randperm(256, generator=torch.Generator().manual_seed(0))]

    def weighted(importance: torch.Tensor | None) -> float:
        moved = fitted(values, 64, variant, importance)(values) - values
        return float((moved.square() * counts).sum())

    assert weighted(counts) < 0.8 * weighted(None)
    alike = fitted(values, 64, variant, torch.full((256,), 7.0))
    assert torch.equal(alike.scale, fitted(values, 64, variant).scale)


@every_variant
def test_trits_stand_for_exactly_what_forward_gives_and_stay(variant):
    values = weight()
    made = fitted(values, 32, variant)
    trits = made.planes(values)
    assert trits.dtype == torch.int8 and trits.unique().tolist() == [-1, 0, 1]
    first, second = trits.unflatten(2, (-1, 32)) * made.scale[..., None]
    assert torch.equal((first + second).flatten(1), made(values))
    assert torch.equal(made(made(values)), made(values))
    assert (made.scale[0] >= made.scale[1]).all() and (made.scale >= 0).all()


def test_ties_go_to_zero_then_to_fewer_trits_then_to_the_second_plane():
    made = trit_planes.TritPlaneQuantizer(torch.ones(2, 1, 1), 1)
    values = {0.0: [0, 0], 0.5: [0, 0], 1.0: [0, 1], 1.5: [0, 1], -1.5: [0, -1], 2.0: [1, 1]}
    for value, trits in values.items():
        assert made.planes(torch.tensor([[value]])).flatten().tolist() == trits


def test_gradients_pass_straight_through_inside_the_range_and_are_cut_outside():
    made = fitted(weight(), 64, "tied")
    inside = made(weight()).detach().requires_grad_()
    made(inside).sum().backward()
    assert inside.grad is not None and torch.equal(inside.grad, torch.ones(6, 256))
    beyond = torch.full((6, 256), 1e3, requires_grad=True)
    made(beyond).sum().backward()
    assert beyond.grad is not None and not beyond.grad.any()


def test_what_has_no_planes_is_a_mistake_of_the_caller():
    with pytest.raises(ValueError, match="int2b32 has no two planes"):
        trit_planes.quantizer(formats.get("int2b32"), torch.zeros(1, 1), torch.ones(1, 1), True, None)
    for variant, block in (("four", 64), ("free", 60)):
        with pytest.raises(ValueError, match=f"{variant} planes of blocks of {block}"):
            fitted(weight(), block, variant)
    made = trit_planes.quantizer(formats.get("int4b32"), -torch.ones(1, 1), torch.ones(1, 1), True, None)
    assert torch.equal(made(torch.ones(1, 32)), torch.ones(1, 32))
