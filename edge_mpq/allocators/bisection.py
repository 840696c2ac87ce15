"""One order of the layers, and how far along it the model bears fewer bits: found by bisection.

The order takes the layer next whose step to its next narrower pair adds least harm; where scores
come with interactions, least harm beside the layers already lowered.  Inside an accuracy
(:func:`search`), each stage lowers the longest prefix of the order that stays accurate, at
ceil(log2(L + 1)) trials for L layers, and only its layers go on to the next stage.  Inside limits
(:func:`allocate`) nothing is tried: all steps stand in one order, by harm for what they save, and its
shortest prefix within the limits is taken.

After Schaefer et al., Augmenting Hessians with Inter-Layer Dependencies for Mixed-Precision
Post-Training Quantization, 2023, arXiv 2306.04879.  A reconstruction: of the paper only the
abstract could be read.  Axis letters: U units (layers that decide together), P choices of a unit.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from edge_mpq.allocators import Found, Interacting, Limit, Loss, ScoreTable
from edge_mpq.allocators._problem import Problem, problem, with_changes
from edge_mpq.cost import Pair
from edge_mpq.errors import PlanError
from edge_mpq.progress import Progress, silent

# What a step that saves nothing counts as saving: it comes last, and is a way to steps that do.
_NOTHING = 1e-12


def allocate(
    scores: ScoreTable, limits: Sequence[Limit], ties: Sequence[Sequence[str]], loss: Loss | None = None
) -> dict[str, Pair]:
    """The first plan along the order that is within all limits; see the family's contract."""
    made = with_changes(problem(scores, limits, ties))
    chosen = made.harm.argmin(axis=1)
    last = np.isfinite(made.harm).sum(axis=1) - 1
    # What all limits are of a step's cost, in shares of what they allow.
    cost = (made.costs / np.where(made.most > 0, made.most, 1.0)[:, None, None]).sum(axis=0)
    for unit in itertools.chain([None], order(made, scores, chosen, last, cost)):
        chosen = _lowered(chosen, [] if unit is None else [unit])
        if made.within(made.totals(chosen)).all():
            return made.answer(chosen)
    raise PlanError(
        "bisection finds no plan within {} together".format(", ".join(limit.what for limit in made.limits)),
        "use the milp allocator, which finds one if there is one",
    )


def search(
    scores: ScoreTable,
    ties: Sequence[Sequence[str]],
    accuracy: Callable[[Mapping[str, Pair]], float],
    least: float,
    progress: Progress = silent,
) -> Found:
    """The plans along the order whose measured ``accuracy`` is ``least`` or better, the cheapest last.

    Menus are gone through from their first pair to their last; a unit takes part in a stage if it
    was lowered in the one before.  Where accuracy does not fall along the order, a longer prefix
    may be missed: :func:`rises` tells.
    """
    made = problem(scores, [], ties)
    menu = np.isfinite(made.harm).sum(axis=1)
    chosen = np.zeros(len(made.units), int)
    found = Found([made.answer(chosen)], [])
    for stage in progress(range(menu.max() - 1), "bisecting the order of layers"):
        taking = (chosen == stage) & (menu > stage + 1)
        line = list(order(made, scores, chosen, chosen + taking))
        low, high = 0, len(line)
        while low < high:
            middle = (low + high + 1) // 2
            plan = made.answer(_lowered(chosen, line[:middle]))
            reached = accuracy(plan)
            found.trials.append((stage, middle, reached))
            if reached >= least:
                low = middle
                found.kept.append(plan)
            else:
                high = middle - 1
        chosen = _lowered(chosen, line[:low])
    return found


def rises(trials: Sequence[tuple[int, int, float]]) -> list[tuple[int, int, int]]:
    """(stage, shorter, longer) wherever the longer of two prefixes tried was the more accurate one."""
    return [
        (stage, shorter, longer)
        for (stage, shorter, before), (other, longer, after) in itertools.permutations(trials, 2)
        if stage == other and shorter < longer and before < after
    ]


def order(
    made: Problem, scores: ScoreTable, chosen: np.ndarray, last: np.ndarray, cost: np.ndarray | None = None
) -> Iterator[int]:
    """Units in the order of their steps from choices ``chosen`` [U] down to ``last`` [U], one choice a step.

    By the harm a step adds; with ``cost`` [U, P] by that harm for what the step saves.
    """
    units, chosen = np.arange(len(chosen)), chosen.copy()
    alone, joint = _harms(made, scores)
    felt = joint[:, :, units, chosen].sum(axis=2)  # what each choice would do with the others as they are
    while (chosen < last).any():
        harm = alone + felt
        below = np.minimum(chosen + 1, last)
        step = harm[units, below] - harm[units, chosen]
        if cost is not None:
            step /= np.maximum(cost[units, chosen] - cost[units, below], _NOTHING)
        unit = int(np.where(chosen < last, step, np.inf).argmin())
        felt += joint[:, :, unit, chosen[unit] + 1] - joint[:, :, unit, chosen[unit]]
        chosen[unit] += 1
        yield unit


def _lowered(chosen: np.ndarray, units: Sequence[int]) -> np.ndarray:
    """Choices [U] after one step down for every mention of a unit."""
    return chosen + np.bincount(units, minlength=len(chosen)).astype(int)


def _harms(made: Problem, scores: ScoreTable) -> tuple[np.ndarray, np.ndarray]:
    """Harm of every choice alone [U, P], and of two at once beyond the sum of theirs [U, P, U, P]."""
    shape = made.harm.shape
    if not isinstance(scores, Interacting):
        return np.where(np.isfinite(made.harm), made.harm, 0.0), np.broadcast_to(0.0, shape + shape)
    alone, joint = np.zeros(shape), np.zeros(shape + shape)
    unit_of = {name: u for u, unit in enumerate(made.units) for name in unit}
    place = [{pair: p for p, pair in enumerate(pairs)} for pairs in made.pairs]
    for name, row in scores.alone.items():
        for pair, p in place[unit_of[name]].items():
            alone[unit_of[name], p] += row[pair]
    for (name, other), table in scores.joint.items():
        u, v = unit_of[name], unit_of[other]
        for (pair, its), harm in table.items():
            if pair not in place[u] or its not in place[v]:
                continue
            if u != v:
                joint[u, place[u][pair], v, place[v][its]] += harm
                joint[v, place[v][its], u, place[u][pair]] += harm
            elif pair == its:
                alone[u, place[u][pair]] += harm
    return alone, joint
