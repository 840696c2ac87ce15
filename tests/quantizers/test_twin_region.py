"""Two regions: where they win, where they must not, and that the search never loses to a ratio set by hand."""

import math

import pytest
import torch
from torch.nn import functional

from edge_mpq.errors import CalibrationError
from edge_mpq.quantizers import affine, twin_region
from edge_mpq.quantizers.twin_region import EXPONENTS, TwinRegionQuantizer, fitted
from edge_mpq.records import formats

BITS = (8, 6, 4)


def behind_gelu(seed: int = 0) -> torch.Tensor:
    return functional.gelu(2 * torch.randn(20000, generator=torch.Generator().manual_seed(seed)) - 0.8)


def error(module: torch.nn.Module, values: torch.Tensor) -> float:
    return (module(values) - values).double().square().mean().item()


def symmetric(bits: int, values: torch.Tensor) -> torch.nn.Module:
    return affine.quantizer(formats.get(f"int{bits}"), values.min(), values.max(), True, None)


@pytest.mark.parametrize("bits", BITS)
def test_the_ratio_found_is_never_worse_than_one_set_by_hand(bits):
    for seed in range(3):
        values = behind_gelu(seed)
        found = fitted(formats.get(f"int{bits}"), values, shifts=True)
        exponent = math.log2((found.positive / found.negative).item())
        assert exponent == pytest.approx(round(exponent), abs=1e-5) and round(exponent) in EXPONENTS
        covers = -values.min() / 2 ** (bits - 1)
        by_hand = [error(TwinRegionQuantizer(covers, covers * 2.0**m, bits, None), values) for m in EXPONENTS]
        assert error(found, values) <= min(by_hand) < 0.1 * max(by_hand)
        clipping_nothing = twin_region.quantizer(
            formats.get(f"int{bits}"), values.min(), values.max(), symmetric=False, axis=None
        )
        assert error(fitted(formats.get(f"int{bits}"), values), values) <= error(clipping_nothing, values) * (1 + 1e-6)


@pytest.mark.parametrize(("bits", "shifts", "most"), [(8, False, 0.5), (8, True, 0.9), (6, True, 0.6), (4, True, 0.6)])
def test_behind_gelu_two_regions_beat_a_symmetric_grid(bits, shifts, most):
    for seed in range(3):
        values = behind_gelu(seed)
        assert error(fitted(formats.get(f"int{bits}"), values, shifts), values) < most * error(
            symmetric(bits, values), values
        )


def test_with_shifts_they_are_never_worse_than_a_symmetric_grid():
    draw = torch.Generator().manual_seed(0)
    for values in (
        torch.rand(500, generator=draw),
        torch.randn(500, generator=draw),
        torch.randn(500, generator=draw).exp(),
    ):
        for bits in BITS:
            found = error(fitted(formats.get(f"int{bits}"), values, shifts=True), values)
            assert found <= error(symmetric(bits, values), values) * (1 + 1e-6)


def test_values_as_large_on_both_sides_win_nothing_at_eight_bits():
    values = torch.rand(20000, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert error(fitted(formats.get("int8"), values), values) > 0.9 * error(symmetric(8, values), values)


def test_values_of_one_sign_have_one_region():
    for sign in (1.0, -1.0):
        values = sign * torch.rand(1000, generator=torch.Generator().manual_seed(0))
        for shifts in (False, True):
            assert error(fitted(formats.get("int8"), values, shifts), values) <= error(symmetric(8, values), values)
    assert not fitted(formats.get("int8"), torch.zeros(9))(torch.zeros(9)).any()


def test_floats_have_no_regions_and_what_is_not_finite_no_fit():
    with pytest.raises(ValueError, match="fp8 has no regions"):
        twin_region.quantizer(formats.get("fp8"), torch.zeros(1), torch.ones(1), True, None)
    with pytest.raises(CalibrationError, match="is no range; calibrate"):
        twin_region.quantizer(formats.get("int8"), torch.ones(1), torch.zeros(1), True, None)
    for values in (torch.tensor([math.nan]), torch.zeros(0)):
        with pytest.raises(CalibrationError, match="two regions"):
            fitted(formats.get("int8"), values)
