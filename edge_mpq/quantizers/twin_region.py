"""Two uniform regions, one on either side of zero, each with a step of its own; what engines do not compute.

Behind GELU values reach -0.17 at most on one side and anything on the other: one symmetric grid
spends half its codes on almost nothing.  Half the codes on each side, 2**(k - 1) of them, serve both::

    Q(x) = d_pos clip(round(x / d_pos), 0, 2**(k-1) - 1)  for x >= 0
           d_neg clip(round(x / d_neg), -2**(k-1), 0)      for x < 0

:func:`fitted` chooses the ratio of the two steps from data, as OPT-m does: Tai and Wu, MPTQ-ViT, arXiv
2401.14895, after their TSPTQ-ViT, arXiv 2305.12901, whose ratio was set by hand, and the twin uniform
quantizer of Yuan et al., PTQ4ViT, ECCV 2022, arXiv 2111.12293.  The paper's own objective could not be
read; squared error is a reconstruction.  An asymmetric grid (affine.py) does as well at six bits and
more: this one is for what has no zero point, or has very few bits.
"""

import torch
from torch import nn

from edge_mpq.errors import CalibrationError
from edge_mpq.quantizers.affine import SMALLEST_SCALE, ends
from edge_mpq.records.formats import Format

# Ratios 2**m that a shift computes, and shares of the greatest value that a free ratio may clip at.
EXPONENTS = tuple(range(16))
SHARES = tuple((step + 1) / 100 for step in range(100))


class TwinRegionQuantizer(nn.Module):
    """Fake quantization with one step for values below zero and one above, per tensor or per channel.

    negative, positive: the steps, float32 [1] or [K]; axis: the channel axis, None per tensor.
    Straight-through gradients, zero beyond the last code of either side.
    """

    negative: torch.Tensor
    positive: torch.Tensor
    zero: torch.Tensor

    def __init__(self, negative: torch.Tensor, positive: torch.Tensor, bits: int, axis: int | None):
        super().__init__()
        self.bits, self.axis, self.codes = bits, axis, 2 ** (bits - 1)
        for name, step in (("negative", negative), ("positive", positive)):
            step = step.detach().float().reshape(-1)
            # A side of nothing but zero may take any step.
            self.register_buffer(name, torch.where(step > SMALLEST_SCALE, step, torch.ones_like(step)))
        self.register_buffer("zero", torch.zeros_like(self.negative, dtype=torch.int32))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        below = self._side(values, self.negative, -self.codes, 0)
        return torch.where(values < 0, below, self._side(values, self.positive, 0, self.codes - 1))

    def _side(self, values: torch.Tensor, step: torch.Tensor, lowest: int, highest: int) -> torch.Tensor:
        if self.axis is None:
            return torch.fake_quantize_per_tensor_affine(values, step, self.zero, lowest, highest)
        return torch.fake_quantize_per_channel_affine(values, step, self.zero, self.axis, lowest, highest)

    def extra_repr(self) -> str:
        return (
            f"{self.bits} bits in two regions, {'per tensor' if self.axis is None else f'per channel of {self.axis}'}"
        )


def quantizer(
    form: Format, low: torch.Tensor, high: torch.Tensor, symmetric: bool, axis: int | None
) -> TwinRegionQuantizer:
    """The two regions that cover [low, 0] and [0, high]; each is its own, so ``symmetric`` says nothing here.

    Raises ValueError for a format that is no integer, CalibrationError for what is no range.
    """
    _integers(form)
    low, high = ends(low, high)
    codes = 2 ** (form.bits - 1)
    return TwinRegionQuantizer(-low / codes, high / (codes - 1), form.bits, axis)


@torch.no_grad()
def fitted(form: Format, values: torch.Tensor, shifts: bool = False) -> TwinRegionQuantizer:
    """The two regions that err least on ``values`` (of any shape) in squared error, per tensor.

    Free, the negative step covers the least value and the positive clips where it errs least.  With
    ``shifts`` one step is the other times 2**m, m of ``EXPONENTS`` (an integer engine shifts instead of
    multiplying), and one of the two covers its side; m = 0 among them is the symmetric grid, so the
    answer is never worse than that.  Raises as :func:`quantizer` does.
    """
    _integers(form)
    if not values.numel() or not torch.isfinite(values).all():
        raise CalibrationError("two regions were to be fitted to values that are not finite", "check the pictures")
    codes = 2 ** (form.bits - 1)
    negative, positive = (-values.min()).clamp(min=0) / codes, values.max().clamp(min=0) / (codes - 1)
    if shifts:
        steps = [(positive / 2.0**m, positive) for m in EXPONENTS]
        steps += [(negative, negative * 2.0**m) for m in EXPONENTS]
    else:
        steps = [(negative, positive * share) for share in SHARES]
    tried = [TwinRegionQuantizer(*pair, form.bits, None) for pair in steps]
    return min(tried, key=lambda module: (module(values) - values).double().square().mean().item())


def _integers(form: Format) -> None:
    if form.is_float:
        raise ValueError(f"{form.name} has no regions")
