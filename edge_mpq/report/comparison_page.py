"""A comparison as one HTML page, in the dress of the report page."""

from edge_mpq.report import comparison_layers, figures, palette, plots, quantities
from edge_mpq.report.comparison import Cell, Comparison
from edge_mpq.report.figures import METRICS, Metric
from edge_mpq.report.markup import Markup, element, table
from edge_mpq.report.page import document
from edge_mpq.report.sections import quantity, section


def render(result: Comparison) -> str:
    """The page of ``result``; sections without data are left out."""
    titles = list(dict.fromkeys(side.report.title for side in result.sides))
    title = f"{len(result.sides)} runs compared" + (f": {titles[0]}" if len(titles) == 1 else "")
    notes = [element("p", note, class_="note") for note in result.notes]
    explained = element("p", f"Differences are from {result.sides[0].label}.", class_="meta")
    return document(
        title,
        element("header", element("h1", title), explained, notes),
        _runs(result),
        _figures(result),
        comparison_layers.timing(result),
        comparison_layers.layers(result),
    )


def _heads(result: Comparison, first: str = "") -> Markup:
    """The heading row with one column a side, its colour and shape as in the plots."""
    cells = [element("th", first, scope="col")]
    for index, side in enumerate(result.sides):
        cells.append(element("th", plots.key(index, palette.side(index)), side.label, scope="col", class_="number"))
    return element("thead", element("tr", cells))


def _runs(result: Comparison) -> Markup:
    facts = [
        ("Title", [side.report.title for side in result.sides]),
        ("Target", [side.report.target for side in result.sides]),
        ("Date", [side.report.created for side in result.sides]),
    ]
    for name in dict.fromkeys(name for side in result.sides for name in side.report.machine):
        facts.append(
            (str(name).replace("_", " "), [str(side.report.machine.get(name, "\u2013")) for side in result.sides])
        )
    rows = [
        element("tr", element("th", name, scope="row"), [element("td", value, class_="words") for value in values])
        for name, values in facts
    ]
    return section("runs", "The runs", table("The runs", _heads(result), element("tbody", rows), style="compared"))


def _figures(result: Comparison) -> Markup | None:
    groups = []
    width = 2 * len(result.sides)
    for variant in result.variants:
        rows = [
            element(
                "tr",
                element("th", metric.title, scope="row"),
                [_cells(metric, cell) for cell in variant.cells[metric.field]],
            )
            for metric in METRICS
            if any(cell.value is not None for cell in variant.cells[metric.field])
        ]
        name = element("th", variant.name, scope="rowgroup", colspan=width, class_="group")
        groups.append(element("tbody", element("tr", name), rows))
    if not groups:
        return None
    heads = [element("th", "", scope="col")]
    for index, side in enumerate(result.sides):
        heads.append(element("th", plots.key(index, palette.side(index)), side.label, scope="col", class_="number"))
        if index:
            heads.append(element("th", "difference", scope="col", class_="number difference"))
    body = table("Figures of every variant", element("thead", element("tr", heads)), groups, style="compared")
    plot = _scatter(result)
    above = element("div", plot, _headlines(result), class_="pair") if plot else _headlines(result)
    return section("figures-compared", "Accuracy, size and speed", element("div", above, body, class_="stack"))


def _cells(metric: Metric, cell: Cell) -> list[Markup]:
    """A value, and behind all but the first side's its difference."""
    shown = figures.NOT_MEASURED if cell.value is None else metric.rule(cell.value)
    value = element("td", quantity(shown), class_="number", data_value=cell.value)
    if cell.first:
        return [value]
    told = "" if cell.difference is None else figures.difference(metric, cell.difference)
    return [value, element("td", told, class_="number difference")]


def _headlines(result: Comparison) -> Markup:
    """The main figures of each run's own subject."""
    rows = []
    for index, side in enumerate(result.sides):
        lines = figures.headlines(side.report)
        values = [element("td", quantity(line.value or figures.NOT_MEASURED), class_="number") for line in lines]
        best = figures.subject(side.report.variants)
        if best is not None:
            rows.append(
                element(
                    "tr",
                    element("th", plots.key(index, palette.side(index)), f"{side.label}, {best.name}", scope="row"),
                    values,
                )
            )
    heads = [element("th", "Run", scope="col")] + [
        element("th", head, scope="col", class_="number") for head in ("Accuracy", "Size", "Speed")
    ]
    return table("Main figures", element("thead", element("tr", heads)), element("tbody", rows), style="compared")


def _scatter(result: Comparison) -> Markup | None:
    points = [
        plots.Point(
            variant.fps,
            100 * variant.top1,
            variant.name,
            style=palette.side(index),
            shape=index,
            tooltip=f"{side.label}, {variant.name}: {quantities.percent(variant.top1)}, {quantities.rate(variant.fps)}",
        )
        for index, side in enumerate(result.sides)
        for variant in side.report.variants
        if variant.top1 is not None
    ]
    if len(points) < 2:
        return None
    caption = element("figcaption", "Accuracy against rate; up and to the right is better.")
    return element(
        "figure", plots.accuracy_against_rate(points, "Accuracy against rate of every run"), _key(result), caption
    )


def _key(result: Comparison) -> Markup:
    items = [
        element("li", plots.key(index, palette.side(index)), side.label) for index, side in enumerate(result.sides)
    ]
    return element("ul", items, class_="legend")
