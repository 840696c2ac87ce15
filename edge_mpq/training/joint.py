"""Formats and widths decided at once: what a choice of all of them costs, and the best within limits.

A layer has as many weights and multiply-adds as the product of the inputs and outputs it keeps, so
its cost is of up to three decisions: its format, its width, and that of what it reads.  The best
choice is found exactly, by HiGHS: a binary variable for each choice of a decision, and for each
combination that a cost is of one more, whose sums over all but one decision are that decision's.

Axis letters: D decisions (formats of U units, then widths of groups), P choices, K limits, I channels.
"""

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from scipy.optimize import LinearConstraint, milp
from scipy.sparse import coo_array

from edge_mpq.allocators import Limit, ScoreTable
from edge_mpq.allocators._problem import Problem, problem, too_little
from edge_mpq.errors import PlanError, UsageError
from edge_mpq.records import formats
from edge_mpq.training.widths import Widths

_MEND = "allow more, narrower formats, or narrower layers"


class Joint:
    """The decisions of a joint search.

    menu, limits, ties: as allocators take them, where costs are in proportion to a layer's weights
    or multiply-adds.  widths: what can be narrower.  shares: of the channels, in (0, 1], that a
    group may keep.  made: units and their pairs.  most: [K].  start: some choice [D] within all limits.

    Raises UsageError for other shares; PlanError where nothing can be narrower, a format cuts the
    inputs into blocks, or limits cannot be met.
    """

    def __init__(
        self,
        menu: ScoreTable,
        limits: Sequence[Limit],
        ties: Sequence[Sequence[str]],
        widths: Widths,
        shares: Sequence[float],
    ):
        _check(menu, limits, widths, shares)
        unlimited = problem(menu, [limit._replace(most=math.inf) for limit in limits], ties)
        self.most = np.array([limit.most for limit in limits], float)
        self.made = unlimited._replace(limits=list(limits), most=self.most)
        self.widths, self.shares = widths, list(shares)
        self.counts = [len(pairs) for pairs in self.made.pairs] + [len(shares)] * len(widths.groups)
        self._factors = _factors(self.made, widths, shares)
        narrow = [int(np.argmin(shares))] * len(widths.groups)
        least = [self.totals(np.append(costs.argmin(axis=1), narrow))[k] for k, costs in enumerate(self.made.costs)]
        faults = [
            too_little(limit, least[k]) for k, limit in enumerate(limits) if not self.made.within(np.array(least))[k]
        ]
        if faults:
            raise PlanError("; ".join(faults), _MEND)
        self.start = self.best([[0.0] * count for count in self.counts])

    def totals(self, chosen: np.ndarray) -> np.ndarray:
        """The cost of choices [D] under every limit: [K]."""
        parts = [cost[(slice(None), *chosen[list(key)])] for key, cost in self._factors.items()]
        return np.sum(parts, axis=0)

    def kept(self, chosen: np.ndarray) -> torch.Tensor:
        """The channels that choices [D] keep: bool [I]."""
        return self.widths.kept([self.shares[choice] for choice in chosen[len(self.made.units) :]])

    def best(self, harm: Sequence[Sequence[float]]) -> np.ndarray:
        """The choices [D] of least total ``harm`` (of each decision, of each choice) within all limits.

        PlanError where limits that can each be met cannot be met together.
        """
        begins = np.cumsum([0, *self.counts])
        columns, rows, limits = begins[-1], list[tuple[np.ndarray, np.ndarray, float]](), list[tuple]()
        for d, count in enumerate(self.counts):
            rows.append((begins[d] + np.arange(count), np.ones(count), 1.0))
        for key, cost in self._factors.items():
            index = columns + np.arange(cost[0].size).reshape(cost.shape[1:])
            columns += cost[0].size
            limits.append((index.ravel(), cost.reshape(len(cost), -1)))
            for axis, d in enumerate(key):
                for choice, together in enumerate(np.moveaxis(index, axis, 0)):
                    one = np.append(together.ravel(), begins[d] + choice)
                    rows.append((one, np.append(np.ones(together.size), -1.0), 0.0))
        constraints = [_equal(rows, columns)]
        scale = np.where(self.most == 0, 1.0, np.abs(self.most))
        spent = np.zeros((len(scale), columns))
        for index, cost in limits:
            spent[:, index] = cost / scale[:, None]
        constraints.append(LinearConstraint(spent, -np.inf, self.most / scale + 1e-9))
        objective = np.zeros(columns)
        objective[: begins[-1]] = np.concatenate([np.asarray(row) - min(row) for row in harm])
        integral = np.arange(columns) < begins[-1]
        while True:
            solved = milp(objective, integrality=integral, bounds=(0, 1), constraints=constraints,
                          options={"mip_rel_gap": 0})  # fmt: skip
            if solved.x is None:
                raise PlanError(f"{', '.join(limit.what for limit in self.made.limits)} cannot be met together", _MEND)
            held = np.split(solved.x[: begins[-1]], begins[1:-1])
            chosen = np.array([int(row.argmax()) for row in held])
            if self.made.within(self.totals(chosen)).all():
                return chosen
            # HiGHS lets a limit slip by 1e-6; such an answer is excluded and the next best asked for.
            again = np.zeros((1, columns))
            again[0, begins[:-1] + chosen] = 1
            constraints.append(LinearConstraint(again, -np.inf, len(chosen) - 1))


def _check(menu: ScoreTable, limits: Sequence[Limit], widths: Widths, shares: Sequence[float]) -> None:
    if not all(0 < share <= 1 for share in shares) or len(set(shares)) < len(shares):
        raise UsageError(
            f"widths {', '.join(map(str, shares))}", "give different shares of the channels, above 0 up to 1"
        )
    if not widths.groups:
        whys = "; ".join(dict.fromkeys(widths.whole.values()))
        raise PlanError(f"no layer can have fewer channels: {whys}", "search formats alone")
    blocks = {pair[0] for row in menu.values() for pair in row if formats.get(pair[0]).block}
    if blocks:
        raise PlanError(
            f"{', '.join(sorted(blocks))} cut inputs into blocks, of which widths keep parts", "leave them out"
        )
    if any(limit.changes for limit in limits):
        raise PlanError("changes of format between layers are not in proportion to channels", "limit size or bitops")


def _equal(rows: Sequence[tuple[np.ndarray, np.ndarray, float]], columns: int) -> LinearConstraint:
    """One equality for each (columns, factors, sum)."""
    where = np.repeat(np.arange(len(rows)), [len(index) for index, _, _ in rows])
    index, factors = (np.concatenate([row[part] for row in rows]) for part in (0, 1))
    sums = [row[2] for row in rows]
    return LinearConstraint(coo_array((factors, (where, index)), (len(rows), columns)).tocsr(), sums, sums)


def _factors(made: Problem, widths: Widths, shares: Sequence[float]) -> dict[tuple[int, ...], np.ndarray]:
    """Decisions that a cost is of -> the cost of each of their combinations: [K, P, ...]."""
    channels, unowned = widths.channels, -1
    owner = torch.full((channels.total,), unowned)
    for g, group in enumerate(widths.groups):
        owner[torch.cat(group.strata)] = g
    alive = torch.stack([widths.kept([share] * len(widths.groups)) for share in shares])

    def counts(numbers: torch.Tensor | None) -> Mapping[int, np.ndarray]:
        """group -> the share that each of its widths keeps of these channels; those of no group are always kept."""
        if numbers is None:
            return {unowned: np.ones(1)}
        found = {
            g: alive[:, numbers[owner[numbers] == g]].sum(1) / len(numbers) for g in owner[numbers].unique().tolist()
        }
        return {g: (kept if g != unowned else kept[:1]).double().numpy() for g, kept in found.items()}

    def parts(name: str) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
        """Groups -> the share of a layer that each combination of their widths keeps; these add up."""
        for outputs, rows in counts(channels.writes[name]).items():
            for inputs, columns in counts(channels.reads.get(name)).items():
                if outputs == inputs != unowned:
                    yield (outputs,), rows * columns
                else:
                    extents = [len(kept) for g, kept in ((outputs, rows), (inputs, columns)) if g != unowned]
                    yield tuple(g for g in (outputs, inputs) if g != unowned), np.outer(rows, columns).reshape(extents)

    factors: dict[tuple[int, ...], np.ndarray] = {}
    for u, unit in enumerate(made.units):
        for name in unit:
            costs = np.array([[limit.costs[name][pair] for pair in made.pairs[u]] for limit in made.limits])
            for groups, part in parts(name):
                key = (u, *(len(made.units) + g for g in groups))
                added = costs.reshape(*costs.shape, *[1] * part.ndim) * part
                factors[key] = factors[key] + added if key in factors else added
    return factors
