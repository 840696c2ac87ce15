"""Why each layer has its format, as a plot: the harm of all it might take, the chosen one marked."""

from collections.abc import Mapping, Sequence

from edge_mpq.records.report import LayerRow, Option, Variant
from edge_mpq.report import figures, palette, plots, quantities
from edge_mpq.report.markup import Markup, element
from edge_mpq.report.sections import section

_LEAST_SPAN = 1e-6  # of the greatest harm: what is smaller stands at the edge


def explained(variant: Variant | None) -> Markup | None:
    """The section for the plan of ``variant``; None where it was chosen from nothing."""
    rows = [row for row in variant.layers if len(row.options) > 1] if variant else []
    harms = [option.harm for row in rows for option in row.options if option.harm > 0]
    if not harms:
        return None
    colours = palette.classes(option.format for row in rows for option in row.options)
    least = max(min(harms), max(harms) * _LEAST_SPAN)
    names = figures.distinct([figures.layer_name(row) for row in rows])
    lines = [
        plots.Line(
            name,
            [
                plots.Point(
                    max(option.harm, least),
                    0,
                    option.format,
                    style=colours[option.format] + (" taken" if option.format == row.asked else ""),
                    tooltip=_told(row, option),
                )
                for option in row.options
            ],
        )
        for name, row in zip(names, rows, strict=True)
    ]
    caption = element(
        "figcaption",
        "Each layer with all it might take, from little harm (left) to much; the ringed mark is what the plan chose. "
        "Point at a mark for what a move there would cost.",
    )
    figure = element("figure", plots.choices(lines, "Harm of every format of every layer"), _legend(colours), caption)
    return section("explained", "Why each layer has its format", figure)


def _legend(colours: Mapping[str, str]) -> Markup:
    items = [
        element("li", element("i", class_=f"swatch {classes}"), element("b", short))
        for short, classes in colours.items()
    ]
    return element("ul", items, class_="legend")


def _told(row: LayerRow, option: Option) -> str:
    said = [f"{figures.layer_name(row)} in {option.format}: harm {quantities.significant(option.harm)}"]
    here = _chosen(row.options, row.asked)
    if here is None or option.format == row.asked:
        said.append(f"{quantities.mib(option.size_mib)}")
        return ", ".join(said)
    moved = [f"harm {_signed(option.harm - here.harm)}", f"{_signed(option.size_mib - here.size_mib)} MiB"]
    if option.ms is not None and here.ms is not None:
        moved.append(f"{_signed(option.ms - here.ms)} ms")
    return said[0] + "; moving there from " + row.asked + ": " + ", ".join(moved)


def _chosen(options: Sequence[Option], asked: str) -> Option | None:
    return next((option for option in options if option.format == asked), None)


def _signed(value: float) -> str:
    return ("+" if value >= 0 else "\u2212") + quantities.significant(abs(value))
