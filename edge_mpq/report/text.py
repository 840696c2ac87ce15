"""The report in a terminal: the three figures and the table of variants, at most 80 columns wide."""

import unicodedata
from collections.abc import Sequence

from edge_mpq.records.report import RunReport, Variant
from edge_mpq.report import figures

_COLUMNS, _WIDTH = 3, 15


def summary(report: RunReport) -> str:
    """A few plain lines; names are stripped of what a terminal would obey."""
    lines = [printable(report.title, 78), printable(f"{report.target}  {report.created}", 78)]
    for line in figures.headlines(report):
        details = "".join(f"; {detail}" for detail in line.details[:1])
        lines.append(printable(f"  {line.label}: {line.value or figures.NOT_MEASURED}{details}", 78))
    for start in range(0, len(report.variants), _COLUMNS):
        lines += ["", *_table(report.variants[start : start + _COLUMNS], figures.reference(report.variants))]
    return "\n".join(lines)


def printable(text: str, width: int) -> str:
    """``text`` on one line of at most ``width`` columns, its middle cut out where it is longer."""
    shown = "".join(letter if letter.isprintable() else "?" for letter in text)
    return shortened(shown, width)


def shortened(text: str, width: int) -> str:
    """``text`` cut in its middle to ``width`` columns of a terminal; East Asian letters take two."""
    if columns(text) <= width:
        return text
    head, tail = text, text
    while columns(head) > (width - 1) // 2:
        head = head[:-1]
    while columns(tail) > width - 1 - columns(head):
        tail = tail[1:]
    return head + "\u2026" + tail


def columns(text: str) -> int:
    """How many columns a terminal gives ``text``."""
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )


def aligned(rows: Sequence[Sequence[str]], gap: int = 2) -> list[str]:
    """Rows as lines of equal columns: the first to the left, the others to the right."""
    widths = [max(columns(row[index]) for row in rows) for index in range(len(rows[0]))]
    lines = []
    for row in rows:
        padded = [" " * (width - columns(cell)) for cell, width in zip(row, widths, strict=True)]
        cells = [row[0] + padded[0]] + [space + cell for space, cell in zip(padded[1:], row[1:], strict=True)]
        lines.append((" " * gap).join(cells).rstrip())
    return lines


def _table(shown: Sequence[Variant], base: Variant | None) -> list[str]:
    rows = [[""] + [printable(variant.name, _WIDTH) for variant in shown]]
    for metric in figures.metrics(shown):
        rows.append([metric.title] + [str(figures.shown(metric, variant, base)) for variant in shown])
    return aligned(rows)
