"""Rounding: one file per rule that decides which grid point each weight takes.

A method is one file with ``apply(quantized, graph, batches, progress)``: it replaces the
weights of a simulated graph by points of their own grids.
"""

import sys
from collections.abc import Iterable
from typing import Protocol, cast

from torch import fx

from edge_mpq import door
from edge_mpq.progress import Progress


class Rounding(Protocol):
    """What a file of this folder offers."""

    def apply(self, quantized: fx.GraphModule, graph: fx.GraphModule, batches: Iterable, progress: Progress) -> None:
        """Round the weights of ``quantized`` in place; ``graph`` is the float graph it was made from."""


def names() -> list[str]:
    """Every rounding rule there is a file for."""
    return door.names(sys.modules[__name__])


def get(name: str) -> Rounding:
    """The module of rounding rule ``name``."""
    return cast(Rounding, door.get(sys.modules[__name__], name))
