"""Low-precision floats, value by value: every code of every small one, and the casts of torch and ml_dtypes."""

from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch

from edge_mpq.quantizers import floating
from edge_mpq.records import formats

CASTS = [formats.get(name) for name in floating.CASTS]
NARROW_FLOATS = [formats.get(name) for name in floating.GRIDS]


def grid(form: formats.Format, low: float, high: float) -> Any:
    """A grid per tensor."""
    return floating.quantizer(form, torch.tensor([low]), torch.tensor([high]), True, None)


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_float32_stays():
    values = drawn(100)
    assert torch.equal(grid(formats.get("fp32"), -1.0, 1.0)(values), values)


@pytest.mark.parametrize("form", CASTS, ids=lambda form: form.name)
def test_16_bit_floats_are_the_casts_of_torch_and_saturate(form):
    dtype = floating.CASTS[form.name]
    codes = torch.arange(2**16).to(torch.int32).to(torch.int16).view(dtype).float()
    finite = codes[torch.isfinite(codes)]
    between = torch.cat([finite * (1 + 2.0**-12), finite * 0.3, drawn(10000) * 100, drawn(10000) * 1e-6])
    for values in (finite, between.clamp(-form.largest, form.largest)):
        assert torch.equal(grid(form, -1.0, 1.0)(values), values.to(dtype).float())
    assert grid(form, -1.0, 1.0)(torch.tensor([3.4e38, -3.4e38])).tolist() == [form.largest, -form.largest]


def whole_grid(form: formats.Format) -> Any:
    """A scaled float grid whose scale is one."""
    return grid(form, -form.largest, form.largest)


def in_torch(dtype: torch.dtype) -> Any:
    """The cast of torch, there and back."""
    return lambda values: values.to(dtype).float()


def in_ml_dtypes(dtype: type) -> Any:
    """The cast of ml_dtypes, there and back."""
    return lambda values: torch.from_numpy(values.numpy().astype(dtype).astype(np.float32))


def codes_of(exponents: int, mantissas: int) -> torch.Tensor:
    """The value of every code of a float without infinities and NaN: sign, exponent, mantissa."""
    codes = torch.arange(2 ** (1 + exponents + mantissas))
    sign = 1 - 2 * (codes >> (exponents + mantissas)).float()
    exponent, mantissa = (codes >> mantissas) % 2**exponents, (codes % 2**mantissas).float() / 2**mantissas
    least = 2 - 2 ** (exponents - 1)  # the exponent of subnormals and of the smallest normals
    normal = torch.exp2((exponent - 1 + least).float()) * (1 + mantissa)
    return sign * torch.where(exponent > 0, normal, 2.0**least * mantissa)


EIGHT_BITS = torch.arange(256).to(torch.uint8)
SMALL = {
    "fp8": (EIGHT_BITS.view(torch.float8_e4m3fn).float(), 254, in_torch(torch.float8_e4m3fn)),
    "fp8_e5m2": (EIGHT_BITS.view(torch.float8_e5m2).float(), 248, in_torch(torch.float8_e5m2)),
    "fp7_e3m3": (codes_of(3, 3), 128, None),
    "fp6_e3m2": (codes_of(3, 2), 64, in_ml_dtypes(ml_dtypes.float6_e3m2fn)),
    "fp6_e2m3": (codes_of(2, 3), 64, in_ml_dtypes(ml_dtypes.float6_e2m3fn)),
    "fp5_e2m2": (codes_of(2, 2), 32, None),
    "fp4": (codes_of(2, 1), 16, in_ml_dtypes(ml_dtypes.float4_e2m1fn)),
}


def test_every_small_float_is_held_against_its_codes():
    assert list(SMALL) == [form.name for form in NARROW_FLOATS]


@pytest.mark.parametrize("form", NARROW_FLOATS, ids=lambda form: form.name)
def test_every_code_of_a_small_float_stays_bit_for_bit_and_nothing_else_does(form):
    codes, count, _ = SMALL[form.name]
    codes = codes[torch.isfinite(codes)]
    assert len(codes) == count and codes.max() == form.largest
    module = whole_grid(form)
    assert torch.equal(module(codes), codes)
    between = (codes.unique()[1:] + codes.unique()[:-1]) / 2
    assert not torch.isin(between, codes).any() and torch.isin(module(between), codes).all()


@pytest.mark.parametrize("form", [form for form in NARROW_FLOATS if SMALL[form.name][2]], ids=lambda form: form.name)
def test_between_the_codes_a_small_float_is_bit_for_bit_the_cast(form):
    codes, _, cast = SMALL[form.name]
    points = codes[torch.isfinite(codes)].unique()
    middles = (points[1:] + points[:-1]) / 2  # ties, which go to the even mantissa
    spread = torch.cat([drawn(20000) * 100, drawn(20000) * 1e-3, drawn(20000) * form.largest])
    nearby = torch.cat([middles, middles * (1 + 1e-6), middles * (1 - 1e-6), spread])
    nearby = nearby.clamp(-form.largest, form.largest)
    assert torch.equal(whole_grid(form)(nearby), cast(nearby))


def test_fp4_is_the_sixteen_values_of_e2m1():
    module = whole_grid(formats.get("fp4"))
    magnitudes = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]
    assert module(torch.linspace(-8, 8, 10001)).unique().tolist() == sorted({-m for m in magnitudes} | {*magnitudes})
    assert module(torch.tensor(magnitudes)).tolist() == magnitudes
    # Ties go to the even mantissa.
    assert module(torch.tensor([0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0])).tolist() == [0, 1, 1, 2, 2, 4, 4]


@pytest.mark.parametrize("form", NARROW_FLOATS, ids=lambda form: form.name)
def test_the_range_lies_on_the_greatest_value(form):
    module = grid(form, -0.7, 0.3)
    assert module(torch.tensor([-0.7, 0.7, -9.0])).tolist() == pytest.approx([-0.7, 0.7, -0.7])
