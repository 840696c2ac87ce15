"""Tradeoff: how fast and how right the plans of one task are, at every setting that was tried."""

import collections
from typing import Dict, List, NamedTuple, Optional

from edge_mpq.records import document, report

KIND, VERSION = "tradeoff", 1
# What accuracy may be, the first that all points have is shown.
METRICS = ("top1", "mean_iou", "agreement")


class PlanFacts(NamedTuple):
    """One plan, whatever it runs on.

    role: ``fp32``, ``int8`` or ``mixed``.  title: of its bundle.  model: fingerprint of the layers, '' where not
    known.  weight_mib: weights at their nominal bits.  layers: as in a report; measured_ms is of one picture at
    the bundle's own size, on the fewest threads.
    """

    name: str
    role: str
    title: str
    model: str
    target: str
    backend: str
    budget: str
    weight_bits: float
    weight_mib: float
    file_mib: float
    layers: List[report.LayerRow] = []


class Point(NamedTuple):
    """One plan at one setting.

    width, height: of the input, pixels.  power_mode: '' where the machine has none.  p50_ms: of a call, the median
    over turns of a turn's median; p50_low_ms, p50_high_ms: the quartiles of those.  p99_ms: of all calls.  fps:
    pictures a second at p50_ms.  speedup: the time of a picture by fp32 one by one, on the fewest threads, by this
    one's of the same turn; the median over turns, and the quartiles.  top1, mean_iou, agreement: shares, as in a
    report, of the answers at this resolution.  peak_mib: resident memory of a process with this engine alone;
    loaded_mib: of that before the engine was opened.  picture_j: energy of a picture, the median over turns, and the
    quartiles.  None: not known.
    """

    plan: str
    threads: int
    batch: int
    width: int
    height: int
    power_mode: str
    turns: int
    calls: int
    p50_ms: float
    p50_low_ms: float
    p50_high_ms: float
    p99_ms: float
    fps: float
    speedup: float
    speedup_low: float
    speedup_high: float
    top1: Optional[float] = None
    mean_iou: Optional[float] = None
    agreement: Optional[float] = None
    peak_mib: Optional[float] = None
    loaded_mib: Optional[float] = None
    picture_j: Optional[float] = None
    picture_low_j: Optional[float] = None
    picture_high_j: Optional[float] = None


class Tradeoff(NamedTuple):
    """Every point of a run, and what they share.

    task: ``classify`` or ``segment``.  pictures: how many were answered; 0: none.  reference: the plan that
    speedup is against.  machine: as in a report.
    """

    title: str
    created: str
    task: str
    data: str
    pictures: int
    reference: str
    machine: Dict[str, str]
    commands: List[str]
    plans: List[PlanFacts] = []
    points: List[Point] = []


def setting(point):
    """What tells a point from the others of its plan: (threads, batch, width, height, power mode)."""
    return point.threads, point.batch, point.width, point.height, point.power_mode


def save(path, tradeoff):
    """Write the tradeoff to ``path``."""
    plans = [dict(plan._asdict(), layers=[report.row_to_json(row) for row in plan.layers]) for plan in tradeoff.plans]
    body = dict(tradeoff._asdict(), plans=plans, points=[point._asdict() for point in tradeoff.points])
    document.save(path, KIND, VERSION, body)


def load(path):
    """Read a tradeoff; RecordError names every fault."""
    fields = document.load(path, KIND, VERSION)
    body = {name: value for name, value in fields.body.items() if name not in ("kind", "version")}
    made = document.named(Tradeoff, body, "the tradeoff", fields)
    if made is not None:
        plans = [_plan(row, "plan {}".format(i), fields) for i, row in enumerate(made.plans)]
        points = [document.named(Point, row, "point {}".format(i), fields) for i, row in enumerate(made.points)]
        made = made._replace(
            plans=[plan for plan in plans if plan is not None], points=[one for one in points if one is not None]
        )
        for fault in faults(made):
            fields.fault(fault)
    fields.done()
    return made


def _plan(body, where, fields):
    plan = document.named(PlanFacts, body, where, fields)
    if plan is None:
        return None
    rows = [report.row_from_json(row, "a layer of " + where, fields) for row in plan.layers]
    return plan._replace(layers=[row for row in rows if row is not None])


def faults(tradeoff):
    """What is wrong with a tradeoff whose fields have the right types: [text]."""
    names = [plan.name for plan in tradeoff.plans]
    found = ["plan {!r} stands twice".format(name) for name in sorted(set(names)) if names.count(name) > 1]
    if not all(isinstance(value, str) for value in tradeoff.machine.values()):
        found.append("field 'machine' holds something that is no text")
    if not all(isinstance(line, str) for line in tradeoff.commands):
        found.append("field 'commands' holds something that is no text")
    if tradeoff.pictures < 0:
        found.append("there are {} pictures".format(tradeoff.pictures))
    if tradeoff.points and tradeoff.reference not in names:
        found.append("the reference {!r} is none of its plans".format(tradeoff.reference[:60]))
    settings = collections.Counter((point.plan, setting(point)) for point in tradeoff.points)
    found += ["plan {!r} has a point twice: {}".format(plan[:60], at) for (plan, at), n in settings.items() if n > 1]
    for index, point in enumerate(tradeoff.points):
        found += ["point {} {}".format(index, fault) for fault in _point_faults(point, names)]
    return found


def _point_faults(point, names):
    if point.plan not in names:
        yield "is of the plan {!r}, which is not there".format(point.plan[:60])
    for name in ("threads", "batch", "width", "height", "turns", "calls", "p50_low_ms", "fps", "speedup_low"):
        if not getattr(point, name) > 0:
            yield "has {} {}, which is not above 0".format(name, getattr(point, name))
    for name in METRICS:
        share = getattr(point, name)
        if share is not None and not 0 <= share <= 1:
            yield "has {} {}, which is no share".format(name, share)
    quartiles = [
        ("p50_low_ms", "p50_ms", "p50_high_ms"),
        ("speedup_low", "speedup", "speedup_high"),
        ("picture_low_j", "picture_j", "picture_high_j"),
    ]
    for row in quartiles:
        values = [getattr(point, name) for name in row]
        if None in values:
            if any(value is not None for value in values):
                yield "knows only a part of {}".format(", ".join(row))
        elif not 0 <= values[0] <= values[1] <= values[2]:
            yield "has {} out of order".format(", ".join(row))
    for name in ("p99_ms", "peak_mib", "loaded_mib"):
        value = getattr(point, name)
        if value is not None and value < 0:
            yield "has {} {}, below 0".format(name, value)
