"""What a tradeoff comes down to, computed and not yet drawn: its Pareto front, headlines, rows and words."""

import csv
import io
from collections.abc import Sequence
from typing import NamedTuple

from edge_mpq.errors import RecordError
from edge_mpq.records.tradeoff import METRICS, PlanFacts, Point, Tradeoff
from edge_mpq.report import quantities
from edge_mpq.report.text import aligned, printable

TITLES = {"top1": "top-1 accuracy", "mean_iou": "mean IoU", "agreement": "agreement with fp32"}
SETTINGS = ("threads", "batch", "size", "power_mode")
# Points of accuracy that "as right as fp32" may lack: a headline needs one number.
NEAR = 0.005


class Mark(NamedTuple):
    """A point that is drawn.  run: which of the runs it is of.  share: its accuracy, 0 to 1.  front: on it or not."""

    run: int
    plan: PlanFacts
    point: Point
    share: float
    front: bool = False


def metric(runs: Sequence[Tradeoff]) -> str:
    """The accuracy that all points of ``runs`` know; RecordError where there is none, or no point."""
    points = [point for run in runs for point in run.points]
    for name in METRICS:
        if points and all(getattr(point, name) is not None for point in points):
            return name
    what = "no point was measured" if not points else "there is no accuracy that all points know"
    raise RecordError(what, "measure on data with labels, or a bundle with frames")


def front(values: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the Pareto front of (rate, share) pairs, slowest first.

    None on it is beaten in one and at least equalled in the other; equals stand on it together.
    """
    order = sorted(range(len(values)), key=lambda index: (-values[index][0], -values[index][1]))
    found: list[int] = []
    for index in order:
        best = values[found[-1]] if found else None
        if best is None or values[index][1] > best[1] or values[index] == best:
            found.append(index)
    return found[::-1]


def marks(runs: Sequence[Tradeoff]) -> list[Mark]:
    """Every point of ``runs`` with its accuracy; the front is that of all of them together."""
    name = metric(runs)
    made = []
    for number, run in enumerate(runs):
        plans = {plan.name: plan for plan in run.plans}
        made += [Mark(number, plans[point.plan], point, getattr(point, name)) for point in run.points]
    best = set(front([(mark.point.fps, mark.share) for mark in made]))
    return [mark._replace(front=index in best) for index, mark in enumerate(made)]


def field(point: Point, name: str) -> str:
    """One of ``SETTINGS`` of a point as a word: ``96 x 96`` for its size."""
    return f"{point.width} \u00d7 {point.height}" if name == "size" else str(getattr(point, name))


def varying(points: Sequence[Point]) -> list[str]:
    """Those of ``SETTINGS`` in which ``points`` differ."""
    return [name for name in SETTINGS if len({field(point, name) for point in points}) > 1]


def setting(point: Point, names: Sequence[str] = SETTINGS) -> str:
    """The setting of a point in words: ``2 threads, batch 8``."""
    words = {
        "threads": f"{point.threads} thread{'' if point.threads == 1 else 's'}",
        "batch": f"batch {point.batch}",
        "size": field(point, "size"),
        "power_mode": point.power_mode,
    }
    return ", ".join(words[name] for name in names if words[name])


def reference(run: Tradeoff) -> Point | None:
    """The point that speedups are against: the reference, on the fewest threads, one by one, at the first size."""
    mine = [point for point in run.points if point.plan == run.reference]
    return min(mine, key=lambda point: (point.threads, point.batch), default=None)


class Headline(NamedTuple):
    """One main figure: what of, the point, and the accuracy of the reference, None where that is not known.

    by_rate: whether it is its rate, else its accuracy.
    """

    title: str
    mark: Mark
    against: float | None
    by_rate: bool = True


def headlines(run: Tradeoff) -> list[Headline]:
    """The fastest point, the fastest that lacks no more than ``NEAR`` of the reference, and the most accurate."""
    made = marks([run])
    base = reference(run)
    its = next((mark.share for mark in made if mark.point is base), None)
    found = [Headline("Fastest", max(made, key=lambda mark: (mark.point.fps, mark.share)), its)]
    near = [mark for mark in made if its is not None and mark.share >= its - NEAR]
    if near:
        within = f"Fastest within {quantities.fixed(100 * NEAR, 1)} points of {run.reference}"
        found.append(Headline(within, max(near, key=lambda mark: mark.point.fps), its))
    found.append(Headline("Most accurate", max(made, key=lambda mark: (mark.share, mark.point.fps)), its, False))
    return found


def error(share: float, pictures: int) -> float:
    """Half the 95 % interval of a share of so many pictures; 0 where none were answered."""
    return 1.96 * (share * (1 - share) / pictures) ** 0.5 if pictures else 0.0


def table(run: Tradeoff) -> str:
    """Every point and the facts of its plan as CSV, with a head of the field names."""
    facts = [name for name in PlanFacts._fields if name not in ("name", "layers")]
    written = io.StringIO()
    rows = csv.writer(written, lineterminator="\n")
    rows.writerow([*Point._fields, *facts, "front"])
    for mark in marks([run]):
        told = ["" if value is None else value for value in mark.point]
        rows.writerow([*told, *(getattr(mark.plan, name) for name in facts), int(mark.front)])
    return written.getvalue()


def text(run: Tradeoff) -> str:
    """Lines for a terminal, at most 80 columns wide: a point each, ``*`` on the front."""
    made = marks([run])
    names = varying([mark.point for mark in made])
    rows = [["", *(name.replace("_", " ") for name in names), metric([run]), "FPS", "p99 ms", "speedup", "quartiles"]]
    for mark in made:
        point = mark.point
        figures = [
            quantities.percent(mark.share).number,
            quantities.rate(point.fps).number,
            quantities.ms(point.p99_ms).number,
            quantities.fixed(point.speedup, 2),
            f"{quantities.fixed(point.speedup_low, 2)}-{quantities.fixed(point.speedup_high, 2)}",
        ]
        label = printable(mark.plan.name, 18) + (" *" if mark.front else "")
        rows.append([label, *(printable(field(point, name), 10) for name in names), *figures])
    return "\n".join([printable(run.title, 78), *aligned(rows), "* on the Pareto front"])
