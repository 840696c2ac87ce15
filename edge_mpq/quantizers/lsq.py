"""Learned step size: the grid of affine.py, whose step is a parameter that training moves.

Esser et al., Learned Step Size Quantization, ICLR 2020, arXiv 1902.08153: inside the range
the step's gradient is round(x / s) - x / s, beyond it the last code, all of it times
1 / sqrt(N Qp), with N the values that share the step and Qp the highest code.  The half step
beyond the last code, which rounds back onto it, counts as inside, as in torch and affine.py.
An asymmetric grid keeps the zero point it starts with (LSQ+, Bhalgat et al., arXiv 2004.09576,
learns that too).  Forward is bit for bit that of :class:`AffineQuantizer` at the same scale.
"""

import torch
from torch import nn

from edge_mpq.quantizers import affine
from edge_mpq.quantizers.affine import AffineQuantizer
from edge_mpq.records.formats import Format

# Starts of a weight's step that are tried, as shares of the step that clips nothing.
_SHARES = torch.linspace(1.0, 0.2, 33)


class LearnedStepQuantizer(nn.Module):
    """Fake quantization whose step learns, per tensor ([N, ...] activations) or per channel (weights).

    The step is ``start * exp(growth)``: it stays positive, and one learning rate serves steps
    of any size under Adam (as in Jain et al., Trained Quantization Thresholds, arXiv 1903.08066,
    who learn the logarithm too).  ``learning`` false holds growth out of the step and still
    of use to whoever counts gradients: it is zero.
    """

    start: torch.Tensor
    zero: torch.Tensor

    def __init__(self, grid: AffineQuantizer):
        super().__init__()
        self.bits, self.symmetric, self.axis = grid.bits, grid.symmetric, grid.axis
        self.lowest, self.highest = grid.lowest, grid.highest
        self.learning = True
        self.register_buffer("start", grid.scale.clone())
        self.register_buffer("zero", grid.zero.clone())
        self.growth = nn.Parameter(torch.zeros_like(grid.scale))

    @property
    def scale(self) -> torch.Tensor:
        """The step: float32 [1] or [K]."""
        # Of a copy: a restart between a step forward and its way back must not reach into the latter.
        return self.start.clone() * torch.exp(self.growth * float(self.learning))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        scale, zero = self.scale, self.zero.float()
        if self.axis is None:
            factor = self._factor(values.numel() / max(len(values), 1))
            return torch._fake_quantize_learnable_per_tensor_affine(
                values, scale, zero, self.lowest, self.highest, factor
            )
        factor = self._factor(values.numel() / len(scale))
        return torch._fake_quantize_learnable_per_channel_affine(
            values, scale, zero, self.axis, self.lowest, self.highest, factor
        )

    def _factor(self, shared: float) -> float:
        return float((max(shared, 1) * self.highest) ** -0.5)

    @torch.no_grad()
    def restart(self, scale: torch.Tensor, zero: torch.Tensor | None = None) -> None:
        """Begin again from another step, and zero point where one is given."""
        self.start.copy_(scale)
        self.growth.zero_()
        if zero is not None:
            self.zero.copy_(zero)

    def learned(self) -> AffineQuantizer:
        """The grid that was learned, as it is deployed."""
        return AffineQuantizer(self.scale, self.zero, self.bits, self.symmetric, self.axis)


def quantizer(
    form: Format, low: torch.Tensor, high: torch.Tensor, symmetric: bool, axis: int | None
) -> LearnedStepQuantizer:
    """A learner that starts from the affine grid on [low, high].

    Raises ValueError for a format that is no integer, CalibrationError as affine.py does.
    """
    if form.is_float:
        raise ValueError(f"{form.name} has no step to learn")
    return LearnedStepQuantizer(affine.quantizer(form, low, high, symmetric, axis))


@torch.no_grad()
def weight_scale(weight: torch.Tensor, form: Format, axis: int) -> torch.Tensor:
    """The step [K] of each channel that errs least in squared error, among shares of its greatest weight."""
    rows = weight.detach().transpose(0, axis).flatten(1)
    widest = rows.abs().amax(1) / form.largest
    widest = torch.where(widest > affine.SMALLEST_SCALE, widest, torch.ones_like(widest))
    best, least = widest, torch.full_like(widest, torch.inf)
    for share in _SHARES.tolist():
        scale = widest * share
        codes = torch.round(rows / scale[:, None]).clamp(-form.largest, form.largest)
        error = (codes * scale[:, None] - rows).square().sum(1)
        best = torch.where(error < least, scale, best)
        least = torch.minimum(error, least)
    return best
