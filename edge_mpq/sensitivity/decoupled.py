"""Harm by a metric of its own for each group of layers: content by the task's, quality by noise.

Zhao et al., MixDQ, ECCV 2024, arXiv 2405.17873: one number for all layers protects those that decide
what is in a picture and starves those that decide how clean it is.  Content layers (cross-attention and
feed-forward) are judged by how unlike the answer becomes, in structural similarity where the
answer is a picture or map, in KL divergence where it is a choice of classes; the others by the noise
power in the answer.  Weights and activations of one layer at a time are rounded apart, and their harms added.

Metrics of different groups do not compare: allocator ``two_groups`` never adds them up.  For those that do,
each group's harms are shares of the group's total at its narrowest formats.
"""

import math
import re
from collections.abc import Iterable, Mapping

import torch
from torch import fx

from edge_mpq import graph as ir
from edge_mpq.allocators import ScoreTable
from edge_mpq.cost import Menu
from edge_mpq.progress import Progress, silent
from edge_mpq.records.ranges import RangeTable
from edge_mpq.records.target import Target
from edge_mpq.sensitivity._one_at_a_time import Divergence, measure
from edge_mpq.sensitivity.kl import divergence
from edge_mpq.sensitivity.sqnr import noise
from edge_mpq.ssim import ssim

CONTENT, QUALITY = "content", "quality"
# Parts of a layer's path that make it content: of diffusers, and as others call the same.
_NAMES = re.compile(r"attn2|cross_?att(n|ention)|ff|ffn|mlp|feed_?forward")
FLOAT = "fp32"
# The least noise power that decibels tell from none.
_SILENCE = 1e-20

# group -> the metric of its layers: float output, output with one of them rounded -> harm, 0 where they are alike.
Metrics = Mapping[str, Divergence]


class Decoupled(dict):
    """A ScoreTable whose layers belong to groups; ``parts`` holds the harms of weights and activations apart."""

    def __init__(self, rows: ScoreTable, groups: Mapping[str, str], parts: ScoreTable):
        super().__init__(rows)
        self.groups, self.parts = dict(groups), parts

    def restricted(self, menu: Menu) -> "Decoupled":
        """The rows for the pairs of ``menu``; fp32 harms nothing where it was not asked for before."""
        rows = {
            name: {pair: 0.0 if pair == (FLOAT, FLOAT) else self[name][pair] for pair in pairs}
            for name, pairs in menu.items()
        }
        return Decoupled(rows, self.groups, self.parts)


def scores(
    graph: fx.GraphModule,
    menu: Menu,
    calibration: Iterable,
    ranges: RangeTable,
    target: Target,
    progress: Progress = silent,
) -> Decoupled:
    """layer -> pair -> harm as a share of its group's; see the family's contract."""
    found = measured(graph, menu, calibration, ranges, target, progress)
    totals: dict[str, float] = {}
    for name, row in found.items():
        totals[found.groups[name]] = totals.get(found.groups[name], 0.0) + max(row.values())
    shares = {
        name: {pair: harm / (totals[found.groups[name]] or 1.0) for pair, harm in row.items()}
        for name, row in found.items()
    }
    return Decoupled(shares, found.groups, found.parts)


def measured(
    graph: fx.GraphModule,
    menu: Menu,
    calibration: Iterable,
    ranges: RangeTable,
    target: Target,
    progress: Progress = silent,
    groups: Mapping[str, str] | None = None,
    metrics: Metrics | None = None,
) -> Decoupled:
    """layer -> pair -> harm in the unit of its group's metric.

    groups: layer -> group, :func:`groups_of` by default.  metrics: of those groups; noise power for
    quality and :func:`task_metric` for content by default.
    """
    calibration = list(calibration)
    groups = groups_of(graph) if groups is None else groups
    metrics = {QUALITY: noise, CONTENT: task_metric(graph)} if metrics is None else metrics
    halves = {
        name: list(dict.fromkeys(half for pair in pairs for half in ((pair[0], FLOAT), (FLOAT, pair[1]))))
        for name, pairs in menu.items()
    }
    parts: ScoreTable = {}
    for group in dict.fromkeys(groups[name] for name in menu):
        mine = {name: pairs for name, pairs in halves.items() if groups[name] == group}
        title = f"sensitivity ({group})"
        parts.update(measure(graph, mine, calibration, ranges, target, progress, metrics[group], title))
    rows = {
        name: {pair: parts[name][pair[0], FLOAT] + parts[name][FLOAT, pair[1]] for pair in pairs}
        for name, pairs in menu.items()
    }
    return Decoupled(rows, groups, parts)


def groups_of(graph: fx.GraphModule) -> dict[str, str]:
    """layer -> ``content`` or ``quality``, by the names of cross-attention and feed-forward in its path."""
    return {
        name: CONTENT if any(_NAMES.fullmatch(part) for part in name.split(".")) else QUALITY
        for name in ir.weighted(graph)
    }


def task_metric(graph: fx.GraphModule) -> Divergence:
    """How unlike two answers are: 1 - SSIM for pictures and maps [N, 1 or 3, H, W], KL divergence otherwise."""
    shape = ir.outputs(graph).meta["val"].shape
    return unlike if len(shape) == 4 and shape[1] in (1, 3) and min(shape[2:]) > 1 else divergence


def unlike(reference: torch.Tensor, moved: torch.Tensor) -> float:
    """1 - SSIM of two batches of pictures."""
    return max(0.0, 1 - ssim(reference, moved))


def decibels(table: Decoupled) -> Decoupled:
    """The same harms as 10 log10 above the least that is told from none: what the paper adds up.

    A layer that is clean already gains as much by the next ten decibels as a noisy one.
    """

    def level(harm: float) -> float:
        return 10 * math.log10(max(harm, _SILENCE) / _SILENCE)

    def levels(rows: ScoreTable) -> ScoreTable:
        return {name: {pair: level(harm) for pair, harm in row.items()} for name, row in rows.items()}

    return Decoupled(levels(table), table.groups, levels(table.parts))
