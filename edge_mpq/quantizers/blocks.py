"""Block-wise integers for weights: a scale, and where unsigned a zero point, for each run of inputs of an output.

q = clip(round(w / scale) + zero, lowest, highest), with the scale and zero of the block that w lies
in.  Signed grids have no zero point and leave out the lowest code, as TensorRT and integer kernels
want; unsigned ones use all codes.  This is ONNX's blocked DequantizeLinear, and what ONNX Runtime
computes in MatMulNBits.

Axis letters: K outputs, C inputs, B blocks of an output (C = B x block).
"""

import torch
from torch import nn

from edge_mpq.errors import CalibrationError
from edge_mpq.quantizers.affine import SMALLEST_SCALE
from edge_mpq.records.formats import Format
from edge_mpq.records.layer import LayerSpec


class BlockQuantizer(nn.Module):
    """Fake quantization of a weight [K, C, ...] whose trailing extents are 1.

    scale: float32 [K, B]; zero: int32 [K, B]; bits: of every block, or int32 [B], one width for each
    run of columns.  Gradients pass straight through inside the range.
    """

    scale: torch.Tensor
    zero: torch.Tensor
    bits: torch.Tensor

    def __init__(self, scale: torch.Tensor, zero: torch.Tensor, bits: int | torch.Tensor, symmetric: bool, block: int):
        super().__init__()
        self.symmetric, self.block = symmetric, block
        self.register_buffer("scale", scale.detach().float())
        self.register_buffer("zero", zero.detach().to(torch.int32))
        self.register_buffer("bits", torch.as_tensor(bits, dtype=torch.int32).expand(scale.shape[1]).clone())

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        units = weight.reshape(*self.scale.shape, self.block) / self.scale[..., None]
        codes = self._codes(units)
        inside = codes == torch.round(units) + self.zero[..., None]
        rounded = ((codes - self.zero[..., None]) * self.scale[..., None]).reshape(weight.shape)
        straight = weight * inside.reshape(weight.shape)
        return straight + (rounded - straight).detach()

    def _codes(self, units: torch.Tensor) -> torch.Tensor:
        lowest, highest = (bound[:, None] for bound in self.bounds())
        return torch.minimum(torch.maximum(torch.round(units.detach()) + self.zero[..., None], lowest), highest)

    def bounds(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The lowest and the highest code of each block: two tensors [B]."""
        if self.symmetric:
            most = 2.0 ** (self.bits - 1) - 1
            return -most, most
        return torch.zeros(len(self.bits)), 2.0**self.bits - 1

    @torch.no_grad()
    def integers(self, weight: torch.Tensor) -> torch.Tensor:
        """The codes [K, C] of ``weight``: int8 when symmetric, uint8 otherwise; the rounding of :meth:`forward`."""
        units = weight.reshape(*self.scale.shape, self.block) / self.scale[..., None]
        return self._codes(units).flatten(1).to(torch.int8 if self.symmetric else torch.uint8)

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
    low, high = low.float().clamp(max=0), high.float().clamp(min=0)
    scale = (high - low if form.unsigned else torch.maximum(-low, high)) / form.largest
    scale = torch.where(scale > SMALLEST_SCALE, scale, torch.ones_like(scale))
    zero = torch.round(-low / scale) if form.unsigned else torch.zeros_like(scale)
    return BlockQuantizer(scale, zero, form.bits, not form.unsigned, form.block)


def weight_range(weight: torch.Tensor, block: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The least and greatest weight of each block of a weight [K, C, ...]: two tensors [K, B]."""
    runs = weight.detach().reshape(len(weight), -1, block)
    return runs.amin(2), runs.amax(2)


def fits(layer: LayerSpec, form: Format) -> bool:
    """Whether a layer is a matrix whose inputs make whole blocks of ``form``: a linear, or a 1x1 convolution."""
    if not form.block:
        return True
    matrix = layer.kind == "linear" or (
        layer.kind == "conv2d" and layer.groups == 1 and layer.weight_shape[2:] == (1, 1)
        and layer.input_shape[1:] == layer.output_shape[1:]
    )  # fmt: skip
    return matrix and layer.weight_shape[1] % form.block == 0
