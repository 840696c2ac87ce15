"""Two or more tradeoffs of one task held against each other: which points pair, and what may be claimed of them.

The first run is the one that the others differ from.  Runs are not timed in the same turns:
what is claimed of them is a difference beyond the spread of both.
"""

import collections
from collections.abc import Sequence
from typing import Any, NamedTuple

from edge_mpq.errors import RecordError
from edge_mpq.records.tradeoff import PlanFacts, Point, Tradeoff
from edge_mpq.report import quantities, tradeoff
from edge_mpq.report.text import aligned, printable
from edge_mpq.report.tradeoff import Mark
from edge_mpq.report.tradeoff_files import Side


class Pair(NamedTuple):
    """One plan at one setting in the first run and in another: indices into the marks of both.

    rate: the other's FPS by the first's.  faster: 1, -1, or 0 where that is within the spread of both.  points: the
    other's accuracy less the first's, in percent points.  righter: 1, -1, or 0 where as many pictures may differ so
    by chance; None where the pictures are others.
    """

    first: int
    other: int
    rate: float
    faster: int
    points: float
    righter: int | None


class Comparison(NamedTuple):
    """All that a comparison shows; notes: what a reader must know before trusting it."""

    sides: list[Side]
    marks: list[Mark]
    pairs: list[Pair]
    notes: list[str]


def compare(sides: Sequence[Side]) -> Comparison:
    """Hold ``sides`` against the first; RecordError where they are of other tasks or models, or share no point."""
    runs = [side.run for side in sides]
    _same_task(sides)
    marks = tradeoff.marks(runs)
    modes = [len({point.power_mode for point in run.points}) for run in runs]
    # Boards call their modes differently: where each run has one, it is part of the board.
    with_mode = max(modes) > 1
    by_name = any(len(set(map(_identity, run.plans))) < len(run.plans) for run in runs)
    found: dict[tuple, dict[int, int]] = collections.defaultdict(dict)
    for index, mark in enumerate(marks):
        plan = mark.plan.name if by_name else "", *_identity(mark.plan)
        at = tradeoff.setting(mark.point, tradeoff.SETTINGS if with_mode else tradeoff.SETTINGS[:3])
        found[plan, at][mark.run] = index
    pairs = [
        _pair(marks, there[0], index, runs)
        for there in found.values()
        if 0 in there
        for run, index in there.items()
        if run > 0
    ]
    if not pairs:
        raise RecordError("the runs have no plan at the same setting in common", "measure the same bundles alike")
    return Comparison(list(sides), marks, pairs, _notes(sides, marks, pairs))


def _same_task(sides: Sequence[Side]) -> None:
    tasks = {side.run.task for side in sides}
    if len(tasks) > 1:
        told = ", ".join(f"{side.label} is to {side.run.task}" for side in sides)
        raise RecordError(f"the runs are of different tasks: {told}", "compare runs of one task")
    models = [{plan.model for plan in side.run.plans if plan.model} for side in sides]
    if all(models) and not set.intersection(*models):
        raise RecordError("the runs have no model in common", "compare runs of one model")


def _identity(plan: PlanFacts) -> tuple:
    """What tells a plan from others, whatever it is called: what each layer is asked, else its name."""
    asked = tuple((row.layer, row.asked) for row in plan.layers)
    return plan.role, plan.model, asked or plan.name


def _pair(marks: Sequence[Mark], first: int, other: int, runs: Sequence[Tradeoff]) -> Pair:
    a, b = marks[first], marks[other]
    gap = b.share - a.share
    chance = (_variance(a, runs) + _variance(b, runs)) ** 0.5
    mine, its = runs[a.run], runs[b.run]
    alike = (mine.data, mine.pictures) == (its.data, its.pictures)
    return Pair(
        first,
        other,
        rate=b.point.fps / a.point.fps,
        faster=_faster(b.point, a.point),
        points=100 * gap,
        righter=None if not alike else 0 if abs(gap) <= chance else 1 if gap > 0 else -1,
    )


def _variance(mark: Mark, runs: Sequence[Tradeoff]) -> float:
    return tradeoff.error(mark.share, runs[mark.run].pictures) ** 2


def _faster(mine: Point, its: Point) -> int:
    """1, -1, or 0 where the rates differ by no more than the ranges between the quartiles of both together.

    Quartiles that merely lie apart would not do: two runs of one program an hour apart, on a machine with
    other work, differ by more than that (docs/tradeoff.md).
    """
    spread = sum(1e3 * one.batch * (1 / one.p50_low_ms - 1 / one.p50_high_ms) for one in (mine, its))
    return 0 if abs(mine.fps - its.fps) <= spread else 1 if mine.fps > its.fps else -1


def _notes(sides: Sequence[Side], marks: Sequence[Mark], pairs: Sequence[Pair]) -> list[str]:
    notes = []
    answered = {(side.run.data, side.run.pictures) for side in sides}
    if len(answered) > 1:
        told = "; ".join(f"{side.label} answered {side.run.pictures:,} of {side.run.data}" for side in sides)
        notes.append(f"The accuracies are of different pictures: {told}.")
    paired = {pair.first for pair in pairs} | {pair.other for pair in pairs}
    alone = len(marks) - len(paired)
    if alone:
        notes.append(f"{alone} of {len(marks)} points stand alone: no other run has their plan at their setting.")
    unknown = [side.label for side in sides if not all(plan.layers for plan in side.run.plans)]
    if unknown:
        notes.append(f"{', '.join(unknown)} does not tell the layers of every plan; those without pair by name alone.")
    return notes


def claim(pair: Pair) -> str:
    """What may be said of the rates of a pair."""
    return {1: "faster", -1: "slower", 0: "within the spread"}[pair.faster]


def claim_of_accuracy(pair: Pair) -> str:
    """What may be said of the accuracies of a pair."""
    if pair.righter is None:
        return "other pictures"
    if pair.points == 0:
        return "equal"
    return {1: "better", -1: "worse", 0: "within chance"}[pair.righter]


def text(result: Comparison) -> str:
    """The pairs in a terminal, a line each."""
    rows = [["", "run", "rate", "claim", "accuracy", "claim"]]
    for pair in result.pairs:
        mark = result.marks[pair.other]
        name = printable(f"{mark.plan.name}, {tradeoff.setting(mark.point, ('threads', 'batch', 'size'))}", 40)
        figures = [f"{quantities.fixed(pair.rate, 2)}x", claim(pair), quantities.signed(pair.points, 2)]
        rows.append([name, printable(result.sides[mark.run].label, 14), *figures, claim_of_accuracy(pair)])
    head = f"{len(result.sides)} runs compared; differences are from {printable(result.sides[0].label, 30)}"
    return "\n".join([head, *(printable(note, 100) for note in result.notes), *aligned(rows)])


def as_json(result: Comparison) -> dict[str, Any]:
    """The comparison as JSON values."""

    def told(pair: Pair) -> dict[str, Any]:
        mark = result.marks[pair.other]
        setting = {name: getattr(mark.point, name) for name in ("threads", "batch", "width", "height", "power_mode")}
        ratios = {"rate": pair.rate, "speed": claim(pair), "points": pair.points, "accuracy": claim_of_accuracy(pair)}
        return {"run": result.sides[mark.run].label, "plan": mark.plan.name, **setting, **ratios}

    return {
        "runs": [side.label for side in result.sides],
        "pairs": [told(pair) for pair in result.pairs],
        "notes": result.notes,
    }
