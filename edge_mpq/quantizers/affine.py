"""Uniform integers of 2 to 8 bits: q = clip(round(x / scale) + zero, lowest, highest).

Symmetric grids have zero = 0 and leave out the lowest code (narrow range), so that
engines which clip at -127 and those which clip at -128 agree.  Asymmetric grids use
codes 0 to 2**bits - 1.  Rounding is half to even, as in ONNX and TensorRT.
Gradients: straight-through (Bengio et al., 2013), zero outside the range.
"""

import torch
from torch import nn

from edge_mpq.errors import CalibrationError
from edge_mpq.records.formats import Format

SMALLEST_SCALE = 1e-12


class AffineQuantizer(nn.Module):
    """Fake quantization on a uniform integer grid, per tensor or per channel.

    scale: float32 [1] or [K]; zero: int32 of the same shape; axis: the channel axis of
    the input, None per tensor.  A ValueError for bits outside 2..8 is our own mistake.
    """

    scale: torch.Tensor
    zero: torch.Tensor

    def __init__(self, scale: torch.Tensor, zero: torch.Tensor, bits: int, symmetric: bool, axis: int | None):
        super().__init__()
        if not 2 <= bits <= 8:
            raise ValueError(f"{bits} bits")
        self.bits, self.symmetric, self.axis = bits, symmetric, axis
        self.lowest = -(2 ** (bits - 1)) + 1 if symmetric else 0
        self.highest = 2 ** (bits - 1) - 1 if symmetric else 2**bits - 1
        self.register_buffer("scale", scale.detach().float().reshape(-1))
        self.register_buffer("zero", zero.detach().to(torch.int32).reshape(-1))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        if self.axis is None:
            return torch.fake_quantize_per_tensor_affine(values, self.scale, self.zero, self.lowest, self.highest)
        return torch.fake_quantize_per_channel_affine(
            values, self.scale, self.zero, self.axis, self.lowest, self.highest
        )

    @torch.no_grad()
    def integers(self, values: torch.Tensor) -> torch.Tensor:
        """The codes of ``values``: int8 when symmetric, uint8 otherwise; the rounding of :meth:`forward`."""
        codes = torch.round(self(values) / self._over(self.scale, values)) + self._over(self.zero, values)
        return codes.to(torch.int8 if self.symmetric else torch.uint8)

    def units(self, values: torch.Tensor) -> torch.Tensor:
        """``values`` in codes of a symmetric grid, not rounded."""
        return values / self._over(self.scale, values)

    def points(self, codes: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        """What ``codes`` of a symmetric grid, rounded or not, stand for where the steps are ``scale``."""
        return codes * self._over(scale, codes)

    def scaled(self, scale: torch.Tensor) -> "AffineQuantizer":
        """The same grid with other steps."""
        return AffineQuantizer(scale, self.zero, self.bits, self.symmetric, self.axis)

    def _over(self, scale: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        return over_channels(scale, self.axis, values)

    def extra_repr(self) -> str:
        grid = "symmetric" if self.symmetric else "asymmetric"
        return f"{self.bits} bits, {grid}, {'per tensor' if self.axis is None else f'per channel of axis {self.axis}'}"


def quantizer(
    form: Format, low: torch.Tensor, high: torch.Tensor, symmetric: bool, axis: int | None
) -> AffineQuantizer:
    """The grid of ``form`` that covers [low, high] and holds zero exactly.

    low, high: scalars, or [K] with ``axis``.  Raises CalibrationError for a range that is
    not finite or runs backwards.
    """
    low, high = ends(low, high)
    if symmetric:
        scale = torch.maximum(-low, high) / (2 ** (form.bits - 1) - 1)
        zero = torch.zeros_like(scale)
    else:
        scale = (high - low) / (2**form.bits - 1)
        zero = torch.round(-low / scale.clamp(min=SMALLEST_SCALE))
    # A range of nothing but zero may take any scale.
    scale = torch.where(scale > SMALLEST_SCALE, scale, torch.ones_like(scale))
    return AffineQuantizer(scale, zero, form.bits, symmetric, axis)


def ends(low: torch.Tensor, high: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The ends of a range in float, widened to hold zero; CalibrationError unless they are finite and in order."""
    low, high = torch.as_tensor(low).float(), torch.as_tensor(high).float()
    if not (torch.isfinite(low).all() and torch.isfinite(high).all() and (low <= high).all()):
        raise CalibrationError(f"[{low.min():g}, {high.max():g}] is no range", "calibrate on pictures that are finite")
    return low.clamp(max=0), high.clamp(min=0)


def over_channels(scale: torch.Tensor, axis: int | None, values: torch.Tensor) -> torch.Tensor:
    """``scale`` [K] in a shape that meets channel ``axis`` of ``values``; as it is where axis is None."""
    return scale if axis is None else scale.view([-1 if at == axis else 1 for at in range(values.dim())])


def weight_range(weight: torch.Tensor, axis: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The least and greatest weight of each channel: two tensors [K]."""
    rows = weight.detach().transpose(0, axis).flatten(1)
    return rows.amin(1), rows.amax(1)
