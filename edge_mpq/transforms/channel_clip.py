"""Clipped channel-wise quantization of what normalizations write, folded into a grid for the whole tensor.

Each channel j gets a grid of its own, step d_j and zero point z_j, clipped where its squared error
is least.  A scale and shift of the channel then make that grid the tensor's, d and z::

    X' = (X - (z - z_j) d_j) / (d_j / d)

so rounding X' on one grid errs channel by channel as rounding X on many, and the normalization
and the layers that read it take scale and shift into their parameters (_fold.py).  d is the mean
step.  z may be anything: the mean zero point, rounded, where the target's activations have one,
and zero where they are symmetric (TensorRT), at the same error.

The fold is that of Li et al., RepQ-ViT: Scale Reparameterization for Post-Training Quantization of
Vision Transformers, ICCV 2023, arXiv 2212.08254; clipping before it that of Ranjan and Savakis,
LRP-QViT, 2024, arXiv 2401.11243, whose threshold could not be read: a search is a reconstruction.
What it costs is in the weights: their input channels are multiplied by d_j / d, which widens rows.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import fx

from edge_mpq import graph as ir
from edge_mpq.calibration import inputs_of
from edge_mpq.errors import CalibrationError
from edge_mpq.partial import PartialRun
from edge_mpq.progress import Progress, silent
from edge_mpq.quantizers.affine import SMALLEST_SCALE
from edge_mpq.records import formats
from edge_mpq.records.target import Target
from edge_mpq.transforms._fold import fold
from edge_mpq.transforms._sites import sites

# Shares of a channel's values that a clip leaves inside; all of them is the first.
SHARES = (1.0, 0.99999, 0.9999, 0.9995, 0.999, 0.995, 0.99)
# Steps stay within a factor of this around their mean, so that a channel that calibration saw
# almost still cannot blow up on other pictures.
_SPREAD = 1e3
# Rows of a tensor kept for the search.
_ROWS = 4096


class Grids(NamedTuple):
    """One grid a channel and the one they are folded into; codes run from ``lowest`` to ``highest``.

    steps, zeros: [C].  step, zero: of the tensor.
    """

    steps: torch.Tensor
    zeros: torch.Tensor
    step: torch.Tensor
    zero: torch.Tensor
    lowest: int
    highest: int

    def shift(self) -> torch.Tensor:
        """What the tensor's zero stands for in each channel: [C]."""
        return (self.zero - self.zeros) * self.steps

    def scale(self) -> torch.Tensor:
        """Each channel's step in units of the tensor's: [C]."""
        return self.steps / self.step


@torch.no_grad()
def apply(
    graph: fx.GraphModule,
    batches: Iterable = (),
    target: Target | None = None,
    progress: Progress = silent,
    bits: int = 8,
) -> fx.GraphModule:
    """``graph`` with the channels of every normalization on one grid of ``bits``; changed in place and returned.

    Left as it is for a target without 8-bit integers.  Raises CalibrationError without batches or target.
    """
    batches = list(batches)
    if target is None or not batches:
        raise CalibrationError("clipping looks at what layers read", "give it batches of pictures and a target")
    if not target.has_int8:
        return graph
    found = [site for site in sites(graph) if site.source.target == ir.aten.layer_norm.default and site.shifts]
    rows = _rows(graph, [site.source for site in found], batches, progress)
    for site in progress(found, "clipping channels"):
        made = grids(rows[site.source][:, site.free], target.scheme.activation == "int8", bits)
        shift, scale = torch.zeros(len(site.free)), torch.ones(len(site.free))
        shift[site.free], scale[site.free] = made.shift(), made.scale()
        fold(graph, site, shift, scale)
    graph.graph.lint()
    return graph


def grids(rows: torch.Tensor, symmetric: bool, bits: int = 8) -> Grids:
    """The channels' grids that err least on ``rows`` [R, C], and the tensor's they are folded into.

    symmetric: whether the tensor's zero point must be zero; else it is the rounded mean of theirs.
    """
    largest = int(formats.get(f"int{bits}").largest)
    lowest, highest = (-largest, largest) if symmetric else (0, 2**bits - 1)
    width = rows.amax(0) - rows.amin(0)
    narrowest = (width.mean() / (highest - lowest) / _SPREAD).clamp(min=SMALLEST_SCALE)
    least = torch.full_like(width, torch.inf)
    steps, zeros = torch.ones_like(width), torch.zeros_like(width)
    for share in SHARES:
        low, high = (torch.quantile(rows, end, 0) for end in ((1 - share) / 2, (1 + share) / 2))
        step = torch.maximum((high - low) / (highest - lowest), narrowest)
        zero = torch.round((lowest + highest) / 2 - (low + high) / 2 / step)
        error = (rounded(rows, step, zero, lowest, highest) - rows).square().mean(0)
        better = error < least
        least, steps, zeros = (
            torch.where(better, new, old) for new, old in ((error, least), (step, steps), (zero, zeros))
        )
    zero = torch.zeros(()) if symmetric else torch.round(zeros.mean())
    return Grids(steps, zeros, steps.mean(), zero, lowest, highest)


def rounded(values: torch.Tensor, step: torch.Tensor, zero: torch.Tensor, lowest: int, highest: int) -> torch.Tensor:
    """``values`` [..., C] on grids of their channels, or one for all."""
    return (torch.clamp(torch.round(values / step) + zero, lowest, highest) - zero) * step


def _rows(
    graph: fx.GraphModule, tensors: Sequence[fx.Node], batches: list, progress: Progress
) -> dict[fx.Node, torch.Tensor]:
    """tensor -> some of its rows, evenly from all batches: [R, C]."""
    run = PartialRun(graph)
    kept: dict[fx.Node, list[torch.Tensor]] = {tensor: [] for tensor in tensors}
    for batch in progress(batches, "looking at channels"):
        run.run(inputs_of(batch))
        for tensor in tensors:
            rows = run.values[tensor].flatten(0, -2)
            kept[tensor].append(rows[:: -(-len(rows) * len(batches) // _ROWS)])
    return {tensor: torch.cat(parts) for tensor, parts in kept.items()}
