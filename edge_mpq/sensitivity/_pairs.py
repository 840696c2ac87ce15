"""What scores of layers and of pairs of layers share: how interactions raise the score of a layer.

A_i(p) = S_i(p) + 1/2 sum_j max(I_ij(p, p), 0): half of what a layer does with each other one that takes
the same formats, where it does harm; the other half is the other layer's.

After Schaefer et al., Augmenting Hessians with Inter-Layer Dependencies for Mixed-Precision
Post-Training Quantization, 2023, arXiv 2306.04879.  A reconstruction: of the paper only the
abstract could be read.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import fx

from edge_mpq import graph as ir
from edge_mpq.allocators import Interacting, JointTable, ScoreTable
from edge_mpq.cost import Menu, Pair
from edge_mpq.menu import FLOAT
from edge_mpq.records.ranges import RangeTable
from edge_mpq.records.target import Target
from edge_mpq.sensitivity._one_at_a_time import input_rounder, rounded_weight, widen

SHARE = 0.5


class Rounding(NamedTuple):
    """One layer in one pair of formats, for a PartialRun: its rounded weight, and what rounds its reads."""

    changed: dict[fx.Node, torch.Tensor]
    rounders: dict[fx.Node, Callable[[torch.Tensor], torch.Tensor]]


def roundings(
    graph: fx.GraphModule, menu: Menu, ranges: RangeTable, target: Target
) -> dict[tuple[str, Pair], Rounding]:
    """(layer, pair) -> its rounding, for every pair of the menu that rounds at all, in the menu's order."""
    nodes = ir.weighted(graph)
    return {
        (name, pair): Rounding(
            {nodes[name][0].args[1]: rounded_weight(graph, nodes[name][0], pair[0])},
            {node: input_rounder(node, pair[1], ranges, target) for node in nodes[name]},
        )
        for name, pairs in menu.items()
        for pair in pairs
        if pair != FLOAT
    }


def interacting(menu: Menu, alone: dict[tuple[str, Pair], float], joint: JointTable) -> Interacting:
    """The table of harms ``alone``, raised by what layers do together; pairs that round nothing harm nothing."""
    own: ScoreTable = {name: {pair: alone.get((name, pair), 0.0) for pair in pairs} for name, pairs in menu.items()}
    rows = {name: dict(row) for name, row in own.items()}
    for both, table in joint.items():
        for (pair, its), harm in table.items():
            for name in both:
                if pair == its:
                    rows[name][pair] += SHARE * max(harm, 0.0)
    return Interacting(
        {name: widen(row) for name, row in rows.items()}, {name: widen(row) for name, row in own.items()}, joint
    )
