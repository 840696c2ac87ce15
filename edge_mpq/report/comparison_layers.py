"""The layers of compared runs: precision asked against got, and planned against measured time."""

from collections.abc import Mapping, Sequence
from typing import Any

from edge_mpq.records.report import LayerRow
from edge_mpq.report import figures, palette, plots, quantities
from edge_mpq.report.comparison import Comparison, LayerPair, Precision
from edge_mpq.report.markup import Markup, dotted, element, table
from edge_mpq.report.sections import quantity, section


def timing(result: Comparison) -> Markup | None:
    """What each variant of each run was asked and planned to do, and did."""
    if not result.precision:
        return None
    heads = ("Variant", "Run", "Ran as asked", "Planned", "Measured", "Measured by planned", "Within twice the plan")
    titles = [
        element("th", head, scope="col", class_="number" if index > 1 else None) for index, head in enumerate(heads)
    ]
    rows = [element("tr", [element("th", row.variant, scope="row"), *_precision(row)]) for row in result.precision]
    what = "Asked and got, planned and measured"
    body = table(what, element("thead", element("tr", titles)), element("tbody", rows))
    return section("foreseen", what, body, _plots(result))


def _precision(row: Precision) -> list[Markup]:
    cells: list[Any] = [
        element("td", row.label),
        element("td", f"{row.as_asked} of {row.layers} layers", class_="number"),
    ]
    known = row.timing
    shown: list[Any] = ["\u2013"] * 4
    if known.layers:
        shown = [
            quantity(quantities.ms(known.planned_ms)),
            quantity(quantities.ms(known.measured_ms)),
            "\u2013" if known.ratio is None else quantity(quantities.times(known.ratio)),
            f"{known.within_twice} of {known.layers} layers",
        ]
    return cells + [element("td", value, class_="number") for value in shown]


def _plots(result: Comparison) -> Markup | None:
    """One plot of planned against measured time a side, of the variant it was made for."""
    drawn = []
    for index, side in enumerate(result.sides):
        timed = [variant for variant in side.report.variants if figures.timing(variant.layers).layers]
        best = figures.subject(timed)
        if best is None:
            continue
        points = [
            plots.Point(
                row.planned_ms,
                row.measured_ms,
                "",
                style=palette.side(index),
                shape=index,
                tooltip=figures.times(row),
            )
            for row in best.layers
            if row.planned_ms is not None and row.measured_ms is not None
        ]
        caption = element("figcaption", f"Layers of {best.name}, {side.label}")
        drawn.append(element("figure", plots.measured_against_planned(points, f"{best.name}, {side.label}"), caption))
    return element("div", drawn, class_="small-multiples") if drawn else None


def layers(result: Comparison) -> Markup | None:
    """Layers of the main variant, one group of columns a run; those of the others folded."""
    if not result.layers:
        return None
    main = "mixed" if "mixed" in result.layers else list(result.layers)[-1]
    colours = palette.classes(
        name
        for pairs in result.layers.values()
        for pair in pairs
        for row in pair.rows
        if row
        for name in (row.asked, row.got)
    )
    tables = {name: _layer_table(result, name, pairs, colours) for name, pairs in result.layers.items()}
    folded = [
        element("details", element("summary", f"Layers of {name}"), table)
        for name, table in tables.items()
        if name != main
    ]
    return section("layers-compared", f"Layers of {main}", tables[main], folded)


def _layer_table(result: Comparison, name: str, pairs: Sequence[LayerPair], colours: Mapping[str, str]) -> Markup:
    above = [element("th", "", scope="col")]
    below = [element("th", "Layer", scope="col")]
    for index, side in enumerate(result.sides):
        above.append(
            element("th", plots.key(index, palette.side(index)), side.label, scope="colgroup", colspan=3, class_="side")
        )
        below += [
            element("th", head, scope="col", class_="number" if unit else "side")
            for head, unit in (("Format", ""), ("Planned (ms)", "ms"), ("Measured (ms)", "ms"))
        ]
    places = quantities.decimals(
        [time for pair in pairs for row in pair.rows if row for time in (row.planned_ms, row.measured_ms)]
    )
    body = [
        element(
            "tr",
            element("th", dotted(pair.layer or figures.OTHER_WORK), scope="row"),
            [_layer_cells(row, places, colours) for row in pair.rows],
        )
        for pair in pairs
    ]
    heads = element("thead", element("tr", above), element("tr", below))
    return table(f"Layers of {name}", heads, element("tbody", body), style="layers")


def _layer_cells(row: LayerRow | None, places: int, colours: Mapping[str, str]) -> list[Markup]:
    if row is None:
        return [element("td", "not there", class_="missing side", colspan=3)]
    shown: list[Any] = [element("i", class_=f"swatch {colours[row.got]}"), row.got]
    if row.asked != row.got:
        shown.append(element("span", f"\u2260 {row.asked} asked", class_="unequal"))
    times = [
        element("td", "\u2013" if time is None else quantities.fixed(time, places), class_="number", data_value=time)
        for time in (row.planned_ms, row.measured_ms)
    ]
    return [element("td", shown, class_="format side"), *times]
