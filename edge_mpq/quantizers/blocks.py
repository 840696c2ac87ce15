"""Block-wise integers for weights: a scale, and where unsigned a zero point, for each run of inputs of an output.

q = clip(round(w / scale) + zero, lowest, highest), with the scale and zero of the block that w lies
in.  Signed grids have no zero point and leave out the lowest code, as TensorRT and integer kernels
want; unsigned ones use all codes.  This is ONNX's blocked DequantizeLinear, and what ONNX Runtime
computes in MatMulNBits.  A block of one bit holds signs: plus or minus its scale.

Axis letters: K outputs, C inputs, B blocks of an output (C = B x block).
"""

from collections.abc import Sequence

import torch
from torch import nn

from edge_mpq.errors import CalibrationError
from edge_mpq.quantizers.affine import SMALLEST_SCALE
from edge_mpq.records.formats import Format
from edge_mpq.records.layer import LayerSpec

# What a weight that stays float takes.
FLOAT = 32


class BlockQuantizer(nn.Module):
    """Fake quantization of a weight [K, C, ...] whose trailing extents are 1.

    scale: float32 [K, B]; zero: int32 [K, B]; bits: of every block, or int32 [B], one width for each
    run of columns.  kept: inputs whose weights stay float; their codes stand for zero.  Gradients pass
    straight through inside the range.
    """

    scale: torch.Tensor
    zero: torch.Tensor
    bits: torch.Tensor
    kept: torch.Tensor

    def __init__(
        self,
        scale: torch.Tensor,
        zero: torch.Tensor,
        bits: int | torch.Tensor,
        symmetric: bool,
        block: int,
        kept: torch.Tensor | Sequence[int] = (),
    ):
        super().__init__()
        self.symmetric, self.block = symmetric, block
        self.register_buffer("scale", scale.detach().float())
        self.register_buffer("zero", zero.detach().to(torch.int32))
        self.register_buffer(
            "bits", torch.as_tensor(bits, dtype=torch.int32, device=scale.device).expand(scale.shape[1]).clone()
        )
        self.register_buffer("kept", torch.as_tensor(kept, dtype=torch.int64, device=scale.device).clone())

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        units = weight.reshape(*self.scale.shape, self.block) / self.scale[..., None]
        codes = self._codes(units)
        rounded = ((codes - self.zero[..., None]) * self.scale[..., None]).reshape(weight.shape)
        stays = self.stays().view(1, -1, *[1] * (weight.dim() - 2)) if len(self.kept) else None
        if stays is not None:
            rounded = torch.where(stays, weight, rounded)
        if not torch.is_grad_enabled():
            return rounded
        inside = (codes == self._nearest(units)).reshape(weight.shape)
        straight = weight * (inside if stays is None else inside | stays)
        return rounded.detach() + (straight - straight.detach())  # the value stays exact

    def _nearest(self, units: torch.Tensor) -> torch.Tensor:
        """The nearest code, within the range or without."""
        units = units.detach()
        nearest = torch.round(units)
        if (self.bits == 1).any():
            nearest = torch.where((self.bits == 1)[:, None], torch.where(units < 0, -1.0, 1.0), nearest)
        return nearest + self.zero[..., None]

    def _codes(self, units: torch.Tensor) -> torch.Tensor:
        lowest, highest = (bound[:, None] for bound in self.bounds())
        return torch.minimum(torch.maximum(self._nearest(units), lowest), highest)

    def bounds(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The lowest and the highest code of each block: two tensors [B].

        Signs are -1 and 1 behind their zero point, which is 1 where codes have no sign.
        """
        if self.symmetric:
            most = (2.0 ** (self.bits - 1) - 1).clamp(min=1)
            return -most, most
        most = (2.0**self.bits - 1).clamp(min=2)
        return torch.zeros_like(most), most

    def stays(self) -> torch.Tensor:
        """Which inputs stay float: bool [C]."""
        columns = torch.zeros(self.scale.shape[1] * self.block, dtype=torch.bool, device=self.scale.device)
        columns[self.kept] = True
        return columns

    def columns(self) -> dict[int, int]:
        """Bits -> how many inputs have weights of so many; those that stay float count as codes and as ``FLOAT``."""
        counts = {int(bits): self.block * int((self.bits == bits).sum()) for bits in self.bits.unique()}
        return {**counts, FLOAT: len(self.kept)} if len(self.kept) else counts

    @torch.no_grad()
    def integers(self, weight: torch.Tensor) -> torch.Tensor:
        """The codes [K, C] of ``weight``: int8 when symmetric, uint8 otherwise; the rounding of :meth:`forward`."""
        units = weight.reshape(*self.scale.shape, self.block) / self.scale[..., None]
        codes = self._codes(units).flatten(1)
        if len(self.kept):
            codes = torch.where(self.stays(), self.zero.repeat_interleave(self.block, 1).float(), codes)
        return codes.to(torch.int8 if self.symmetric else torch.uint8)

    def extra_repr(self) -> str:
        zeros = "" if self.symmetric else ", zero points"
        return f"{self.bits.float().mean():.3g} bits, blocks of {self.block}{zeros}"


def quantizer(form: Format, low: torch.Tensor, high: torch.Tensor, symmetric: bool, axis: int | None) -> BlockQuantizer:
    """The grid of a block-wise ``form`` over [low, high], each [K, B]; ``symmetric`` and ``axis`` follow from the form.

    Raises ValueError for a format without blocks, CalibrationError for a range that is not finite
    or runs backwards.
    """
    if not form.block:
        raise ValueError(f"{form.name} has no blocks")
    if not (torch.isfinite(low).all() and torch.isfinite(high).all() and (low <= high).all()):
        raise CalibrationError("a weight is not finite", "these weights are broken; load others")
    return over(low, high, form.bits, not form.unsigned, form.block)


def over(
    low: torch.Tensor,
    high: torch.Tensor,
    bits: int | torch.Tensor,
    symmetric: bool,
    block: int,
    kept: torch.Tensor | Sequence[int] = (),
) -> BlockQuantizer:
    """The grid over [low, high], each [K, B], whose widths and float inputs are as :class:`BlockQuantizer` has them."""
    low, high = low.float().clamp(max=0), high.float().clamp(min=0)
    made = BlockQuantizer(torch.ones_like(low), torch.zeros_like(low), bits, symmetric, block, kept)
    scale = (torch.maximum(-low, high) if symmetric else high - low) / made.bounds()[1]
    made.scale = torch.where(scale > SMALLEST_SCALE, scale, torch.ones_like(scale))
    if not symmetric:
        made.zero = torch.round(-low / made.scale).to(torch.int32)
        made.zero[:, made.bits == 1] = 1
    return made


def weight_range(weight: torch.Tensor, block: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The least and greatest weight of each block of a weight [K, C, ...]: two tensors [K, B]."""
    runs = weight.detach().reshape(len(weight), -1, block)
    return runs.amin(2), runs.amax(2)


def ranges(
    weight: torch.Tensor, bits: torch.Tensor, block: int, kept: torch.Tensor | Sequence[int] = ()
) -> tuple[torch.Tensor, torch.Tensor]:
    """:func:`weight_range` of the inputs that are not ``kept``; of blocks of one bit the mean magnitude, on both sides.

    That mean is the scale with which signs err least.
    """
    rows = weight.detach().flatten(1).clone()
    counted = torch.ones(rows.shape[1])
    rows[:, torch.as_tensor(kept, dtype=torch.int64)] = 0
    counted[torch.as_tensor(kept, dtype=torch.int64)] = 0
    low, high = weight_range(rows, block)
    mean = rows.abs().reshape(len(rows), -1, block).sum(2) / counted.reshape(-1, block).sum(1).clamp(min=1)
    return torch.where(bits == 1, -mean, low), torch.where(bits == 1, mean, high)


def fits(layer: LayerSpec, form: Format) -> bool:
    """Whether a layer is a matrix whose inputs make whole blocks of ``form``: a linear, or a 1x1 convolution."""
    if not form.block:
        return True
    matrix = layer.kind == "linear" or (
        layer.kind == "conv2d" and layer.groups == 1 and layer.weight_shape[2:] == (1, 1)
        and layer.input_shape[1:] == layer.output_shape[1:]
    )  # fmt: skip
    return matrix and layer.weight_shape[1] % form.block == 0
