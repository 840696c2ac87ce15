"""Transforms: rewrites of the graph that leave its float function unchanged.

A method is one file with ``apply(graph, batches, target, progress) -> graph``.  One that chooses by the
grids of activations may take their ``bits`` too, 8 by default; others stand behind its name, ``noisy_bias:bits=6``,
so that a plan says how its graph came to be.
"""

import functools
import inspect
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol, cast

from torch import fx

from edge_mpq import door
from edge_mpq import graph as ir
from edge_mpq.errors import ModelError, UsageError
from edge_mpq.progress import Progress, silent
from edge_mpq.records import formats
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


class Settled(NamedTuple):
    """A transform for other bits than its own."""

    apply: Callable[..., fx.GraphModule]


def get(name: str) -> Transform:
    """The module of transform ``name``, or with bits behind it (``noisy_bias:bits=6``) the transform for those.

    Raises UsageError for a transform that there is not, or that chooses nothing by so many bits.
    """
    stem, colon, bits = name.partition(":bits=")
    module = door.get(sys.modules[__name__], stem)
    if not colon:
        return cast(Transform, module)
    if f"int{bits}" not in formats.FORMATS or "bits" not in inspect.signature(module.apply).parameters:
        raise UsageError(f"transform {stem} knows nothing of {bits!r} bits", f"write {stem} alone, or 2 to 8 bits")
    return Settled(functools.partial(module.apply, bits=int(bits)))


def at_bits(name: str, bits: int) -> str:
    """The name of transform ``name`` for activations of ``bits``."""
    return name if bits == 8 else f"{name}:bits={bits}"


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
