"""An offset a channel, chosen and not drawn: each channel sits on the grid where it errs least.

Deployed as NoisyQuant is (noisy_bias.py, arXiv 2211.16056) and at the same cost, but ours: of 41
offsets within half a step, each channel takes the one with which its own values err least.
"""

from collections.abc import Iterable

import torch
from torch import fx

from edge_mpq.progress import Progress, silent
from edge_mpq.quantizers.affine import AffineQuantizer
from edge_mpq.records.target import Target
from edge_mpq.transforms import _offsets

# Candidates, in steps of the grid; whole steps change nothing but where the grid ends.
OFFSETS = torch.linspace(-0.5, 0.5, 41)


def apply(
    graph: fx.GraphModule,
    batches: Iterable = (),
    target: Target | None = None,
    progress: Progress = silent,
    bits: int = 8,
) -> fx.GraphModule:
    """``graph`` with offsets before its linear layers; changed in place and returned.  Raises as _offsets.py."""
    return _offsets.rewritten(graph, batches, target, offsets, progress, bits)


def offsets(values: torch.Tensor, weight: torch.Tensor, grid: AffineQuantizer) -> torch.Tensor:
    """The offset [C] of every channel of ``values`` [T, C] on ``grid``; ``weight`` is not asked."""
    tried = OFFSETS * grid.scale
    errors = torch.stack([(grid(values + step) - step - values).square().mean(0) for step in tried])
    # Nothing is taken where nothing is better.
    errors[len(tried) // 2] -= 1e-12 + 1e-6 * errors[len(tried) // 2]
    return tried[errors.argmin(0)]
