"""A good plan fast, and one whose every step can be told: give up the least harm per saving.

From the most precise plan, the step that costs least harm for what it saves is taken until
every limit holds; then what slack is left buys precision back where it fits.  Never better
than ``milp``, usually within a few percent; with several limits it may find no plan where
there is one.
"""

from collections.abc import Sequence

import numpy as np

from edge_mpq.allocators import Limit, Loss, ScoreTable
from edge_mpq.allocators._problem import Problem, problem
from edge_mpq.cost import Pair
from edge_mpq.errors import PlanError


def allocate(
    scores: ScoreTable, limits: Sequence[Limit], ties: Sequence[Sequence[str]], loss: Loss | None = None
) -> dict[str, Pair]:
    """Pairs of low total harm within all limits; see the family's contract."""
    made = problem(scores, limits, ties)
    return made.answer(repaired(made, made.harm.argmin(axis=1)))


def repaired(made: Problem, chosen: np.ndarray) -> np.ndarray:
    """Choices [U] within every limit and without slack that serves, from ``chosen`` by single steps."""
    # A limit of zero is met only by choices that cost nothing: any scale serves it.
    scale = np.where(made.most > 0, made.most, 1.0)[:, None, None]
    made = made._replace(costs=made.costs / scale, most=made.most / scale[:, 0, 0])
    return _raise(made, _lower(made, chosen))


def _lower(made: Problem, chosen: np.ndarray) -> np.ndarray:
    """Choices [U] within every limit, reached by the steps of least harm per excess removed."""
    while True:
        totals, harm, after = _steps(made, chosen)
        if made.within(totals).all():
            return chosen
        excess = np.maximum(totals - made.most, 0).sum()
        # What a step saves below a limit is worth nothing: the last step is no longer than needed.
        removed = excess - np.maximum(after - made.most[:, None, None], 0).sum(axis=0)
        useful = removed > 1e-12
        if not useful.any():
            raise PlanError(
                "greedy finds no plan within {} together".format(", ".join(limit.what for limit in made.limits)),
                "use the milp allocator, which finds one if there is one",
            )
        rate = np.full(harm.shape, np.inf)
        rate[useful] = harm[useful] / removed[useful]
        chosen = _take(chosen, rate)


def _raise(made: Problem, chosen: np.ndarray) -> np.ndarray:
    """Choices [U] improved, by most harm per cost first, while a step fits."""
    while True:
        _, harm, after = _steps(made, chosen)
        added = (after - made.totals(chosen)[:, None, None]).sum(axis=0)
        fits = (harm < 0) & made.within(after).all(axis=0)
        if not fits.any():
            return chosen
        rate = np.full(harm.shape, np.inf)
        rate[fits] = harm[fits] / np.maximum(added[fits], 1e-12)
        chosen = _take(chosen, rate)


def _steps(made: Problem, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Totals now [K]; harm each single change adds [U, P]; totals after it [K, U, P]."""
    units = np.arange(len(chosen))
    totals = made.totals(chosen)
    harm = made.harm - made.harm[units, chosen][:, None]
    after = totals[:, None, None] + made.costs - made.costs[:, units, chosen][:, :, None]
    return totals, harm, after


def _take(chosen: np.ndarray, rate: np.ndarray) -> np.ndarray:
    unit, choice = np.unravel_index(rate.argmin(), rate.shape)
    moved = chosen.copy()
    moved[unit] = choice
    return moved
