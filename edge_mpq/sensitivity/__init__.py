"""Sensitivity: one file per score, all telling how much a layer at a format harms the model.

A method is one file with ``scores(graph, menu, calibration, ranges, target, progress)``.
Scores are not negative, lower is better, and a wider format never scores worse.
"""

import sys
from collections.abc import Iterable
from typing import Protocol

from torch import fx

from edge_mpq import door
from edge_mpq.allocators import ScoreTable
from edge_mpq.cost import Menu
from edge_mpq.progress import Progress
from edge_mpq.records.ranges import RangeTable
from edge_mpq.records.target import Target


class Sensitivity(Protocol):
    """What a file of this folder offers."""

    def scores(
        self,
        graph: fx.GraphModule,
        menu: Menu,
        calibration: Iterable,
        ranges: RangeTable,
        target: Target,
        progress: Progress,
    ) -> ScoreTable:
        """layer -> (weight format, activation format) -> harm, for every pair of the menu."""


def names() -> list[str]:
    """Every score there is a file for."""
    return door.names(sys.modules[__name__])


def get(name: str) -> Sensitivity:
    """The module of score ``name``."""
    return door.get(sys.modules[__name__], name)
