"""A comparison in a terminal, at most 80 columns wide: a table a variant, then what was asked and planned."""

from edge_mpq.report import figures, quantities
from edge_mpq.report.comparison import Comparison, Precision, VariantFigures
from edge_mpq.report.text import aligned, printable

_SHOWN = ("top1", "file_mib", "p50_ms", "fps", "speedup")
_HEADS = ("Top-1", "File", "p50", "Rate", "Speed-up")
_LABEL = 20


def summary(result: Comparison) -> str:
    """Every variant side by side with its differences from the first report, as plain lines."""
    names = [printable(side.label, _LABEL) for side in result.sides]
    lines = [f"{len(names)} runs compared; differences are from {names[0]}"]
    lines += [printable(note, 78) for note in result.notes]
    for variant in result.variants:
        lines += ["", *_figures(variant, names)]
    if result.precision:
        lines += ["", *_precision(result.precision)]
    return "\n".join(lines)


def _figures(variant: VariantFigures, names: list[str]) -> list[str]:
    metrics = {metric.field: metric for metric in figures.METRICS}
    rows = [[printable(variant.name, _LABEL), *_HEADS]]
    for index, name in enumerate(names):
        cells = [variant.cells[field][index] for field in _SHOWN]
        shown = zip(_SHOWN, cells, strict=True)
        rows.append([name] + ["-" if c.value is None else str(metrics[field].rule(c.value)) for field, c in shown])
        told = [
            "" if c.difference is None else figures.difference(metrics[field], c.difference)
            for field, c in zip(_SHOWN, cells, strict=True)
        ]
        if any(told):
            rows.append(["", *told])
    return aligned(rows)


def _precision(measured: list[Precision]) -> list[str]:
    rows = [["Variant, run", "Ran as asked", "Planned", "Measured", "Ratio"]]
    for row in measured:
        timing, times = row.timing, ["-", "-", "-"]
        if timing.layers:
            ratio = "-" if timing.ratio is None else str(quantities.times(timing.ratio))
            times = [str(quantities.ms(timing.planned_ms)), str(quantities.ms(timing.measured_ms)), ratio]
        name = printable(f"{row.variant}, {row.label}", 28)
        rows.append([name, f"{row.as_asked} of {row.layers}", *times])
    return aligned(rows)
