"""Allocators: one file per way to choose one pair of formats for every layer.

All solve one problem, the multiple-choice knapsack: least total harm, such that no sum
of costs exceeds its limit and tied layers choose alike.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol, cast, runtime_checkable

from edge_mpq import door
from edge_mpq.cost import CostTable, Pair
from edge_mpq.progress import Progress, silent

# layer -> pair -> predicted harm, lower is better; harms of different layers add up.
ScoreTable = dict[str, dict[Pair, float]]

# (layer, other layer) -> (pair of the one, pair of the other) -> harm of both at once beyond the sum of their
# own, negative where their errors cancel; what is not there is zero.
JointTable = dict[tuple[str, str], dict[tuple[Pair, Pair], float]]

# Harm of a whole plan, measured by running the model; the sum of scores is its prediction.
Loss = Callable[[Mapping[str, Pair]], float]

# Costs are sums of thousands of floats; a limit met to nine digits is met.
SLACK = 1e-9


class Interacting(dict):
    """A ScoreTable of layers that harm together what they do not harm alone.

    Its own rows hold, for allocators that only add up, each layer's harm with its share of what it
    does with others.  alone: each layer's harm by itself; joint: what two do beyond that.
    """

    def __init__(self, rows: ScoreTable, alone: ScoreTable, joint: JointTable):
        super().__init__(rows)
        self.alone, self.joint = alone, joint


# (writer, reader) -> (activation format of the one, of the other) -> cost of converting between them.
ChangeTable = Mapping[tuple[str, str], Mapping[tuple[str, str], float]]


class Limit(NamedTuple):
    """The costs of the chosen pairs must not sum to more than ``most``.

    what: the limit as the user wrote it (``size<=5bits``), for messages.  changes: what neighbours of
    unlike formats cost besides; ``milp`` and ``bisection`` count it,
    others choose as if it were nothing.
    """

    costs: CostTable
    most: float
    what: str
    changes: ChangeTable = {}

    def cost(self, chosen: Mapping[str, Pair]) -> float:
        """What a whole plan costs, changes of format included."""
        layers = sum(self.costs[name][pair] for name, pair in chosen.items())
        return layers + change_cost(self.changes, chosen)

    def holds(self, chosen: Mapping[str, Pair]) -> bool:
        """Whether a whole plan is within the limit."""
        return self.cost(chosen) <= self.most + SLACK * abs(self.most)


def change_cost(changes: ChangeTable, chosen: Mapping[str, Pair]) -> float:
    """What the changes of format of a whole plan cost: pairs are (weight format, activation format)."""
    return sum(
        prices.get((chosen[writer][1], chosen[reader][1]), 0.0)
        for (writer, reader), prices in changes.items()
        if writer in chosen and reader in chosen
    )


class Method(Protocol):
    """What every file of this folder holds."""

    def allocate(
        self,
        scores: ScoreTable,
        limits: Sequence[Limit],
        ties: Sequence[Sequence[str]],
        loss: Loss | None = None,
    ) -> dict[str, Pair]:
        """One pair for every layer of ``scores``, in its order; the same input, the same answer.

        ties: groups of layers that must take one pair.  loss: what methods that try whole plans
        ask; without it they take the sum of scores, and others never ask.  Raises PlanError
        when a limit cannot be met, naming it and the least that is possible.
        """


class Found(NamedTuple):
    """What a search inside an accuracy met on its way.

    kept: plans that are accurate enough, each cheaper than the one before; the first, of every
    layer's best pair, is not tried.  trials: (stage, units lowered, accuracy) of every plan that was
    tried, in order; stage 0 lowers units to their second pair.
    """

    kept: list[dict[str, Pair]]
    trials: list[tuple[int, int, float]]


@runtime_checkable
class Searching(Method, Protocol):
    """What a file may hold besides: its own way to the cheapest plan inside an accuracy, not a limit."""

    def search(
        self,
        scores: ScoreTable,
        ties: Sequence[Sequence[str]],
        accuracy: Callable[[Mapping[str, Pair]], float],
        least: float,
        progress: Progress = silent,
    ) -> Found:
        """The plans whose measured ``accuracy`` is ``least`` or better, the cheapest last."""


def names() -> list[str]:
    """Every allocator there is a file for."""
    return door.names(sys.modules[__name__])


def get(name: str) -> Method:
    """The module of allocator ``name``; UsageError lists what there is."""
    return cast(Method, door.get(sys.modules[__name__], name))
