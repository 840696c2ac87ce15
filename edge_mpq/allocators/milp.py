"""The best plan there is: the multiple-choice knapsack solved exactly by HiGHS.

One binary variable for every unit and choice, one equality a unit, one inequality a
limit (the integer program of HAWQ-V3, Yao et al. 2021, arXiv 2011.10680).  A network of 370
units and 4 choices takes a tenth of a second.  Where a limit tells what changes of format
between neighbours cost, one more variable a change is 1 where both sides are so chosen.
"""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import LinearConstraint, milp
from scipy.sparse import csr_array, vstack

from edge_mpq.allocators import Limit, Loss, ScoreTable
from edge_mpq.allocators._problem import Problem, problem, too_little, with_changes
from edge_mpq.cost import Pair
from edge_mpq.errors import PlanError

# HiGHS stops within 1e-6 of the best objective, absolutely; harms are spread to this span
# first, which leaves the answer exact to twelve digits of the greatest harm.
_SPAN = 1e6


def allocate(
    scores: ScoreTable, limits: Sequence[Limit], ties: Sequence[Sequence[str]], loss: Loss | None = None
) -> dict[str, Pair]:
    """The pairs of least total harm within all limits; see the family's contract."""
    made = with_changes(problem(scores, limits, ties))
    chosen = _best(made, made.harm, range(len(limits)))
    if chosen is None:
        raise _clash(made)
    return made.answer(chosen)


def _best(made: Problem, weight: np.ndarray, kept: Sequence[int], counted: int | None = None) -> np.ndarray | None:
    """The choices [U] of least total ``weight`` [U, P] within the limits ``kept``; None if there are none.

    counted: the limit whose changes of format add to the weight.
    """
    unit, choice = np.nonzero(np.isfinite(made.harm))
    count, columns = len(made.units), np.arange(len(unit))
    changes = [change for change in made.changes if change.limit in kept or change.limit == counted]
    width = len(unit) + len(changes)
    one_each = csr_array((np.ones(len(unit)), (unit, columns)), (count, width))
    constraints = [LinearConstraint(one_each, 1, 1)]
    for k in kept:
        scale = abs(made.most[k]) or 1.0
        prices = [change.cost if change.limit == k else 0.0 for change in changes]
        row = csr_array(np.append(made.costs[k][unit, choice], prices)[None] / scale)
        constraints.append(LinearConstraint(row, -np.inf, made.most[k] / scale + 1e-9))
    for number, change in enumerate(changes):  # at least 1 where writer and reader are both chosen so
        row = np.zeros((1, width))
        row[0, : len(unit)] = change.chosen_so(unit, choice)
        row[0, len(unit) + number] = -1
        constraints.append(LinearConstraint(csr_array(row), -np.inf, 1))
    regret = weight[unit, choice] - weight.min(axis=1)[unit]
    prices = [change.cost if change.limit == counted else 0.0 for change in changes]
    objective = np.append(regret, prices)
    objective *= _SPAN / (objective.max() or 1.0)
    integrality = np.append(np.ones(len(unit)), np.zeros(len(changes)))
    excluded = csr_array((0, width))
    while True:
        cuts = [LinearConstraint(excluded, -np.inf, count - 1)] if excluded.shape[0] else []
        solved = milp(objective, integrality=integrality, bounds=(0, 1), constraints=constraints + cuts,
                      options={"mip_rel_gap": 0})  # fmt: skip
        if solved.x is None:
            return None
        picked = np.zeros(made.harm.shape)
        picked[unit, choice] = solved.x[: len(unit)]
        chosen = picked.argmax(axis=1)
        if made.within(made.totals(chosen))[list(kept)].all():
            return chosen
        # HiGHS lets a limit slip by 1e-6; such an answer is excluded by name and the next best asked for.
        again = np.append((chosen[unit] == choice).astype(float), np.zeros(len(changes)))
        excluded = vstack([excluded, csr_array(again[None])])


def _clash(made: Problem) -> PlanError:
    """Limits that can each be met, but not together: name the first, and its least beside the others."""
    for k, limit in enumerate(made.limits):
        kept = range(k + 1, len(made.limits))
        chosen = _best(made, made.costs[k], kept, k)
        if chosen is not None:
            least = float(made.totals(chosen)[k])
            return PlanError(
                too_little(limit, least, made.limits[k + 1 :]), "allow more of one of them, or narrower formats"
            )
    raise AssertionError("a last limit can be met on its own: problem() saw to it")
