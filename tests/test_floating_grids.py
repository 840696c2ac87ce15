"""Low-precision floats, value by value: the casts of torch, every code of fp8, the sixteen of fp4."""

from typing import Any

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


def test_fp8_is_bit_for_bit_torch_s_for_every_code_and_between_them():
    form = formats.get("fp8")
    codes = torch.arange(256).to(torch.uint8).view(torch.float8_e4m3fn).float()
    codes = codes[torch.isfinite(codes)]
    assert len(codes) == 254 and codes.max() == form.largest
    module = whole_grid(form)
    assert torch.equal(module(codes), codes)
    points = codes.unique()
    middles = (points[1:] + points[:-1]) / 2  # ties, which go to the even mantissa
    nearby = torch.cat([middles, middles * (1 + 1e-6), middles * (1 - 1e-6), drawn(20000) * 100, drawn(20000) * 1e-3])
    nearby = nearby.clamp(-form.largest, form.largest)
    assert torch.equal(module(nearby), nearby.to(torch.float8_e4m3fn).float())


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
