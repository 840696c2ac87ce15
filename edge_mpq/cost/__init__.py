"""Cost models: one file per way to say what a layer costs in a given pair of formats.

A table holds one number for every layer and every pair on that layer's menu, so
allocators add and compare, and never ask where a number came from.
"""

import sys
from collections.abc import Sequence
from typing import Any, Protocol, cast

from edge_mpq import door
from edge_mpq.records.layer import LayerSpec
from edge_mpq.records.target import Target

# (weight format, activation format), by their names in records/formats.py.
Pair = tuple[str, str]
# layer -> the pairs it may take.
Menu = dict[str, list[Pair]]
# layer -> pair -> cost, in the UNIT of the method that made it.
CostTable = dict[str, dict[Pair, float]]


class Method(Protocol):
    """What every file of this folder holds.  ``UNIT`` is the unit of a table's numbers."""

    UNIT: str

    def table(self, layers: Sequence[LayerSpec], menu: Menu, target: Target, **facts: Any) -> CostTable:
        """The cost of every layer of ``menu``, alone and for one picture.

        facts: what was measured elsewhere; a method takes those it knows and leaves the
        rest.  Raises PlanError for an unknown format or a fact that is needed and missing.
        """


def names() -> list[str]:
    """Every cost model there is a file for."""
    return door.names(sys.modules[__name__])


def get(name: str) -> Method:
    """The module of cost model ``name``; UsageError lists what there is."""
    return cast(Method, door.get(sys.modules[__name__], name))
