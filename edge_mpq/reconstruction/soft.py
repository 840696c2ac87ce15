"""A weight between the two grid points around it: what rounding by gradient moves.

w = s clip(floor(w/s) + h, lowest, highest) with h in [0, 1], which starts at w's own fraction; on a grid
of powers floor and h are of its codes (edge_mpq.reconstruction says where from).  The rectified sigmoid
and the annealed pull to 0 and 1 are AdaRound's, equations 23 and 24; the softplus is a stand-in with the
same rectification.
"""

import torch
from torch.nn import functional

from edge_mpq.quantizers.affine import AffineQuantizer
from edge_mpq.quantizers.power import PowerQuantizer

Grid = AffineQuantizer | PowerQuantizer
# The rectified sigmoid reaches beyond [0, 1] by this much, so that its ends have a gradient.
STRETCH = 0.1


class SoftWeight:
    """``weight`` on its way to the points of ``grid`` (per channel).

    fraction: h, [of the weight's shape].  growth: logarithm of the step over where it starts, [K],
    moved only if ``learns_scale``.
    """

    def __init__(self, weight: torch.Tensor, grid: Grid, variable: str, learns_scale: bool = False):
        self.grid, self.variable = grid, variable
        units = grid.units(weight.detach())
        # A weight on or beyond the last point starts there, with one point below to go to.
        self.below = torch.floor(units).clamp(grid.lowest, grid.highest - 1)
        self.place = _inverse((units - self.below).clamp(0, 1), variable).requires_grad_(True)
        self.growth = torch.zeros_like(grid.scale).requires_grad_(learns_scale)

    def parameters(self) -> list[torch.Tensor]:
        """What an optimizer moves."""
        return [self.place, self.growth] if self.growth.requires_grad else [self.place]

    @property
    def fraction(self) -> torch.Tensor:
        """h: how far each weight stands from the point below it."""
        if self.variable == "ste":
            held = self.place.clamp(0, 1)
            return held + (torch.round(held) - held).detach()
        rise = torch.sigmoid(self.place) * (1 + 2 * STRETCH) if self.variable == "sigmoid" else _softplus(self.place)
        return (rise - STRETCH).clamp(0, 1)

    def __call__(self) -> torch.Tensor:
        """The weight as it stands."""
        return self.grid.points(self.below + self.fraction, self.scale)

    @property
    def scale(self) -> torch.Tensor:
        """The step of each channel [K]."""
        return self.grid.scale * torch.exp(self.growth)

    def indecision(self, power: float) -> torch.Tensor:
        """Mean of 1 - |2h - 1|**power: zero where every weight is on a grid point."""
        return (1 - (2 * self.fraction - 1).abs().pow(power)).mean()

    @torch.no_grad()
    def rounded(self) -> tuple[torch.Tensor, Grid]:
        """The weight on the nearer of its two points, and the grid of those."""
        scale = self.scale.detach()
        return self.grid.points(self.below + torch.round(self.fraction), scale), self.grid.scaled(scale)


def _softplus(place: torch.Tensor) -> torch.Tensor:
    return functional.softplus(place)


def _inverse(fraction: torch.Tensor, variable: str) -> torch.Tensor:
    """The variable at which h is ``fraction``."""
    if variable == "ste":
        return fraction.clone()
    if variable == "sigmoid":
        return torch.logit((fraction + STRETCH) / (1 + 2 * STRETCH))
    return torch.log(torch.expm1(fraction + STRETCH))
