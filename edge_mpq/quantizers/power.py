"""A grid that is uniform after a power: many points near zero, few far out; what engines do not compute.

Magnitudes are raised to an exponent a of 0 to 1, rounded, and raised back::

    Q(x) = r sign(k) (|k| / K)**(1 / a),  k of -K to K = 2**(bits - 1) - 1,  r the end of the range

so that a = 1 is the symmetric uniform grid.  Yvinec, Dapogny, Cord, Bailly: PowerQuant, ICLR 2023, arXiv
2301.09858, and NUPES, arXiv 2308.05600, of which only the idea and the abstract could be read: the
choice of a by squared error is a reconstruction.  A value goes to the nearest point, not to that
whose power is nearest.
"""

import torch
from torch import nn

from edge_mpq.quantizers.affine import SMALLEST_SCALE, ends, over_channels, weight_range
from edge_mpq.records.formats import Format

# What :func:`fitted` tries; and what a grid has that is fitted to nothing.
EXPONENTS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4)
USUAL = 0.5


class PowerQuantizer(nn.Module):
    """Fake quantization on powers of integers, per tensor or per channel, symmetric.

    scale: float32 [1] or [K], the end of the range by the greatest code; axis: the channel axis, None per
    tensor.  Straight-through gradients, zero outside the range.
    """

    scale: torch.Tensor

    def __init__(self, scale: torch.Tensor, exponent: float, bits: int, axis: int | None):
        super().__init__()
        self.exponent, self.bits, self.axis = exponent, bits, axis
        self.highest = 2 ** (bits - 1) - 1
        self.lowest = -self.highest
        self.register_buffer("scale", scale.detach().float().reshape(-1))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        end = self.highest * self._over(self.scale, values)
        held = torch.minimum(torch.maximum(values, -end), end)
        below = torch.floor(self.units(held.detach())).clamp(self.lowest, self.highest - 1)
        low, high = self.points(below, self.scale), self.points(below + 1, self.scale)
        nearest = torch.where(held - low <= high - held, low, high).detach()
        return nearest + (held - held.detach())  # the points themselves, to the bit

    def units(self, values: torch.Tensor) -> torch.Tensor:
        """``values`` in codes, not rounded."""
        share = values / (self.highest * self._over(self.scale, values))
        return self.highest * torch.sign(share) * share.abs().pow(self.exponent)

    def points(self, codes: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        """What ``codes``, rounded or not, stand for where the steps are ``scale``."""
        share = codes / self.highest
        return self.highest * self._over(scale, codes) * torch.sign(share) * share.abs().pow(1 / self.exponent)

    def scaled(self, scale: torch.Tensor) -> "PowerQuantizer":
        """The same grid with other steps."""
        return PowerQuantizer(scale, self.exponent, self.bits, self.axis)

    def _over(self, scale: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        return over_channels(scale, self.axis, values)

    def extra_repr(self) -> str:
        return f"{self.bits} bits, exponent {self.exponent:g}, " + (
            "per tensor" if self.axis is None else f"per channel of axis {self.axis}"
        )


def quantizer(
    form: Format, low: torch.Tensor, high: torch.Tensor, symmetric: bool, axis: int | None, exponent: float = USUAL
) -> PowerQuantizer:
    """The grid of ``form``'s bits that covers [low, high]; it is symmetric whatever ``symmetric`` says.

    Raises ValueError for a format that is no integer, CalibrationError for what is no range.
    """
    if form.is_float:
        raise ValueError(f"{form.name} has no powers")
    low, high = ends(low, high)
    scale = torch.maximum(-low, high) / (2 ** (form.bits - 1) - 1)
    # A range of nothing but zero may take any scale.
    return PowerQuantizer(torch.where(scale > SMALLEST_SCALE, scale, torch.ones_like(scale)), exponent, form.bits, axis)


@torch.no_grad()
def fitted(form: Format, weight: torch.Tensor, axis: int) -> PowerQuantizer:
    """The exponent of ``EXPONENTS`` that errs least on ``weight`` in squared error; uniform is among them."""
    tried = [quantizer(form, *weight_range(weight, axis), True, axis, exponent) for exponent in EXPONENTS]
    return min(tried, key=lambda grid: (grid(weight) - weight).double().square().mean().item())
