"""Allocators: one file per way to choose one pair of formats for every layer.

All solve one problem, the multiple-choice knapsack: least total harm, such that no sum
of costs exceeds its limit and tied layers choose alike.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol, cast

from edge_mpq import door
from edge_mpq.cost import CostTable, Pair

# layer -> pair -> predicted harm, lower is better; harms of different layers add up.
ScoreTable = dict[str, dict[Pair, float]]

# Harm of a whole plan, measured by running the model; the sum of scores is its prediction.
Loss = Callable[[Mapping[str, Pair]], float]


class Limit(NamedTuple):
    """The costs of the chosen pairs must not sum to more than ``most``.

    what: the limit as the user wrote it (``size<=5bits``), for messages.
    """

    costs: CostTable
    most: float
    what: str


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


def names() -> list[str]:
    """Every allocator there is a file for."""
    return door.names(sys.modules[__name__])


def get(name: str) -> Method:
    """The module of allocator ``name``; UsageError lists what there is."""
    return cast(Method, door.get(sys.modules[__name__], name))
