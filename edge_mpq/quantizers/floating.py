"""Low-precision floats: fp16 and bf16 by a cast, those of 8 to 4 bits by a scaled grid.

The scaled ones put the greatest magnitude of the range on the format's greatest value (448
for fp8, which is E4M3); subnormals are kept, larger values saturate.  E4M3 and E5M2:
Micikevicius et al., FP8 Formats for Deep Learning, arXiv 2209.05433; E3M2, E2M3 and E2M1: the
OCP Microscaling specification 1.0; E3M3 and E2M2 follow its rule, that no code is infinite or NaN.
"""

import torch
from torch import nn

from edge_mpq.quantizers.affine import over_channels
from edge_mpq.records.formats import Format

CASTS = {"fp16": torch.float16, "bf16": torch.bfloat16}
# (mantissa bits, exponent of the smallest normal)
GRIDS = {
    "fp8": (3, -6),
    "fp8_e5m2": (2, -14),
    "fp7_e3m3": (3, -2),
    "fp6_e3m2": (2, -2),
    "fp6_e2m3": (3, 0),
    "fp5_e2m2": (2, 0),
    "fp4": (1, 0),
}


class CastQuantizer(nn.Module):
    """There and back through a 16-bit float; values beyond its range saturate, as engines do."""

    def __init__(self, form: Format):
        super().__init__()
        self.dtype, self.largest = CASTS[form.name], form.largest

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        held = values.clamp(-self.largest, self.largest)
        # Straight through, or small gradients would underflow on their way back through the cast.
        return held + (held.to(self.dtype).to(values.dtype) - held).detach()


class FloatQuantizer(nn.Module):
    """Round to sign * 2**e * 1.m on a scale, per tensor or per channel; straight-through gradients."""

    scale: torch.Tensor

    def __init__(self, scale: torch.Tensor, form: Format, axis: int | None):
        super().__init__()
        self.mantissa, self.least_exponent = GRIDS[form.name]
        self.largest, self.axis = form.largest, axis
        self.register_buffer("scale", scale)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        scale = over_channels(self.scale, self.axis, values)
        units = (values / scale).clamp(-self.largest, self.largest)
        # frexp gives units = m * 2**e with m in [0.5, 1): the normal exponent is e - 1.
        exponent = (torch.frexp(units.detach()).exponent - 1).clamp(min=self.least_exponent)
        step = torch.exp2((exponent - self.mantissa).to(values.dtype))
        rounded = (torch.round(units / step) * step).clamp(-self.largest, self.largest)
        return (units + (rounded - units).detach()) * scale


def quantizer(form: Format, low: torch.Tensor, high: torch.Tensor, symmetric: bool, axis: int | None) -> nn.Module:
    """The grid of a float format; ``symmetric`` is always true of floats and ignored."""
    if form.name == "fp32":
        return nn.Identity()
    if form.name in CASTS:
        return CastQuantizer(form)
    reach = torch.maximum(-torch.as_tensor(low).float(), torch.as_tensor(high).float())
    scale = reach / form.largest
    # A range of nothing but zero, or of what divides to zero, may take any scale.
    scale = torch.where(scale > torch.finfo(torch.float32).tiny, scale, torch.ones_like(scale))
    return FloatQuantizer(scale, form, axis)
