"""What is peculiar to block-wise grids: a scale and a zero point for each run of inputs."""

import pytest
import torch

from edge_mpq import quantizers
from edge_mpq.errors import CalibrationError, PlanError
from edge_mpq.quantizers import affine, blocks
from edge_mpq.records import formats
from edge_mpq.records.layer import LayerSpec

FORMS = [f"{sign}int{bits}b{block}" for sign in ("", "u") for bits in (8, 4, 3, 2) for block in (16, 32)]
every_form = pytest.mark.parametrize("name", FORMS)


def weight(seed: int = 0) -> torch.Tensor:
    return torch.randn(6, 64, generator=torch.Generator().manual_seed(seed)) * torch.logspace(-2, 1, 64)


def grid(name: str, values: torch.Tensor) -> blocks.BlockQuantizer:
    made = quantizers.of_weight(formats.get(name), values, 0)
    assert isinstance(made, blocks.BlockQuantizer)
    return made


@every_form
def test_every_block_is_rounded_as_a_tensor_of_its_own(name):
    form, values = formats.get(name), weight()
    whole = grid(name, values)(values)
    for start in range(0, 64, form.block):
        part = values[2, start : start + form.block]
        plain = formats.get(f"int{form.bits}")
        alone = affine.quantizer(plain, part.min()[None], part.max()[None], not form.unsigned, None)
        assert torch.allclose(whole[2, start : start + form.block], alone(part), rtol=1e-5, atol=1e-7)


@every_form
def test_codes_stand_for_exactly_what_forward_gives_and_stay(name):
    values = weight(1)
    made = grid(name, values)
    codes = made.integers(values)
    units = codes.reshape(6, -1, made.block).int() - made.zero[..., None]
    assert torch.equal((units * made.scale[..., None]).reshape(6, 64), made(values))
    assert torch.equal(made(made(values)), made(values))
    lowest, highest = (bound.repeat_interleave(made.block) for bound in made.bounds())
    assert (codes >= lowest).all() and (codes <= highest).all()
    assert codes.dtype == (torch.int8 if made.symmetric else torch.uint8)


def test_smaller_blocks_err_less_and_channels_most():
    values = weight(2)
    errors = [(grid(f"int4b{block}", values)(values) - values).square().sum() for block in (16, 32, 64)]
    channel = quantizers.of_weight(formats.get("int4"), values, 0)
    errors.append((channel(values) - values).square().sum())
    assert errors == sorted(errors) and errors[0] < 0.6 * errors[-1]


def test_zero_points_help_blocks_of_one_sign():
    values = weight(3).abs() + 0.1
    signed, unsigned = ((grid(name, values)(values) - values).square().sum() for name in ("int4b16", "uint4b16"))
    assert unsigned < 0.5 * signed


def test_each_run_of_columns_may_have_its_own_width():
    values = weight(4)
    low, high = blocks.weight_range(values, 16)
    widths = torch.tensor([2, 3, 4, 8])
    scale = (high - low) / (2.0**widths - 1)
    mixed = blocks.BlockQuantizer(scale, torch.round(-low / scale), widths, False, 16)
    for index, bits in enumerate(widths.tolist()):
        part = slice(16 * index, 16 * index + 16)
        assert torch.allclose(mixed(values)[:, part], grid(f"uint{bits}b16", values)(values)[:, part], atol=1e-6)


def test_gradients_pass_straight_through_inside_the_range_and_are_cut_outside():
    made = grid("int4b16", weight(5))
    inside = weight(5).requires_grad_()
    made(inside).sum().backward()
    assert inside.grad is not None and torch.equal(inside.grad, torch.ones(6, 64))
    beyond = (weight(5) * 100).requires_grad_()
    made(beyond).sum().backward()
    assert beyond.grad is not None and beyond.grad.mean() < 0.2


def test_zeros_have_a_grid_and_broken_weights_have_none():
    zeros = torch.zeros(2, 32)
    assert torch.equal(grid("uint4b32", zeros)(zeros), zeros)
    with pytest.raises(CalibrationError, match="not finite"):
        grid("int4b32", torch.full((2, 32), torch.nan))
    with pytest.raises(ValueError, match="no blocks"):
        blocks.quantizer(formats.get("int8"), zeros, zeros, True, 0)
    with pytest.raises(PlanError, match="int5b32"):
        formats.get("int5b32")


def test_only_matrices_of_whole_blocks_fit():
    linear = LayerSpec("a", "linear", (8, 96), (96,), (8,), 768)
    pointwise = LayerSpec("b", "conv2d", (8, 96, 1, 1), (96, 5, 5), (8, 5, 5), 19200)
    form = formats.get("int4b32")
    assert blocks.fits(linear, form) and blocks.fits(pointwise, form)
    assert not blocks.fits(linear, formats.get("int4b64"))
    assert not blocks.fits(pointwise._replace(weight_shape=(8, 96, 3, 3)), form)
    assert not blocks.fits(pointwise._replace(groups=2), form)
    assert not blocks.fits(pointwise._replace(output_shape=(8, 3, 3)), form)
    assert blocks.fits(pointwise._replace(groups=2), formats.get("int8"))


@pytest.mark.parametrize("symmetric", [True, False])
def test_all_of_a_grid_lies_where_its_scales_do(symmetric):
    made = blocks.BlockQuantizer(
        torch.ones(4, 2, device="meta"), torch.zeros(4, 2, device="meta"), 4, symmetric, 32, [1]
    )
    tensors = [*made.bounds(), made.stays(), *made.buffers()]
    assert {tensor.device.type for tensor in tensors} == {"meta"}
