"""The plan as a strip: one segment a layer, coloured by format, that tells its story when pointed at or focused."""

from collections.abc import Mapping

from edge_mpq.records.report import LayerRow, Variant
from edge_mpq.report import figures, quantities
from edge_mpq.report.markup import Markup, dotted, element


def draw(variant: Variant, index: int, colours: Mapping[str, str]) -> Markup:
    """The strip of one variant: legend, choice of width, segments.

    index: of the variant in its report, to tie segments to the rows of its table.
    colours: short name -> CSS classes, of :func:`palette.classes`.
    """
    macs = sum(row.macs for row in variant.layers) or 1
    weights = sum(row.weights for row in variant.layers) or 1
    segments = []
    for position, row in enumerate(variant.layers):
        width = f"--macs:{1000 * row.macs / macs:.3f};--weights:{1000 * row.weights / weights:.3f}"
        segments.append(_segment(row, colours, width, f"v{index}-{position}"))
    return element(
        "div",
        element("div", _legend(variant, colours), _switch(index), class_="strip-head"),
        element("ol", segments, class_="strip", aria_label=f"Layers of {variant.name}, input first"),
        element("p", "Point at a layer, or move along the strip with the arrow keys.", class_="hint"),
        class_="strip-frame",
    )


def _segment(row: LayerRow, colours: Mapping[str, str], width: str, anchor: str) -> Markup:
    ran_otherwise = element("span", class_=f"ran {colours[row.got]}") if row.asked != row.got else None
    label = element("span", element("span", row.asked), class_="label", aria_hidden="true")
    classes = f"segment {colours[row.asked]}"
    spoken = f"{figures.layer_name(row)}: {'; '.join(_facts(row))}"
    return element(
        "li",
        ran_otherwise,
        label,
        _tip(row),
        class_=classes,
        tabindex="0",
        aria_label=spoken,
        data_row=anchor,
        style=width,
    )


def _tip(row: LayerRow) -> Markup:
    parts = [dotted(figures.layer_name(row)), element("span", "; ".join(_facts(row)))]
    if row.why:
        parts.append(element("span", row.why, class_="why"))
    return element("span", parts, class_="tip")


def _facts(row: LayerRow) -> list[str]:
    facts = [row.asked if row.asked == row.got else f"{row.asked} asked, {row.got} ran"]
    facts.append(f"{quantities.count(row.weights)} weights")
    facts.append(f"{quantities.millions(row.macs)} MACs")
    if row.harm is not None:
        facts.append(f"harm {quantities.significant(row.harm)}")
    if row.planned_ms is not None:
        facts.append(f"planned {quantities.ms(row.planned_ms)}")
    if row.measured_ms is not None:
        facts.append(f"measured {quantities.ms(row.measured_ms)}")
    return facts


def _legend(variant: Variant, colours: Mapping[str, str]) -> Markup:
    asked = [row.asked for row in variant.layers]
    items = []
    for short, classes in colours.items():
        many = asked.count(short)
        if many:
            layers = f"{many} layer{'' if many == 1 else 's'}"
            items.append(element("li", element("i", class_=f"swatch {classes}"), element("b", short), " ", layers))
    if figures.mismatches(variant.layers):
        items.append(element("li", "lower part: what the engine ran instead", class_="quiet"))
    return element("ul", items, class_="legend")


def _switch(index: int) -> Markup:
    """Two radio buttons; the style sheet reads which is chosen."""
    options = [
        element(
            "label", element("input", type="radio", name=f"width-{index}", value=value, checked=value == "macs"), title
        )
        for value, title in (("macs", "MACs"), ("weights", "weights"))
    ]
    return element("fieldset", element("legend", "Width by"), options, class_="switch")
