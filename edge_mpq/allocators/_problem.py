"""The knapsack in arrays, checked once: what every allocator starts from and answers with.

Axis letters: U units (layers that decide together), P choices of a unit, K limits.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from edge_mpq.allocators import SLACK, Limit, ScoreTable
from edge_mpq.cost import Pair
from edge_mpq.errors import PlanError


class Change(NamedTuple):
    """What limit ``limit`` pays where unit ``writer`` is chosen in one format and ``reader`` in another.

    said, heard: [P] which choices of writer and reader are of those formats.
    """

    limit: int
    writer: int
    reader: int
    said: np.ndarray
    heard: np.ndarray
    cost: float

    def chosen_so(self, unit: np.ndarray, choice: np.ndarray) -> np.ndarray:
        """1 for every (unit, choice) that takes part in this change, else 0."""
        writes = (unit == self.writer) & self.said[choice]
        reads = (unit == self.reader) & self.heard[choice]
        return (writes | reads).astype(float)


class Problem(NamedTuple):
    """harm: [U, P]; costs: [K, U, P]; both infinite where a unit has fewer choices.  most: [K]."""

    layers: list[str]
    units: list[list[str]]
    pairs: list[list[Pair]]
    harm: np.ndarray
    costs: np.ndarray
    most: np.ndarray
    limits: list[Limit]
    changes: list[Change] = []

    def totals(self, chosen: np.ndarray) -> np.ndarray:
        """Cost of the choices [U] under every limit, with their changes of format if it counts them: [K]."""
        totals = self.costs[:, np.arange(len(chosen)), chosen].sum(axis=1)
        for change in self.changes:
            if change.said[chosen[change.writer]] and change.heard[chosen[change.reader]]:
                totals[change.limit] += change.cost
        return totals

    def within(self, totals: np.ndarray) -> np.ndarray:
        """Which limits hold at these totals [K, ...]: bool [K, ...]."""
        most = self.most.reshape((-1,) + (1,) * (totals.ndim - 1))
        return totals <= most + SLACK * np.abs(most)

    def answer(self, chosen: np.ndarray) -> dict[str, Pair]:
        """The choices [U] as layer -> pair."""
        found = {name: self.pairs[u][chosen[u]] for u, unit in enumerate(self.units) for name in unit}
        return {name: found[name] for name in self.layers}


def problem(scores: ScoreTable, limits: Sequence[Limit], ties: Sequence[Sequence[str]]) -> Problem:
    """The arrays of a problem whose every limit can be met on its own.

    A pair of infinite harm is never chosen.  PlanError names every fault: nothing to
    plan, a harm that is no number, tied layers without a common pair or unknown, a
    pair without a cost, a limit below the least that is possible.
    """
    if not scores:
        raise PlanError("there is no layer to plan", "the model needs a convolution or a linear layer")
    faults = [
        f"the harm of layer {name!r} in {'/'.join(pair)} is {harm}"
        for name, row in scores.items()
        for pair, harm in row.items()
        if math.isnan(harm) or harm == -math.inf
    ]
    faults += [f"tied layer {name!r} has no scores" for tie in ties for name in tie if name not in scores]
    _refuse(faults, "score the layers of this model again")

    units = joined(list(scores), ties)
    pairs = [
        [pair for pair in scores[unit[0]] if all(scores[name].get(pair, math.inf) < math.inf for name in unit)]
        for unit in units
    ]
    faults = [f"no pair of formats suits {', '.join(unit)}" for u, unit in enumerate(units) if not pairs[u]]
    faults += [
        f"{limit.what} knows no cost of layer {name!r} in {'/'.join(pair)}"
        for limit in limits
        for unit, menu in zip(units, pairs, strict=True)
        for name in unit
        for pair in menu
        if not math.isfinite(limit.costs.get(name, {}).get(pair, math.nan))
    ]
    _refuse(faults, "give every layer the same menu in scores and costs")

    widest = max(len(menu) for menu in pairs)
    harm = np.full((len(units), widest), np.inf)
    costs = np.full((len(limits), len(units), widest), np.inf)
    for u, (unit, menu) in enumerate(zip(units, pairs, strict=True)):
        for p, pair in enumerate(menu):
            harm[u, p] = sum(scores[name][pair] for name in unit)
            for k, limit in enumerate(limits):
                costs[k, u, p] = sum(limit.costs[name][pair] for name in unit)
    most = np.array([limit.most for limit in limits], float)
    made = Problem(list(scores), units, pairs, harm, costs, most, list(limits))
    least = costs.min(axis=2).sum(axis=1)
    faults = [too_little(limit, least[k]) for k, limit in enumerate(limits) if not made.within(least)[k]]
    _refuse(faults, "allow more, or narrower formats")
    return made


def with_changes(made: Problem) -> Problem:
    """The problem with what its limits say of changes of format between units."""
    unit_of = {name: u for u, unit in enumerate(made.units) for name in unit}
    widest = made.harm.shape[1]

    def of_format(u: int, form: str) -> np.ndarray:
        found = [p < len(made.pairs[u]) and made.pairs[u][p][1] == form for p in range(widest)]
        return np.array(found, bool)

    changes = []
    for k, limit in enumerate(made.limits):
        for (writer, reader), prices in limit.changes.items():
            one, other = unit_of[writer], unit_of[reader]
            for (said, heard), cost in prices.items():
                if one != other and cost > 0:  # one unit has one format
                    changes.append(Change(k, one, other, of_format(one, said), of_format(other, heard), cost))
    return made._replace(changes=[change for change in changes if change.said.any() and change.heard.any()])


def too_little(limit: Limit, least: float, beside: Sequence[Limit] = ()) -> str:
    """What to say of a limit below the least that is possible (inside the limits ``beside``)."""
    others = f" with {', '.join(other.what for other in beside)}" if beside else ""
    return f"{limit.what} cannot be met{others}: it allows {limit.most:.4g}, the least possible is {least:.4g}"


def _refuse(faults: list[str], mend: str) -> None:
    if faults:
        shown = faults[:8] + ([f"and {len(faults) - 8} more"] if len(faults) > 8 else [])
        raise PlanError("; ".join(shown), mend)


def joined(layers: list[str], ties: Sequence[Sequence[str]]) -> list[list[str]]:
    """Layers grouped by ties (ties that share a layer are one), in the order of ``layers``."""
    group = {name: [name] for name in layers}
    for tie in ties:
        for name in tie[1:]:
            one, other = group[tie[0]], group[name]
            if one is not other:
                one.extend(other)
                group.update(dict.fromkeys(other, one))
    place = {name: index for index, name in enumerate(layers)}
    for unit in group.values():
        unit.sort(key=place.__getitem__)
    return [group[name] for name in layers if name == group[name][0]]
