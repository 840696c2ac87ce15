"""The plan as a table: one row a layer, totals below; page.js makes its columns sortable."""

from collections.abc import Mapping, Sequence

from edge_mpq.records.report import LayerRow, Variant
from edge_mpq.report import figures, quantities
from edge_mpq.report.markup import Markup, dotted, element, table

_HEADS = ("Layer", "Asked", "Ran", "Weights", "MACs", "Planned (ms)", "Measured (ms)", "Harm", "Why")
_NUMBERS = frozenset(("Weights", "MACs", "Planned (ms)", "Measured (ms)", "Harm"))


def draw(variant: Variant, index: int, colours: Mapping[str, str]) -> Markup:
    """The table of one variant; ``index`` and ``colours`` as for :func:`strip.draw`.

    A column that no layer has a value for is left out.
    """
    rows = variant.layers
    kept = [head for head in _HEADS if any(_value(head, row) not in (None, "") for row in rows)]
    times = quantities.decimals([time for row in rows for time in (row.planned_ms, row.measured_ms)])
    places = {"Planned (ms)": times, "Measured (ms)": times, "Harm": quantities.decimals([row.harm for row in rows])}
    heads = [
        element(
            "th",
            head,
            scope="col",
            data_sort="number" if head in _NUMBERS else "text",
            class_="number" if head in _NUMBERS else None,
        )
        for head in kept
    ]
    body = [
        element(
            "tr",
            [_cell(head, row, places, colours) for head in kept],
            id=f"v{index}-{position}",
            class_="differs" if row.asked != row.got else None,
        )
        for position, row in enumerate(rows)
    ]
    return table(
        f"Layers of {variant.name}",
        element("caption", _caption(rows)),
        element("thead", element("tr", heads)),
        element("tbody", body),
        element("tfoot", element("tr", [_total(head, rows, places) for head in kept])),
        style="layers sortable",
    )


def _caption(rows: Sequence[LayerRow]) -> str:
    other = len(figures.mismatches(rows))
    said = f"{len(rows)} layers, " if len(rows) != 1 else "1 layer, "
    return said + ("all ran as asked." if not other else f"{other} ran otherwise than asked, marked \u2260.")


def _value(head: str, row: LayerRow) -> float | str | None:
    values: dict[str, float | str | None] = {
        "Layer": figures.layer_name(row),
        "Asked": row.asked,
        "Ran": row.got,
        "Weights": row.weights,
        "MACs": row.macs,
        "Planned (ms)": row.planned_ms,
        "Measured (ms)": row.measured_ms,
        "Harm": row.harm,
        "Why": row.why,
    }
    return values[head]


def _cell(head: str, row: LayerRow, places: Mapping[str, int], colours: Mapping[str, str]) -> Markup:
    value = _value(head, row)
    if head == "Layer":
        return element("th", dotted(str(value)), scope="row")
    if head in ("Asked", "Ran"):
        differs = head == "Ran" and row.asked != row.got
        mark = element("span", "\u2260", class_="unequal", title=f"{row.asked} was asked") if differs else None
        return element("td", element("i", class_=f"swatch {colours[str(value)]}"), value, mark, class_="format")
    if head == "Why":
        return element("td", value, class_="why")
    return element("td", _number(head, value, places), class_="number", data_value=value)


def _number(head: str, value: float | str | None, places: Mapping[str, int]) -> str:
    if value is None or isinstance(value, str):
        return "\u2013"
    if value == 0:
        return "0"
    text = quantities.fixed(value, places.get(head, 0))
    return text if text.strip("0.,") else quantities.significant(value, 2)


def _total(head: str, rows: Sequence[LayerRow], places: Mapping[str, int]) -> Markup:
    if head == "Layer":
        return element("th", "Total", scope="row")
    if head not in _NUMBERS or head == "Harm":
        return element("td")
    known = [value for row in rows if isinstance(value := _value(head, row), (int, float))]
    title = None if len(known) == len(rows) else f"over the {len(known)} layers where it is known"
    return element("td", _number(head, sum(known), places), class_="number", title=title)
