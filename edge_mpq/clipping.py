"""Ends of blocks drawn in or out a little, so that what is rounded between them errs least.

Salience-weighted quantizer calibration of Huang et al., SliM-LLM, ICML 2025, arXiv 2405.14917: for each block of each
output the least and greatest weight are multiplied by the one factor near 1 with the least sum of
|error|^2.4, where errors of salient weights (edge_mpq.salience) count ``emphasis`` times.  The
factor 1 is among those tried, so that no block is worse off.

Axis letters: K outputs, C inputs, B blocks of an output.
"""

import torch

from edge_mpq.column_bits import Columns
from edge_mpq.quantizers import blocks
from edge_mpq.quantizers.blocks import BlockQuantizer

REACH, STEPS = 0.1, 50
EXPONENT = 2.4
# A weight whose salience is so many standard deviations above or below its block's mean is salient.
DEVIATIONS = 3.0


@torch.no_grad()
def clipped(
    weight: torch.Tensor, columns: Columns, symmetric: bool, salience: torch.Tensor, emphasis: float = 1.0
) -> BlockQuantizer:
    """The grid of ``columns`` whose ends err least for a weight [K, C, ...] of ``salience`` [K, C]."""
    rows = weight.detach().flatten(1)
    block = rows.shape[1] // len(columns.bits)
    counts = torch.where(salient(salience, block), emphasis, 1.0)
    low, high = blocks.ranges(rows, columns.bits, block, columns.kept)
    best, least = None, torch.full_like(low, torch.inf)
    for share in (1.0, *(1 + sign * REACH * step / STEPS for sign in (1, -1) for step in range(1, STEPS + 1))):
        tried = blocks.over(share * low, share * high, columns.bits, symmetric, block, columns.kept)
        error = objective(tried(rows) - rows, counts, block)
        best = best or tried
        better = error < least
        least = torch.where(better, error, least)
        best.scale, best.zero = torch.where(better, tried.scale, best.scale), torch.where(better, tried.zero, best.zero)
    assert best is not None
    return best


def salient(salience: torch.Tensor, block: int) -> torch.Tensor:
    """Which weights stand out in their block of columns: bool [K, C]."""
    runs = salience.reshape(len(salience), -1, block)
    mean, deviation = runs.mean((0, 2), keepdim=True), runs.std((0, 2), keepdim=True)
    return ((runs - mean).abs() > DEVIATIONS * deviation).reshape(salience.shape)


def objective(error: torch.Tensor, counts: torch.Tensor, block: int) -> torch.Tensor:
    """What errors [K, C], each counted so often, are worth in every block: [K, B]."""
    return (counts * error.abs().pow(EXPONENT)).reshape(len(error), -1, block).sum(2)
