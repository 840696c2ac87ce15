"""A block-wise weight whose ends are learned: what weight clipping by gradient moves.

Shao et al., OmniQuant, ICLR 2024, arXiv 2308.13137: the greatest weight of a block counts as sigmoid(a) of
itself, the least as sigmoid(b), and a and b start at 4.  A block of one bit learns its scale, from half to one and
a half of the mean magnitude, and starts at that.
"""

import torch

from edge_mpq.quantizers import blocks
from edge_mpq.quantizers.affine import SMALLEST_SCALE
from edge_mpq.quantizers.blocks import BlockQuantizer

START = 4.0


class ClippedWeight:
    """``weight`` [K, C, ...] on the grid of ``grid``'s widths between learned ends.

    reach: what an optimizer moves, [2, K, B]: of the least and of the greatest weight.
    """

    def __init__(self, weight: torch.Tensor, grid: BlockQuantizer):
        self.weight, self.start = weight.detach(), grid
        self.low, self.high = blocks.ranges(self.weight, grid.bits, grid.block, grid.kept)
        self.low, self.high = self.low.clamp(max=0), self.high.clamp(min=0)
        start = torch.where(grid.bits == 1, 0.0, START)
        self.reach = start.expand(2, *grid.scale.shape).clone().requires_grad_(True)

    def _ends(self) -> tuple[torch.Tensor, torch.Tensor]:
        signs = self.start.bits == 1
        share = torch.sigmoid(self.reach)
        low, high = torch.where(signs, share[1] + 0.5, share[0]), torch.where(signs, share[1] + 0.5, share[1])
        return low * self.low, high * self.high

    def __call__(self) -> torch.Tensor:
        """The weight as it stands, with gradients for ``reach``."""
        low, high = self._ends()
        bounds = [bound[:, None] for bound in self.start.bounds()]
        scale = (torch.maximum(-low, high) if self.start.symmetric else high - low) / bounds[1][:, 0]
        scale = torch.where(scale > SMALLEST_SCALE, scale, torch.ones_like(scale))[..., None]
        signs = (self.start.bits == 1)[:, None]
        zero = torch.zeros_like(scale) if self.start.symmetric else _round(-low[..., None] / scale)
        zero = zero if self.start.symmetric else torch.where(signs, 1.0, zero)
        units = self.weight.reshape(*self.low.shape, self.start.block) / scale
        nearest = torch.where(signs, torch.where(units < 0, -1.0, 1.0), _round(units)) + zero
        codes = torch.minimum(torch.maximum(nearest, bounds[0]), bounds[1])
        return torch.where(self.start.stays(), self.weight.flatten(1), ((codes - zero) * scale).flatten(1)).view_as(
            self.weight
        )

    @torch.no_grad()
    def grid(self) -> BlockQuantizer:
        """The grid between the ends as they stand."""
        start = self.start
        return blocks.over(*self._ends(), start.bits, start.symmetric, start.block, start.kept)


def _round(values: torch.Tensor) -> torch.Tensor:
    """Rounded, with the gradient of the values themselves."""
    return values + (torch.round(values) - values).detach()
