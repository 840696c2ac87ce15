"""Transforms: rewrites of the graph that leave its float function unchanged.

A method is one file with ``apply(graph) -> graph``.
"""

import sys
from typing import Protocol

from torch import fx

from edge_mpq import door


class Transform(Protocol):
    """What a file of this folder offers."""

    def apply(self, graph: fx.GraphModule) -> fx.GraphModule:
        """The same function in another form; changes ``graph`` in place and returns it."""


def names() -> list[str]:
    """Every transform there is a file for."""
    return door.names(sys.modules[__name__])


def get(name: str) -> Transform:
    """The module of transform ``name``."""
    return door.get(sys.modules[__name__], name)
