"""Transforms: rewrites of the graph that leave its float function unchanged.

A method is one file with ``apply(graph, batches, target, progress) -> graph``.
"""

import sys
from collections.abc import Iterable, Sequence
from typing import Protocol, cast

from torch import fx

from edge_mpq import door
from edge_mpq import graph as ir
from edge_mpq.errors import ModelError
from edge_mpq.progress import Progress, silent
from edge_mpq.records.target import Target

# Where a graph keeps the names of the transforms it went through.
APPLIED = "transforms"


class Transform(Protocol):
    """What a file of this folder offers."""

    def apply(
        self, graph: fx.GraphModule, batches: Iterable = (), target: Target | None = None, progress: Progress = silent
    ) -> fx.GraphModule:
        """The same function in another form; changes ``graph`` in place and returns it.

        batches: of inputs, for rewrites that look at what layers read; target: the grids that
        the rewritten tensors will be rounded on.  Rewrites of weights alone need neither;
        those that do raise CalibrationError without.
        """


def names() -> list[str]:
    """Every transform there is a file for."""
    return door.names(sys.modules[__name__])


def get(name: str) -> Transform:
    """The module of transform ``name``."""
    return cast(Transform, door.get(sys.modules[__name__], name))


def apply_all(
    wanted: Sequence[str],
    graph: fx.GraphModule,
    batches: Iterable,
    target: Target,
    progress: Progress = silent,
) -> fx.GraphModule:
    """A copy of ``graph`` after every transform of ``wanted``, in their order; itself where it had them already."""
    done = graph.meta.get(APPLIED, ())
    if tuple(wanted) == done:
        return graph
    if done:
        raise ModelError(f"the graph went through {', '.join(done)}", "start from the model to apply others")
    graph = ir.copied(graph)
    for name in wanted:
        graph = get(name).apply(graph, batches, target, progress)
    graph.meta[APPLIED] = tuple(wanted)
    return graph
