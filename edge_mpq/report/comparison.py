"""Two or more reports of one model held against each other, computed and not yet drawn.

The first report is the one that the others differ from.
"""

from collections.abc import Iterable, Sequence
from pathlib import PurePath
from typing import NamedTuple

from edge_mpq.errors import RecordError
from edge_mpq.records.report import LayerRow, RunReport, Variant
from edge_mpq.report import figures
from edge_mpq.report.figures import METRICS, Metric, Timing

FINGERPRINT = "model_fingerprint"


class Side(NamedTuple):
    """One of the reports, under the name it has in the comparison."""

    label: str
    report: RunReport


class Cell(NamedTuple):
    """One figure of one side, and how far it is from the first side's; None where there is none.

    difference: of two shares or bit widths the plain difference, of all else the ratio less 1.
    first: whether this is the first side, which differs from nothing.
    """

    value: float | None
    difference: float | None
    first: bool


class VariantFigures(NamedTuple):
    """One variant on every side: metric field -> one cell a side."""

    name: str
    cells: dict[str, list[Cell]]


class Precision(NamedTuple):
    """Asked against got, and planned against measured time, of one variant on one side."""

    label: str
    variant: str
    layers: int
    as_asked: int
    otherwise: list[LayerRow]
    timing: Timing


class LayerPair(NamedTuple):
    """One layer of one variant: its row on each side, None where that side does not have it."""

    layer: str
    rows: list[LayerRow | None]


class Comparison(NamedTuple):
    """Everything that a comparison shows; notes: what a reader must know before trusting it."""

    sides: list[Side]
    variants: list[VariantFigures]
    precision: list[Precision]
    layers: dict[str, list[LayerPair]]
    notes: list[str]


def labels(paths: Sequence[str]) -> list[str]:
    """A short distinct name for each path: its folder or stem, with parents as needed, numbered where the same."""
    parts = [_named(path) for path in paths]
    for depth in range(1, max((len(p) for p in parts), default=1) + 1):
        names = ["/".join(p[-depth:]) for p in parts]
        if len(set(names)) == len(set(map(tuple, parts))):
            break
    numbered: list[str] = []
    for name in names:
        again = names[: len(numbered)].count(name)
        numbered.append(f"{name} ({again + 1})" if again else name)
    return numbered


def compare(sides: Sequence[Side]) -> Comparison:
    """Hold ``sides`` against the first of them; RecordError when they are of different models."""
    notes = _same_model(sides)
    names = _in_order(variant.name for side in sides for variant in side.report.variants)
    timed = [
        Precision(
            side.label,
            variant.name,
            len(variant.layers),
            len(variant.layers) - len(figures.mismatches(variant.layers)),
            figures.mismatches(variant.layers),
            figures.timing(variant.layers),
        )
        for name in names
        for side in sides
        for variant in side.report.variants
        if variant.name == name and variant.layers
    ]
    pairs = {name: _layer_pairs([_variant(side, name) for side in sides]) for name in names}
    return Comparison(
        list(sides),
        [_figures(name, sides) for name in names],
        timed,
        {name: rows for name, rows in pairs.items() if rows},
        notes,
    )


def as_json(result: Comparison) -> dict[str, object]:
    """The comparison as JSON values, without the reports themselves."""
    return {
        "reports": [
            {
                "label": side.label,
                "title": side.report.title,
                "target": side.report.target,
                "created": side.report.created,
            }
            for side in result.sides
        ],
        "variants": {
            variant.name: {
                field: [[cell.value, cell.difference] for cell in cells] for field, cells in variant.cells.items()
            }
            for variant in result.variants
        },
        "precision": [
            {
                "label": row.label,
                "variant": row.variant,
                "layers": row.layers,
                "as_asked": row.as_asked,
                "otherwise": [other.layer for other in row.otherwise],
                "timed_layers": row.timing.layers,
                "planned_ms": row.timing.planned_ms,
                "measured_ms": row.timing.measured_ms,
            }
            for row in result.precision
        ],
        "notes": result.notes,
    }


def _named(path: str) -> list[str]:
    pure = PurePath(path)
    parts = [
        part
        for part in (pure.parent if pure.name == "report.json" else pure.with_suffix("")).parts
        if part != pure.anchor
    ]
    return parts or [pure.stem or "report"]


def _in_order(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _same_model(sides: Sequence[Side]) -> list[str]:
    known = {side.label: side.report.facts[FINGERPRINT] for side in sides if side.report.facts.get(FINGERPRINT)}
    if len(set(map(str, known.values()))) > 1:
        told = ", ".join(f"{label} is of model {print_}" for label, print_ in known.items())
        raise RecordError(f"the reports are of different models: {told}", "compare runs of one model")
    return [
        f"{side.label} does not say which model it is of; whether it is the same is not known."
        for side in sides
        if side.label not in known
    ]


def _variant(side: Side, name: str) -> Variant | None:
    return next((variant for variant in side.report.variants if variant.name == name), None)


def _figures(name: str, sides: Sequence[Side]) -> VariantFigures:
    shown = [_variant(side, name) for side in sides]
    return VariantFigures(name, {metric.field: _cells(metric, shown) for metric in METRICS})


def _cells(metric: Metric, shown: Sequence[Variant | None]) -> list[Cell]:
    values = [None if variant is None else getattr(variant, metric.field) for variant in shown]
    return [
        Cell(value, None if index == 0 else _difference(metric, value, values[0]), index == 0)
        for index, value in enumerate(values)
    ]


def _difference(metric: Metric, value: float | None, base: float | None) -> float | None:
    if value is None or base is None:
        return None
    if metric.difference != "ratio":
        return value - base
    return value / base - 1 if base else None


def _layer_pairs(shown: Sequence[Variant | None]) -> list[LayerPair]:
    tables = [{row.layer: row for row in variant.layers} if variant else {} for variant in shown]
    names = _in_order(layer for table in tables for layer in table)
    return [LayerPair(name, [table.get(name) for table in tables]) for name in names]
