"""The sections about layers: the plan itself, and planned against measured time."""

from collections.abc import Sequence

from edge_mpq.records.report import LayerRow, Variant
from edge_mpq.report import figures, layer_table, palette, plots, quantities, strip
from edge_mpq.report.markup import Markup, dotted, element, table

_LABELLED = 4


def main_variant(variants: Sequence[Variant]) -> Variant | None:
    """The variant whose layers are shown open: the subject of the run if it has layers, else the last that has."""
    with_layers = [variant for variant in variants if variant.layers]
    best = figures.subject(variants)
    return best if best in with_layers else with_layers[-1] if with_layers else None


def plan(variants: Sequence[Variant]) -> Markup | None:
    """Strip and table of the main variant; those of the others folded below."""
    chosen = main_variant(variants)
    if chosen is None:
        return None
    colours = palette.classes(name for variant in variants for row in variant.layers for name in (row.asked, row.got))
    drawn = {
        index: [strip.draw(variant, index, colours), layer_table.draw(variant, index, colours)]
        for index, variant in enumerate(variants)
        if variant.layers
    }
    main = list(variants).index(chosen)
    folded = [
        element("details", element("summary", f"Layers of {variants[index].name}"), parts)
        for index, parts in drawn.items()
        if index != main
    ]
    heading = element("h2", f"The plan of {chosen.name}, layer by layer", id="plan")
    return element("section", heading, drawn[main], folded, aria_labelledby="plan", class_="plan")


def timing(variants: Sequence[Variant]) -> Markup | None:
    """Planned against measured ms of the main variant's layers, and the layers furthest from the plan."""
    chosen = main_variant(variants)
    rows = _timed(chosen.layers) if chosen else []
    if chosen is None or len(rows) < 2:
        return None
    colours = palette.classes(name for variant in variants for row in variant.layers for name in (row.asked, row.got))
    summary = figures.timing(rows)
    far = sorted(rows, key=_distance, reverse=True)[:_LABELLED]
    labels = dict(zip(far, figures.distinct([figures.layer_name(row) for row in far]), strict=True))
    points = [
        plots.Point(
            row.planned_ms or 0.0,
            row.measured_ms or 0.0,
            labels.get(row, ""),
            style=colours[row.got],
            tooltip=figures.times(row),
        )
        for row in rows
    ]
    figure = element(
        "figure", plots.measured_against_planned(points, f"Measured against planned time of {summary.layers} layers")
    )
    words = element("div", element("p", *_sentences(summary), class_="prose"), _furthest(far), class_="beside")
    return element(
        "section",
        element("h2", "Planned against measured time", id="timing"),
        element("div", figure, words, class_="pair"),
        aria_labelledby="timing",
    )


def _timed(rows: Sequence[LayerRow]) -> list[LayerRow]:
    return [row for row in rows if row.planned_ms is not None and row.measured_ms is not None]


def _distance(row: LayerRow) -> float:
    return abs((row.measured_ms or 0.0) - (row.planned_ms or 0.0))


def _sentences(summary: figures.Timing) -> list[str]:
    said = (
        f"The {summary.layers} layers were planned to take {quantities.ms(summary.planned_ms)} together and took "
        f"{quantities.ms(summary.measured_ms)}"
    )
    said += "." if summary.ratio is None else f", {quantities.times(summary.ratio)} the plan."
    return [said, f" {summary.within_twice} of them stayed within a factor of two of their plan."]


def _furthest(rows: Sequence[LayerRow]) -> Markup:
    places = quantities.decimals([time for row in rows for time in (row.planned_ms, row.measured_ms)])
    body = [
        element(
            "tr",
            element("th", dotted(figures.layer_name(row)), scope="row"),
            element("td", quantities.fixed(row.planned_ms or 0.0, places), class_="number"),
            element("td", quantities.fixed(row.measured_ms or 0.0, places), class_="number"),
            element(
                "td", quantities.signed((row.measured_ms or 0.0) - (row.planned_ms or 0.0), places), class_="number"
            ),
        )
        for row in rows
    ]
    heads = [element("th", "Furthest from the plan", scope="col")] + [
        element("th", head, scope="col", class_="number")
        for head in ("Planned (ms)", "Measured (ms)", "Difference (ms)")
    ]
    return table("Layers furthest from the plan", element("thead", element("tr", heads)), element("tbody", body))
