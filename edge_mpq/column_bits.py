"""Bits for blocks of inputs: salient ones get more, as many others fewer, and the average stays what it was.

Salience-determined bit allocation of Huang et al., SliM-LLM, ICML 2025, arXiv 2405.14917: blocks are
ordered by salience (edge_mpq.salience), p of them are lowered and p raised, and the p is taken whose weights,
rounded to nearest, disturb the layer's output least.  Here p = 0 is tried as well, so that no layer is
worse off for it, and widths need not be neighbours: of 2, 4 and 8 bits, two lowered blocks pay for one raised.
Single inputs may stay float, which the least salient blocks then pay for too.

Axis letters: K outputs, C inputs, B blocks of C / B inputs, N places where inputs were seen.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import fx

from edge_mpq import graph as ir
from edge_mpq.calibration import inputs_of
from edge_mpq.hessians import columns_of
from edge_mpq.partial import PartialRun
from edge_mpq.progress import Progress, silent
from edge_mpq.quantizers import blocks
from edge_mpq.quantizers.blocks import FLOAT, BlockQuantizer

METRICS = ("kl", "mse")
WIDTHS = tuple(range(1, 9))
LEAST_CHANCE = 1e-6
# Places of a layer's input on which allocations are compared.
PLACES = 2048


class Columns(NamedTuple):
    """bits: of each block, int32 [B].  kept: inputs that stay float, int64 [n]."""

    bits: torch.Tensor
    kept: torch.Tensor

    def mean(self, block: int) -> float:
        """Average bits a weight, with those that stay float counted as codes and as floats."""
        return (self.bits.sum().item() * block + FLOAT * len(self.kept)) / (block * len(self.bits))

    def is_like(self, other: "Columns") -> bool:
        """Whether both say the same."""
        return torch.equal(self.bits, other.bits) and torch.equal(self.kept, other.kept)

    def grid(self, weight: torch.Tensor, symmetric: bool) -> BlockQuantizer:
        """The grid between the least and the greatest weight [K, C, ...] of each block."""
        block = weight.shape[1] // len(self.bits)
        return blocks.over(*blocks.ranges(weight, self.bits, block, self.kept), self.bits, symmetric, block, self.kept)


def neighbours(bits: int, widths: Sequence[int] = WIDTHS) -> tuple[int, int] | None:
    """The widths next below and above ``bits``; None where there is none on either side."""
    below, above = [one for one in widths if one < bits], [one for one in widths if one > bits]
    return (max(below), min(above)) if below and above else None


def alike(bits: int, count: int) -> Columns:
    """``count`` blocks of the same ``bits``."""
    return Columns(torch.full((count,), bits, dtype=torch.int32), torch.empty(0, dtype=torch.int64))


def candidates(
    salience: torch.Tensor, bits: int, block: int, widths: Sequence[int] = WIDTHS, floats: int = 0
) -> Iterator[Columns]:
    """Columns of mean ``bits`` for a ``salience`` [K, C]: all alike first, then more and more blocks exchanged.

    floats: inputs that stay float in a second round of the same, the most salient, paid for by as
    many lowered blocks as it takes; its mean is at most ``bits``.
    """
    many = salience.shape[1] // block
    yield alike(bits, many)
    found = neighbours(bits, widths)
    if found is None:
        return
    for kept in (torch.empty(0, dtype=torch.int64), salience.mean(0).topk(floats).indices.sort().values):
        left = salience.clone()
        left[:, kept] = 0
        order = left.reshape(len(left), many, block).mean((0, 2)).argsort()
        paying = math.ceil(FLOAT * len(kept) / (block * (bits - found[0])))
        first = 0 if len(kept) else 1
        yield from (Columns(some, kept) for some in _exchanged(order, bits, found, paying, first))
        if not floats:
            return


def _exchanged(
    order: torch.Tensor, bits: int, ends: tuple[int, int], paying: int, first: int
) -> Iterator[torch.Tensor]:
    """Bits [B] with ``paying`` blocks of ``order``, the least salient first, lowered; from ``first`` exchanges on."""
    low, high = ends
    common = math.gcd(high - bits, bits - low)
    down, up = (high - bits) // common, (bits - low) // common
    for exchanges in range(first, (len(order) - paying) // (down + up) + 1):
        allocation = torch.full((len(order),), bits, dtype=torch.int32)
        allocation[order[: paying + exchanges * down]] = low
        allocation[order[len(order) - exchanges * up :]] = high
        yield allocation


@torch.no_grad()
def allocated(
    weight: torch.Tensor, inputs: torch.Tensor, choices: Iterable[Columns], symmetric: bool, metric: str = "kl"
) -> Columns:
    """The one of ``choices`` that disturbs what a weight [K, C, ...] makes of ``inputs`` [N, C] least.

    metric: ``kl``, the divergence of the outputs as if they were logits, as published; ``mse`` of the outputs, for
    layers whose outputs are no logits (the signal-to-noise ratio puts choices in the same order).  The first of
    equals is taken.
    """
    rows = weight.detach().flatten(1)
    wanted = inputs @ rows.T
    found = [(disturbance(inputs @ one.grid(rows, symmetric)(rows).T, wanted, metric), one) for one in choices]
    return min(found, key=lambda pair: pair[0])[1]


def disturbance(given: torch.Tensor, wanted: torch.Tensor, metric: str = "kl") -> float:
    """How far outputs [N, K] are from those ``wanted``, in nats or as a mean square."""
    if metric == "mse":
        return (given - wanted).square().mean().item()
    mine, theirs = (values.softmax(1).clamp(min=LEAST_CHANCE) for values in (given, wanted))
    return (mine * (mine / theirs).log()).sum(1).mean().item()


@torch.no_grad()
def inputs_seen(
    graph: fx.GraphModule, layers: Iterable[str], batches: Iterable, progress: Progress = silent
) -> dict[str, torch.Tensor]:
    """layer -> about ``PLACES`` of the inputs [N, C] it reads, as many from each batch; of ungrouped layers."""
    batches, wanted = list(batches), set(layers)
    nodes = {name: found for name, found in ir.weighted(graph).items() if name in wanted}
    found: dict[str, list[torch.Tensor]] = {name: [] for name in nodes}
    run, draw = PartialRun(graph), torch.Generator().manual_seed(0)
    for batch in progress(batches, "looking at inputs"):
        run.run(inputs_of(batch))
        for name, applications in nodes.items():
            rows = torch.cat([columns_of(node, run.values[node.args[0]])[0].T for node in applications])
            some = torch.randperm(len(rows), generator=draw)[: -(-PLACES // len(batches))]
            found[name].append(rows[some])
    return {name: torch.cat(parts) for name, parts in found.items()}
