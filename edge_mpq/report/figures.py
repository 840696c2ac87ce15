"""The figures a run comes down to, computed from its report and not yet drawn."""

from collections.abc import Sequence
from typing import NamedTuple

from edge_mpq.records.report import LayerRow, RunReport, Variant
from edge_mpq.report import quantities
from edge_mpq.report.quantities import Quantity, Rule

NOT_MEASURED = "not measured"
OTHER_WORK = "other work"


class Metric(NamedTuple):
    """One line of the table of variants: ``field`` of a Variant, how it is written, how it differs.

    difference: ``points`` for shares, ``ratio`` for what is compared in percent,
    ``plain`` for what is subtracted.
    """

    title: str
    field: str
    rule: Rule
    difference: str


METRICS = (
    Metric("Top-1 accuracy", "top1", quantities.percent, "points"),
    Metric("Mean IoU", "mean_iou", quantities.percent, "points"),
    Metric("Agreement with fp32", "agreement", quantities.percent, "points"),
    Metric("Simulated and deployed agree", "simulated_agreement", quantities.percent, "points"),
    Metric("Weights at nominal bits", "weight_mib", quantities.mib, "ratio"),
    Metric("Average weight width", "weight_bits", quantities.bits, "plain"),
    Metric("File", "file_mib", quantities.mib, "ratio"),
    Metric("Time of a picture, p50", "p50_ms", quantities.ms, "ratio"),
    Metric("Time of a picture, p99", "p99_ms", quantities.ms, "ratio"),
    Metric("Rate", "fps", quantities.rate, "ratio"),
    Metric("Speed-up over fp32", "speedup", quantities.times, "ratio"),
)


class Headline(NamedTuple):
    """One of the three figures on top: ``value`` is None where it was not measured."""

    label: str
    value: Quantity | None
    details: tuple[str, ...] = ()


class Timing(NamedTuple):
    """How well the plan foresaw the time of the layers for which both times are known."""

    layers: int
    planned_ms: float
    measured_ms: float
    within_twice: int

    @property
    def ratio(self) -> float | None:
        """Measured over planned time; None where nothing was planned."""
        return self.measured_ms / self.planned_ms if self.planned_ms else None


def metrics(variants: Sequence[Variant]) -> list[Metric]:
    """The lines of a table of ``variants``: of accuracy that of their task, top-1 where it is not known."""
    maps = any(variant.mean_iou is not None for variant in variants)
    return [metric for metric in METRICS if metric.field != ("top1" if maps else "mean_iou")]


def reference(variants: Sequence[Variant]) -> Variant | None:
    """The variant that the others are held against: the one called fp32, else the first."""
    return next((variant for variant in variants if variant.name == "fp32"), variants[0] if variants else None)


def subject(variants: Sequence[Variant]) -> Variant | None:
    """The variant that the run was made for: the one called mixed, else the last."""
    return next((variant for variant in variants if variant.name == "mixed"), variants[-1] if variants else None)


def shown(metric: Metric, variant: Variant, base: Variant | None) -> Quantity | str:
    """What stands in a cell of the table: a quantity, or why there is none."""
    value = getattr(variant, metric.field)
    if value is not None:
        return metric.rule(value)
    compares_with_itself = variant is base and metric.field in ("agreement", "simulated_agreement")
    return "\u2013" if compares_with_itself else NOT_MEASURED


def difference(metric: Metric, value: float) -> str:
    """A difference in the words of its metric: points, percent or the metric's own unit."""
    if metric.difference == "points":
        return str(quantities.points(value))
    if metric.difference == "ratio":
        return str(quantities.change(1 + value))
    return str(Quantity(quantities.signed(value, 2), metric.rule(0.0).unit))


def headlines(report: RunReport) -> list[Headline]:
    """Accuracy, size and speed of the report's subject against its reference."""
    base, best = reference(report.variants), subject(report.variants)
    if base is None or best is None:
        return []
    return [_accuracy(best, base), _size(best, base), _speed(best, base)]


def accuracy(variant: Variant) -> float | None:
    """The share by which a variant is judged: its mean IoU where it draws maps, else its top-1."""
    return variant.top1 if variant.mean_iou is None else variant.mean_iou


def drop(best: Variant, base: Variant) -> str:
    """How ``best``'s accuracy stands to ``base``'s, in words."""
    mine, its = accuracy(best), accuracy(base)
    if mine is None or its is None:
        return ""
    lost = quantities.fixed(abs(100 * (its - mine)), 2)
    if lost == "0.00":
        return f"equal to {base.name}"
    return f"{lost} points {'below' if mine < its else 'above'} {base.name}"


def _accuracy(best: Variant, base: Variant) -> Headline:
    mine, its = accuracy(best), accuracy(base)
    value = None if mine is None else quantities.percent(mine)
    label = f"{'Accuracy' if best.mean_iou is None else 'Mean IoU'} of {best.name}"
    if best is base or its is None:
        return Headline(label, value)
    lines = (drop(best, base), f"{base.name} {quantities.percent(its)}")
    return Headline(label, value, tuple(line for line in lines if line))


def _size(best: Variant, base: Variant) -> Headline:
    if best is base or not best.file_mib or not base.file_mib:
        return Headline(f"File of {best.name}", quantities.mib(best.file_mib))
    details = (
        f"file {quantities.mib(best.file_mib)} against {quantities.mib(base.file_mib)}",
        f"weights {quantities.mib(best.weight_mib)} against {quantities.mib(base.weight_mib)}",
    )
    return Headline(f"Size of {best.name}", _comparative(base.file_mib / best.file_mib, "smaller", "larger"), details)


def _speed(best: Variant, base: Variant) -> Headline:
    if best is base or not best.speedup:
        return Headline(f"Time of {best.name}, p50", quantities.ms(best.p50_ms), (str(quantities.rate(best.fps)),))
    details = (
        f"{quantities.ms(best.p50_ms)} a picture against {quantities.ms(base.p50_ms)}",
        f"{quantities.rate(best.fps)} against {quantities.rate(base.fps)}",
    )
    return Headline(f"Speed of {best.name}", _comparative(best.speedup, "faster", "slower"), details)


def _comparative(ratio: float, more: str, less: str) -> Quantity:
    quantity = quantities.times(ratio if ratio >= 1 else 1 / ratio)
    return quantity._replace(unit=f"{quantity.unit} {more if ratio >= 1 else less}")


def timing(rows: Sequence[LayerRow]) -> Timing:
    """Planned against measured time over the layers where both are known."""
    both = [
        (row.planned_ms, row.measured_ms) for row in rows if row.planned_ms is not None and row.measured_ms is not None
    ]
    within = sum(1 for planned, measured in both if planned <= 2 * measured and measured <= 2 * planned)
    return Timing(len(both), sum(pair[0] for pair in both), sum(pair[1] for pair in both), within)


def mismatches(rows: Sequence[LayerRow]) -> list[LayerRow]:
    """The layers that the engine ran otherwise than asked."""
    return [row for row in rows if row.asked != row.got]


def layer_name(row: LayerRow) -> str:
    """How a layer is called on a page: work that belongs to none has no name in the record."""
    return row.layer or OTHER_WORK


def distinct(names: Sequence[str]) -> list[str]:
    """Dotted names without the leading and trailing parts that all of them share; each keeps one part at least."""
    parts = [name.split(".") for name in names]
    while len(parts) > 1 and min(map(len, parts)) > 1 and len({part[0] for part in parts}) == 1:
        parts = [part[1:] for part in parts]
    while len(parts) > 1 and min(map(len, parts)) > 1 and len({part[-1] for part in parts}) == 1:
        parts = [part[:-1] for part in parts]
    return [".".join(part) for part in parts]


def times(row: LayerRow) -> str:
    """A layer's planned and measured time in words, for a tooltip."""
    known = [(row.planned_ms, "planned"), (row.measured_ms, "measured")]
    told = ", ".join(f"{quantities.ms(value)} {name}" for value, name in known if value is not None)
    return f"{layer_name(row)}: {told}"
