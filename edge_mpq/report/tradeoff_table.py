"""Every point of a tradeoff as a table: one row each, fastest first; tradeoff.js hides those that are not shown."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from edge_mpq.records.tradeoff import Tradeoff
from edge_mpq.report import plots, quantities, tradeoff
from edge_mpq.report.markup import Markup, element, table
from edge_mpq.report.quantities import Quantity
from edge_mpq.report.sections import quantity
from edge_mpq.report.tradeoff import Mark
from edge_mpq.report.tradeoff_picture import TITLES, Key, anchor


class Column(NamedTuple):
    """A column of figures.  value: what is sorted by; shown: its words, the value's where None."""

    title: str
    value: Callable[[Mark], float | None]
    shown: Callable[[Mark], Quantity] | None = None


def _significant(value: float) -> Quantity:
    return Quantity(quantities.significant(value))


def _rate(mark: Mark) -> Quantity:
    return Quantity(quantities.rate(mark.point.fps).number)


def _spread(mark: Mark) -> Quantity:
    low, high = (quantities.fixed(end, 2) for end in (mark.point.speedup_low, mark.point.speedup_high))
    return Quantity(f"{quantities.fixed(mark.point.speedup, 2)} ({low} to {high})", "\u00d7")


def columns(marks: Sequence[Mark], runs: Sequence[Tradeoff]) -> list[Column]:
    """The columns of figures that any of ``marks`` knows."""
    title = tradeoff.TITLES[tradeoff.metric(runs)]
    found = [
        Column(title[:1].upper() + title[1:], lambda mark: mark.share, lambda mark: quantities.percent(mark.share)),
        Column("Rate (FPS)", lambda mark: mark.point.fps, _rate),
        Column("p50 (ms)", lambda mark: mark.point.p50_ms),
        Column("p99 (ms)", lambda mark: mark.point.p99_ms),
        Column(f"Against {runs[0].reference} (quartiles)", lambda mark: mark.point.speedup, _spread),
        Column("Memory (MiB)", lambda mark: mark.point.peak_mib),
        Column("Energy (mJ)", lambda mark: None if mark.point.picture_j is None else 1e3 * mark.point.picture_j),
    ]
    return [column for column in found if any(column.value(mark) is not None for mark in marks)]


def draw(marks: Sequence[Mark], runs: Sequence[Tradeoff], key: Key) -> Markup:
    """The table of ``marks``; a plan's name leads to its layers."""
    settings = [name for name in ("run", *tradeoff.SETTINGS) if name in key.fields]
    figures = columns(marks, runs)
    heads = [element("th", "Plan", scope="col", data_sort="text")]
    # Settings sort as text, where numbers within it count as such.
    heads += [element("th", TITLES[name], scope="col", data_sort="text", class_="number") for name in settings]
    heads += [element("th", column.title, scope="col", data_sort="number", class_="number") for column in figures]
    order = sorted(range(len(marks)), key=lambda index: -marks[index].point.fps)
    rows = [
        element(
            "tr",
            _head(marks[index], runs, key),
            [element("td", key.value(marks[index], name), class_="number") for name in settings],
            [_figure(column, marks[index]) for column in figures],
            data_index=index,
            **{f"data_{name}": key.value(marks[index], name) for name in key.fields},
        )
        for index in order
    ]
    return table(
        "Every point",
        element("caption", _caption(marks, key)),
        element("thead", element("tr", heads)),
        element("tbody", rows),
        style="sortable points all",
    )


def _caption(marks: Sequence[Mark], key: Key) -> str:
    same = tradeoff.setting(marks[0].point, [name for name in tradeoff.SETTINGS if name not in key.fields])
    said = "p50 and p99 are of a call, whatever its batch."
    if any(mark.point.peak_mib is not None for mark in marks):
        said += " Memory is that of a process with this engine alone, libraries included."
    return f"All with {same}. {said}" if same else said


def _head(mark: Mark, runs: Sequence[Tradeoff], key: Key) -> Markup:
    style, shape = key.style(mark)
    on = element("span", "front", class_="badge") if mark.front else None
    link = element("a", mark.plan.name, href=f"#{anchor(mark, runs)}")
    return element("th", plots.key(shape, style), link, " ", on, scope="row")


def _figure(column: Column, mark: Mark) -> Markup:
    value = column.value(mark)
    shown = "\u2013" if value is None else (column.shown or (lambda _: _significant(value)))(mark)
    return element("td", quantity(shown), class_="number", data_value=value)
