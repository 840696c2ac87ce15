"""Recipes: one file per published system, a short composition of the families' methods.

A method is one file with ``PAPER`` and ``run(task, progress) -> Outcome``.  All solve the same
task, so that they can be compared on one model, budget and engine.
"""

import functools
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol, cast

import torch
from torch import fx

from edge_mpq import door
from edge_mpq.progress import Progress
from edge_mpq.recipes._settings import spoken
from edge_mpq.records.plan import PrecisionPlan
from edge_mpq.records.ranges import RangeTable
from edge_mpq.records.target import Target

# epoch -> its (inputs, labels) batches.
Epochs = Callable[[int], Iterable[tuple[torch.Tensor, torch.Tensor]]]


class Task(NamedTuple):
    """What every recipe is given.

    graph: the float model, traced and folded (edge_mpq.prepared); a recipe that rewrites it
    copies it first.  example: one batch of inputs.  calibration: batches of inputs.
    validation: (inputs, labels) batches that calibration does not hold and nobody is judged on.
    training: epoch -> labelled batches, None where there are none.  budget: as in
    edge_mpq.budget.  formats: short names to choose from, None for all that the target stores.
    seed: of everything a recipe draws.
    """

    graph: fx.GraphModule
    example: torch.Tensor
    calibration: Sequence[torch.Tensor]
    validation: Sequence[tuple[torch.Tensor, torch.Tensor]]
    training: Epochs | None
    target: Target
    budget: str
    formats: Sequence[str] | None = None
    seed: int = 0


class Outcome(NamedTuple):
    """What a recipe answers with.

    graph: the float graph that was quantized, after transforms or training.  quantized: its
    simulation under ``plan``.  evaluations: whole-model trials the search spent.  deployable:
    whether an engine can compute it; note: what of it only the simulation computes, or ''.
    """

    plan: PrecisionPlan
    graph: fx.GraphModule
    quantized: fx.GraphModule
    ranges: RangeTable
    evaluations: int = 0
    deployable: bool = True
    note: str = ""


class Recipe(Protocol):
    """What a file of this folder offers.  ``PAPER``: authors, title, where."""

    @property
    def PAPER(self) -> str: ...

    def run(self, task: Task, progress: Progress) -> Outcome:
        """The quantized model within ``task.budget``; PlanError where the system cannot serve the task."""


def names() -> list[str]:
    """Every recipe there is a file for."""
    return door.names(sys.modules[__name__])


class Settled(NamedTuple):
    """A recipe with settings other than its own."""

    PAPER: str
    run: Callable[..., Outcome]


def get(name: str) -> Recipe:
    """The module of recipe ``name``; with settings behind it (``fliqs:epochs=16``) the recipe that has them.

    Raises UsageError for a recipe or a setting that there is not.
    """
    stem, colon, words = name.partition(":")
    module = cast(Recipe, door.get(sys.modules[__name__], stem))
    if not colon:
        return module
    return Settled(module.PAPER, functools.partial(module.run, **spoken(stem, module.run, words)))
