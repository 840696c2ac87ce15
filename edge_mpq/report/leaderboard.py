"""A leaderboard's figures, computed and not yet drawn: recipes over their seeds, and the Pareto front."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from edge_mpq.records.leaderboard import Entry, Leaderboard


class Standing(NamedTuple):
    """One recipe over its seeds: means, and the spread (greatest less least) of the accuracy lost.

    lost: points below fp32 of the engine, or of the simulation where nothing is deployed.
    """

    recipe: str
    paper: str
    seeds: int
    lost: float
    spread: float
    weight_bits: float
    weight_mib: float
    search_s: float
    evaluations: float
    deployed: bool
    agreement: float | None
    p50_ms: float | None
    speedup: float | None
    note: str


def accuracy(entry: Entry) -> float:
    """The share right that counts: the engine's where there is one."""
    found = entry.simulated_top1 if entry.top1 is None else entry.top1
    assert found is not None, "an entry without failure has an accuracy"
    return found


def standings(board: Leaderboard) -> list[Standing]:
    """Every recipe that has a result, least accuracy lost first."""
    found = []
    for recipe in dict.fromkeys(entry.recipe for entry in board.entries):
        rows = [entry for entry in board.entries if entry.recipe == recipe and not entry.failure]
        if rows:
            found.append(_standing(rows, board.fp32_top1))
    return sorted(found, key=lambda row: row.lost)


def failures(board: Leaderboard) -> list[Entry]:
    """Entries without a result, one a recipe."""
    return list({entry.recipe: entry for entry in board.entries if entry.failure}.values())


def front(rows: Sequence[Standing], cost: Callable[[Standing], float | None]) -> set[str]:
    """Recipes that no other beats or equals in both accuracy and ``cost`` (lower is better)."""
    known = [(row.recipe, row.lost, price) for row in rows if (price := cost(row)) is not None]
    return {
        name
        for name, lost, price in known
        if not any(
            other_lost <= lost and other_price <= price and (other_lost, other_price) != (lost, price)
            for _, other_lost, other_price in known
        )
    }


def _standing(rows: Sequence[Entry], fp32: float) -> Standing:
    lost = [100 * (fp32 - accuracy(row)) for row in rows]

    def mean(name: str) -> float | None:
        values = [getattr(row, name) for row in rows if getattr(row, name) is not None]
        return float(np.mean(values)) if values else None

    return Standing(
        recipe=rows[0].recipe,
        paper=rows[0].paper,
        seeds=len(rows),
        lost=float(np.mean(lost)),
        spread=max(lost) - min(lost),
        weight_bits=float(np.mean([row.weight_bits for row in rows])),
        weight_mib=float(np.mean([row.weight_mib for row in rows])),
        search_s=float(np.mean([row.search_s for row in rows])),
        evaluations=float(np.mean([row.evaluations for row in rows])),
        deployed=all(row.top1 is not None for row in rows),
        agreement=mean("agreement"),
        p50_ms=mean("p50_ms"),
        speedup=mean("speedup"),
        note=next((row.note for row in rows if row.note), ""),
    )
