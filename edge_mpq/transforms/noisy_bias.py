"""NoisyQuant: a fixed noise added to what a layer reads spreads its values over the grid.

Liu et al., NoisyQuant: Noisy Bias-Enhanced Post-Training Activation Quantization for Vision
Transformers, CVPR 2023, arXiv 2211.16056: N = mean + range * U, U uniform in [-1, 1] drawn once a
channel; mean, then range, are searched for the least error of the layer's output, nothing
being a candidate.  (The authors' code draws a Gaussian where the paper says uniform; this is the
paper's.)  It helps where values crowd midway between grid points, as behind GELU, and at few bits.
"""

from collections.abc import Iterable

import torch
from torch import fx

from edge_mpq.progress import Progress, silent
from edge_mpq.quantizers.affine import AffineQuantizer
from edge_mpq.records.target import Target
from edge_mpq.transforms import _offsets

# Candidates, in steps of the grid.
MEANS = torch.linspace(-1, 1, 41)
RANGES = torch.linspace(0, 2, 41)
SEED = 0


def apply(
    graph: fx.GraphModule,
    batches: Iterable = (),
    target: Target | None = None,
    progress: Progress = silent,
    bits: int = 8,
) -> fx.GraphModule:
    """``graph`` with noisy biases before its linear layers; changed in place and returned.  Raises as _offsets.py."""
    return _offsets.rewritten(graph, batches, target, noise, progress, bits)


def added(graph: fx.GraphModule) -> dict[str, torch.Tensor]:
    """layer -> the offset [C] that was added to what it reads."""
    return graph.meta.get(_offsets.OFFSETS, {})


def noise(values: torch.Tensor, weight: torch.Tensor, grid: AffineQuantizer) -> torch.Tensor:
    """The noise [C] for a layer of ``weight`` [K, C] that reads ``values`` [T, C] on ``grid``."""
    draw = 2 * torch.rand(values.shape[1], generator=torch.Generator().manual_seed(SEED)) - 1
    best = torch.zeros_like(draw)
    for candidates in (MEANS[:, None] * torch.ones_like(draw), RANGES[:, None] * draw):
        tried = torch.cat([best[None], best + candidates * grid.scale])
        errors = [_offsets.error(values, weight, grid, offset) for offset in tried]
        best = tried[int(torch.tensor(errors).argmin())]
    return best
