"""Greedy mixed precision: lower one tensor at a time, weights and activations apart, and measure each step.

Tai and Wu, MPTQ-ViT, arXiv 2401.14895: layer by layer, bits are taken where the model loses least for
what is saved.  The paper's exact criterion, start and step could not be read; this is a reconstruction.
From the most precise plan, of all steps the one with the least ::

    (loss after - loss before) / (cost before - cost after)

is taken until the limits hold.  A step is one of the menu's next narrower pairs: w8a8 to w4a8
moves the weights alone, w8a8 to w8a4 the activations.  ``loss`` is that of whole plans where it can be
asked.  Steps wait in a heap with what they cost when last measured, and only the foremost is measured
again before it is taken (Minoux 1978): three to four trials a tensor in all, not one a tensor and step.
What is saved beyond a limit counts for nothing.  One pair for all layers is the last candidate,
so the answer is never worse than it.
"""

import heapq
import math
from collections.abc import Sequence

import numpy as np

from edge_mpq.allocators import Limit, Loss, ScoreTable
from edge_mpq.allocators._problem import Problem, problem
from edge_mpq.cost import Pair
from edge_mpq.errors import PlanError
from edge_mpq.records import formats

# Steps that may be measured again before one is taken, the best known by then.  Measuring on until the
# foremost stays foremost loses 1 % less on losses that meet each other, and takes half as many trials again.
_AGAIN = 3


def allocate(
    scores: ScoreTable, limits: Sequence[Limit], ties: Sequence[Sequence[str]], loss: Loss | None = None
) -> dict[str, Pair]:
    """Pairs of low measured loss within all limits; see the family's contract."""
    made = problem(scores, limits, ties)
    # A limit of zero is met only by choices that cost nothing: any scale serves it.
    scale = np.where(made.most > 0, made.most, 1.0)[:, None, None]
    made = made._replace(costs=made.costs / scale, most=made.most / scale[:, 0, 0])
    found = _Descent(made, loss)
    chosen = found.run()
    if len(found.path) > 1:
        chosen = min([chosen, *_uniform(made)], key=found.loss)
    return made.answer(chosen)


class _Descent:
    """One way down from the most precise plan; remembers what plans were found to lose."""

    def __init__(self, made: Problem, loss: Loss | None):
        self.made, self.asked = made, loss
        self.known: dict[tuple[int, ...], float] = {}
        self.below = [_narrower(menu) for menu in made.pairs]
        self.chosen = made.harm.argmin(axis=1)
        self.path = [self.chosen]

    def loss(self, chosen: np.ndarray) -> float:
        """What the choices [U] lose: measured, or the sum of their scores."""
        key = tuple(chosen.tolist())
        if key not in self.known:
            harms = self.made.harm[np.arange(len(chosen)), chosen]
            self.known[key] = math.fsum(harms) if self.asked is None else self.asked(self.made.answer(chosen))
        return self.known[key]

    def run(self) -> np.ndarray:
        """The choices [U] within every limit; PlanError where steps lead to none."""
        heap: list[tuple[float, int, int, int]] = []  # rate, unit, choice, length of the path when measured
        while not self.made.within(self.made.totals(self.chosen)).all():
            unit, choice = self._next(heap)
            self.chosen = self._after(unit, choice)
            self.path.append(self.chosen)
            heap = [item for item in heap if item[1] != unit]
            heap += self._measured([(unit, narrower) for narrower in self.below[unit][choice]])
            heapq.heapify(heap)
        return self.chosen

    def _next(self, heap: list[tuple[float, int, int, int]]) -> tuple[int, int]:
        """The step to take: the foremost that was measured on the plan as it is now."""
        again = 0
        while True:
            if not heap:
                heap += self._measured(self._steps())
                heapq.heapify(heap)
            _, unit, choice, when = heap[0]
            if when == len(self.path):
                return unit, choice
            if again == _AGAIN:
                return min(item for item in heap if item[3] == len(self.path))[1:3]
            measured = self._measured([(unit, choice)])
            if measured:
                heapq.heapreplace(heap, measured[0])
                again += 1
            else:  # it saves nothing any more
                heapq.heappop(heap)

    def _measured(self, steps: list[tuple[int, int]]) -> list[tuple[float, int, int, int]]:
        """What each step that helps loses for what it saves, on the plan as it is now."""
        found = []
        for unit, choice in steps:
            after = self._after(unit, choice)
            saved = self._excess(self.chosen) - self._excess(after)
            if saved > 1e-12:
                rate = (self.loss(after) - self.loss(self.chosen)) / saved
                found.append((rate, unit, choice, len(self.path)))
        return found

    def _steps(self) -> list[tuple[int, int]]:
        """The steps of every unit; where none of them helps, every change of one unit that does."""
        narrower = [(unit, choice) for unit, now in enumerate(self.chosen) for choice in self.below[unit][now]]
        every = [(unit, choice) for unit, menu in enumerate(self.made.pairs) for choice in range(len(menu))]
        for steps in (narrower, every):
            useful = [step for step in steps if self._excess(self.chosen) - self._excess(self._after(*step)) > 1e-12]
            if useful:
                return useful
        raise PlanError(
            "greedy_mp finds no plan within {} together".format(", ".join(limit.what for limit in self.made.limits)),
            "use the milp allocator, which finds one if there is one",
        )

    def _after(self, unit: int, choice: int) -> np.ndarray:
        moved = self.chosen.copy()
        moved[unit] = choice
        return moved

    def _excess(self, chosen: np.ndarray) -> float:
        return float(np.maximum(self.made.totals(chosen) - self.made.most, 0).sum())


def _bits(pair: Pair) -> tuple[int, int]:
    return formats.get(pair[0]).bits, formats.get(pair[1]).bits


def _covers(wide: Pair, narrow: Pair) -> bool:
    """Whether ``narrow`` is at most as wide in both tensors, and not in neither."""
    (weight, activation), (less, lesser) = _bits(wide), _bits(narrow)
    return less <= weight and lesser <= activation and (less, lesser) != (weight, activation)


def _narrower(menu: list[Pair]) -> list[list[int]]:
    """For each pair of a menu, the pairs one step below: none of the menu lies between."""
    return [
        [
            index
            for index, narrow in enumerate(menu)
            if _covers(wide, narrow) and not any(_covers(wide, other) and _covers(other, narrow) for other in menu)
        ]
        for wide in menu
    ]


def _uniform(made: Problem) -> list[np.ndarray]:
    """The choices [U] of one pair for all units, where they hold and no wider pair does."""
    shared = [pair for pair in made.pairs[0] if all(pair in menu for menu in made.pairs)]
    plans = {pair: np.array([menu.index(pair) for menu in made.pairs]) for pair in shared}
    held = [pair for pair in shared if made.within(made.totals(plans[pair])).all()]
    return [plans[pair] for pair in held if not any(_covers(other, pair) for other in held)]
