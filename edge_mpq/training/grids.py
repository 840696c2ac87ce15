"""Grids of a graph in training: they follow the data, then their steps are learned, or they stand still."""

import torch
from torch import nn

from edge_mpq import quantizers
from edge_mpq.quantizers import affine, lsq
from edge_mpq.quantizers.affine import AffineQuantizer
from edge_mpq.records.formats import Format

# The share that a step's extremes have in a moving range.
RATE = 0.01


class WeightGrid(nn.Module):
    """Rounds a weight to integers, per channel; while ``following``, on the step that errs least on it now."""

    def __init__(self, form: Format, weight: torch.Tensor, axis: int):
        super().__init__()
        self.form, self.axis, self.following = form, axis, False
        scale = lsq.weight_scale(weight, form, axis)
        zero = torch.zeros_like(scale, dtype=torch.int32)
        self.step = lsq.LearnedStepQuantizer(AffineQuantizer(scale, zero, form.bits, True, axis))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        if self.following:
            self.step.restart(lsq.weight_scale(weight, self.form, self.axis))
        return self.step(weight)


class FollowingWeightGrid(nn.Module):
    """Rounds a weight to a low-precision float or blocks of integers, whose scales are those of the weight now."""

    def __init__(self, form: Format, axis: int):
        super().__init__()
        self.form, self.axis = form, axis

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return quantizers.of_weight(self.form, weight, self.axis)(weight)


def weight_grid(form: Format, weight: torch.Tensor, axis: int) -> nn.Module:
    """What rounds a folded ``weight`` to ``form`` in training."""
    return FollowingWeightGrid(form, axis) if form.is_float or form.block else WeightGrid(form, weight, axis)


class ActivationGrid(nn.Module):
    """Rounds one tensor, or all tensors of a group, to integers.

    While ``following`` it gathers the least and greatest value of every tensor it rounds, and
    :meth:`move` takes the union of a step into the moving range (Jacob et al., arXiv 1712.05877).
    """

    ends: torch.Tensor

    def __init__(self, form: Format, start: AffineQuantizer):
        super().__init__()
        self.form, self.following = form, False
        self.step = lsq.LearnedStepQuantizer(start)
        self.register_buffer("ends", torch.stack(bounds(start)))
        self.seen: list[torch.Tensor] = []

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        if self.training and self.following:
            self.seen.append(torch.stack(torch.aminmax(values.detach())))
        return self.step(values)

    @torch.no_grad()
    def move(self) -> None:
        """Take what this step has seen into the range."""
        if not self.seen:
            return
        ends = torch.stack(self.seen)
        self.seen = []
        self.ends.lerp_(torch.stack([ends[:, 0].amin(), ends[:, 1].amax()]).float(), RATE)
        low, high = self.ends.view(2, 1)
        grid = affine.quantizer(self.form, low, high, self.step.symmetric, None)
        self.step.restart(grid.scale, grid.zero)


def bounds(grid: AffineQuantizer) -> tuple[torch.Tensor, torch.Tensor]:
    """The least and greatest value on a grid per tensor: scalars."""
    low, high = ((code - grid.zero) * grid.scale for code in (grid.lowest, grid.highest))
    return low.reshape(()), high.reshape(())
