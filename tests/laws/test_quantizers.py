"""Laws that every number grid keeps, present and future, and what is peculiar to each."""

import itertools
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from edge_mpq import quantizers
from edge_mpq.errors import CalibrationError, EdgeMpqError, UsageError
from edge_mpq.quantizers import affine
from edge_mpq.records import formats

FORMS = list(formats.FORMATS.values())
INTEGERS = [form for form in FORMS if not form.is_float]
# Small floats whose exponent has three bits or more.
OF_WIDE_EXPONENT = ("fp8", "fp8_e5m2", "fp7_e3m3", "fp6_e3m2")


def file_of(form: formats.Format) -> str:
    """The grid a format means by itself."""
    return str(vars(quantizers.for_format(form))["__name__"]).rsplit(".", 1)[-1]


def takes(name: str, form: formats.Format) -> bool:
    """Whether grid ``name`` is the one of ``form``, or is nobody's own and can express it."""
    owners = {file_of(other) for other in FORMS}
    if name in owners:
        return name == file_of(form)
    try:
        quantizers.get(name).quantizer(form, torch.tensor([-1.0]), torch.tensor([1.0]), True, None)
    except (EdgeMpqError, ValueError, KeyError):
        return False
    return True


every_grid = pytest.mark.parametrize(
    ("name", "form", "symmetric"),
    [
        pytest.param(name, form, symmetric, id=f"{name}-{form.name}{'' if symmetric else '-asymmetric'}")
        for name, form, symmetric in itertools.product(quantizers.names(), FORMS, (True, False))
        if takes(name, form) and (symmetric or not form.is_float)
    ],
)
every_integer = pytest.mark.parametrize("form", INTEGERS, ids=lambda form: form.name)
ends = st.floats(0, 100, width=32)


def grid(form: formats.Format, low: float, high: float, symmetric: bool = True, name: str = "") -> Any:
    """A grid per tensor, the format's own unless ``name`` says another."""
    bounds = torch.tensor([low]), torch.tensor([high])
    return quantizers.get(name or file_of(form)).quantizer(form, *bounds, symmetric, None)


def per_channel(form: formats.Format, values: torch.Tensor, axis: int = 0, name: str = "") -> Any:
    """The grid of a weight."""
    return quantizers.get(name or file_of(form)).quantizer(form, *affine.weight_range(values, axis), True, axis)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_door_lists_the_grids() -> None:
    assert {"affine", "floating"} <= set(quantizers.names())
    assert [hasattr(quantizers.get(name), "quantizer") for name in quantizers.names()].count(False) == 0
    with pytest.raises(UsageError, match="choose one of .*affine"):
        quantizers.get("logarithmic")


def test_every_format_has_a_grid() -> None:
    assert {file_of(form) for form in FORMS} <= set(quantizers.names())


@every_grid
@given(low=ends, high=ends, seed=st.integers(0, 99))
def test_values_inside_the_range_go_to_the_nearest_point_and_stay_there(name, form, symmetric, low, high, seed):
    module = grid(form, -low, high, symmetric, name)
    draw = torch.Generator().manual_seed(seed)
    points = module(torch.linspace(-low, high, 2001)).unique()
    values = -low + (high + low) * torch.rand(200, generator=draw)
    rounded = module(values)
    nearest = (values[:, None] - points).abs().amin(1)
    assert ((rounded - values).abs() <= nearest + 1e-6 * max(low, high)).all()
    assert torch.allclose(module(rounded), rounded, rtol=1e-6, atol=1e-30)


@every_integer
@pytest.mark.parametrize("symmetric", [True, False])
@given(low=ends, high=ends, seed=st.integers(0, 99))
def test_integers_move_by_half_a_step_at_most_and_then_not_at_all(form, symmetric, low, high, seed):
    module = grid(form, -low, high, symmetric)
    values = -low + (high + low) * torch.rand(200, generator=torch.Generator().manual_seed(seed))
    # Zero is exact on an asymmetric grid, which therefore may miss both ends by half a step.
    most = (0.5 if symmetric else 1.0) * module.scale.item() * (1 + 1e-5) + 1e-6 * max(low, high)
    rounded = module(values)
    assert (rounded - values).abs().max() <= most
    assert torch.equal(module(rounded), rounded)


@every_grid
def test_zero_is_exact_and_rounding_is_monotone(name, form, symmetric):
    for low, high in [(-1.0, 1.0), (-0.1, 3.7), (-5.3, 0.2), (0.0, 2.5), (-7.0, 0.0)]:
        module = grid(form, low, high, symmetric, name)
        assert module(torch.zeros(4)).abs().max() == 0
        rounded = module(torch.linspace(-10, 10, 5001))
        assert (rounded.diff() >= 0).all()


@every_grid
def test_a_range_of_nothing_but_zero_has_a_grid(name, form, symmetric):
    for reach in (0.0, 1e-45, 1e-40, 1e-38):  # or of so little that dividing it gives zero
        rounded = grid(form, -reach, reach, symmetric, name)(torch.tensor([0.0, 1e-45, 1e-3, -2.0]))
        assert torch.isfinite(rounded).all() and rounded[0] == 0


@every_grid
def test_gradients_pass_straight_through_inside_the_range_and_are_cut_outside(name, form, symmetric):
    values = torch.tensor([-0.93, -0.2, 0.013, 0.5, 0.98], requires_grad=True)
    module = grid(form, -1.0, 1.0, symmetric, name)
    weights = torch.tensor([1.0, -3.0, 1e-9, 2.0, 7.0])
    (module(values) * weights).sum().backward()
    assert values.grad is not None and torch.allclose(values.grad, weights, rtol=1e-6, atol=0)
    if form.name in ("fp32", "bf16"):
        return  # nothing a float32 holds lies outside
    beyond = torch.tensor([-1e5, 1e5], requires_grad=True)
    module(beyond).sum().backward()
    assert beyond.grad is not None and not beyond.grad.any()


@every_grid
def test_each_channel_has_its_own_grid(name, form, symmetric):
    weight = drawn(6, 4, 3, 3) * torch.logspace(-2, 1, 6).view(-1, 1, 1, 1)
    for axis in (0, 1):
        turned = weight if axis == 0 else weight.transpose(0, 1).contiguous()
        whole = per_channel(form, turned, axis, name)(turned)
        for channel in range(6):
            alone = turned.select(axis, channel)
            expected = grid(form, alone.min().item(), alone.max().item(), True, name)(alone)
            assert torch.allclose(whole.select(axis, channel), expected, rtol=1e-6, atol=1e-7)


def squared_error(module: nn.Module, values: torch.Tensor) -> float:
    return (module(values) - values).double().square().mean().item()


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_per_channel_is_never_worse_than_per_tensor(form):
    for seed in range(5):
        weight = drawn(16, 64, seed=seed) * torch.logspace(-1.5, 0, 16).view(-1, 1)
        apart = squared_error(per_channel(form, weight), weight)
        together = squared_error(grid(form, weight.min().item(), weight.max().item()), weight)
        # A float has an exponent of its own for every value: a channel's scale wins nothing until it runs out.
        assert apart <= together * (1.1 if form.name in OF_WIDE_EXPONENT else 1 + 1e-6)


@pytest.mark.parametrize("symmetric", [True, False])
def test_more_bits_never_mean_a_larger_error(symmetric):
    for values in (drawn(5000), drawn(5000).relu(), torch.rand(5000, generator=torch.Generator().manual_seed(0))):
        low, high = min(values.min().item(), 0.0), values.max().item()
        errors = [squared_error(grid(form, low, high, symmetric), values) for form in INTEGERS]
        assert [form.bits for form in INTEGERS] == list(range(8, 1, -1))
        assert errors == sorted(errors)
        for names in ("fp32 fp16 fp8 fp4", "fp8 fp8_e5m2", "fp7_e3m3 fp6_e3m2 fp4", "fp7_e3m3 fp6_e2m3 fp5_e2m2 fp4"):
            floats = [squared_error(grid(formats.get(name), low, high), values) for name in names.split()]
            assert floats == sorted(floats)
        assert squared_error(grid(formats.get("fp32"), low, high), values) == 0


# Integers.


@every_integer
@pytest.mark.parametrize("symmetric", [True, False])
@given(low=ends, high=ends, seed=st.integers(0, 99))
def test_codes_stand_for_exactly_what_forward_gives(form, symmetric, low, high, seed):
    module = grid(form, -low, high, symmetric)
    values = 1.5 * max(low, high, 1e-3) * drawn(300, seed=seed)  # beyond the range too
    codes = module.integers(values)
    assert codes.dtype == (torch.int8 if symmetric else torch.uint8)
    assert module.lowest <= codes.min() and codes.max() <= module.highest
    assert torch.equal((codes.int() - module.zero) * module.scale, module(values))


@every_integer
def test_codes_of_a_weight_are_those_of_its_channels(form):
    weight = drawn(5, 7, 3, 3)
    module = per_channel(form, weight)
    codes = module.integers(weight)
    assert torch.equal(codes * module.scale.view(-1, 1, 1, 1), module(weight))
    assert codes.abs().amax((1, 2, 3)).tolist() == [form.largest] * 5  # the range is used to its end


@every_integer
def test_a_symmetric_grid_leaves_out_the_lowest_code(form):
    module = grid(form, -3.0, 2.0)
    most = 2 ** (form.bits - 1) - 1
    assert (module.lowest, module.highest, module.zero.item()) == (-most, most, 0)
    assert module.integers(torch.tensor([-1e6, 1e6])).tolist() == [-most, most]
    unsigned = grid(form, -3.0, 2.0, symmetric=False)
    assert (unsigned.lowest, unsigned.highest) == (0, 2**form.bits - 1)


def test_halves_round_to_even():
    module = grid(formats.get("int8"), -127.0, 127.0)
    assert module(torch.tensor([0.5, 1.5, 2.5, -0.5, -1.5])).tolist() == [0, 2, 2, 0, -2]


def test_a_range_that_misses_zero_is_widened_to_it():
    low, high = torch.tensor([3.0]), torch.tensor([5.0])
    module = affine.quantizer(formats.get("int8"), low, high, False, None)
    assert module(torch.tensor([0.0, 5.0])).tolist() == pytest.approx([0.0, 5.0])


@pytest.mark.parametrize(("low", "high"), [(1.0, -1.0), (float("nan"), 1.0), (-1.0, float("inf"))])
@every_integer
def test_what_is_no_range_is_refused(form, low, high):
    with pytest.raises(CalibrationError, match="is no range; calibrate"):
        grid(form, low, high)


def test_widths_beyond_the_family_are_a_mistake_of_the_caller():
    for bits in (1, 9):
        with pytest.raises(ValueError, match=f"{bits} bits"):
            affine.AffineQuantizer(torch.ones(1), torch.zeros(1), bits, True, None)
