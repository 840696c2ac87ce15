"""The sections of the page that are not about layers, each None where the report has nothing for it."""

from collections.abc import Mapping, Sequence
from typing import Any

from edge_mpq.records.report import RunReport, Stream, Variant
from edge_mpq.report import facts, figures, plots, quantities
from edge_mpq.report.checks import media_type
from edge_mpq.report.markup import Markup, element, table

_SIDE_BY_SIDE = 4


def section(name: str, title: str, *children: Any) -> Markup:
    """A section under its heading, which names it to a screen reader too."""
    return element("section", element("h2", title, id=name), children, aria_labelledby=name, class_=name)


def pairs(rows: Sequence[tuple[str, Any]], style: str) -> Markup:
    """A list of names and values."""
    return element(
        "dl", [element("div", element("dt", name), element("dd", value)) for name, value in rows], class_=style
    )


def header(report: RunReport) -> Markup:
    """Title, target, date and machine."""
    line = [part for part in (report.target, report.created) if part]
    machine = [(str(name).replace("_", " "), value) for name, value in report.machine.items()]
    return element(
        "header",
        element("h1", report.title or "Report"),
        element("p", [element("span", part) for part in line], class_="meta") if line else None,
        pairs(machine, "machine") if machine else None,
    )


def headlines(report: RunReport) -> Markup | None:
    """The three figures that matter."""
    shown = []
    for line in figures.headlines(report):
        value = quantity(line.value) if line.value else element("span", figures.NOT_MEASURED, class_="missing")
        details = [element("p", detail, class_="detail") for detail in line.details]
        shown.append(
            element("div", element("p", line.label, class_="label"), element("p", value, class_="value"), details)
        )
    return element("section", shown, aria_label="Main figures", class_="headlines") if shown else None


def quantity(value: quantities.Quantity | str) -> Markup:
    """A number with its unit set apart, or words that stand in for one."""
    if isinstance(value, str):
        return element("span", value, class_="missing")
    unit = element("span", "\u00a0" + value.unit, class_="unit") if value.unit else None
    return element("span", value.number, unit, class_="quantity")


def variants(report: RunReport) -> Markup | None:
    """The table of variants side by side, and accuracy against rate where both were measured."""
    if not report.variants:
        return None
    figure = _scatter(report.variants)
    beside = figure is not None and len(report.variants) <= _SIDE_BY_SIDE
    content = element("div", _variants_table(report.variants), figure, class_="pair wide" if beside else "stack")
    return section("variants", "Side by side", content)


def _variants_table(shown: Sequence[Variant]) -> Markup:
    base, best = figures.reference(shown), figures.subject(shown)
    heads = [element("th", "", scope="col")] + [
        element("th", variant.name, scope="col", class_="number" + (" subject" if variant is best else ""))
        for variant in shown
    ]
    body = [
        element(
            "tr",
            element("th", metric.title, scope="row"),
            [
                element(
                    "td",
                    quantity(figures.shown(metric, variant, base)),
                    class_="number" + (" subject" if variant is best else ""),
                    data_value=getattr(variant, metric.field),
                )
                for variant in shown
            ],
        )
        for metric in figures.metrics(shown)
    ]
    return table(
        "Variants side by side", element("thead", element("tr", heads)), element("tbody", body), style="compared"
    )


def _scatter(shown: Sequence[Variant]) -> Markup | None:
    best = figures.subject(shown)
    points = [
        plots.Point(
            variant.fps,
            100 * variant.top1,
            variant.name,
            f"{quantities.percent(variant.top1)}, {quantities.rate(variant.fps)}",
            style="chosen" if variant is best else "",
        )
        for variant in shown
        if variant.top1 is not None
    ]
    if len(points) < 2:
        return None
    if len(points) > _SIDE_BY_SIDE:
        points = [point._replace(detail="", tooltip=f"{point.name} {point.detail}") for point in points]
    caption = element("figcaption", "Accuracy against rate; up and to the right is better.")
    return element("figure", plots.accuracy_against_rate(points, "Top-1 accuracy against pictures a second"), caption)


def stream(measured: Stream | None) -> Markup | None:
    """Where the time of a frame goes, and what the camera run counted."""
    if measured is None:
        return None
    rows: list[tuple[str, Any]] = [
        ("Source", measured.source),
        ("Frames", quantity(quantities.count(measured.frames))),
        ("Dropped", quantity(quantities.count(measured.dropped))),
        ("Torn", quantity(quantities.count(measured.torn))),
        ("Length", quantity(quantities.seconds(measured.seconds))),
        ("Rate", quantity(quantities.rate(measured.fps))),
        ("Read to answered, p50", quantity(quantities.ms(measured.p50_ms))),
        ("Read to answered, p99", quantity(quantities.ms(measured.p99_ms))),
    ]
    if measured.losses:
        rows.append(("Lost and back", quantity(quantities.count(measured.losses))))
    if measured.ended:
        rows.append(("Ended", measured.ended))
    rows += [(str(part.get("source")), _part(part)) for part in measured.parts]
    return section("stream", "Camera stream", _breakdown(measured.stages_p50_ms), pairs(rows, "figures"))


def _part(figures: Mapping[str, Any]) -> str:
    """The figures of one source of several in a line."""
    return ", ".join(f"{name} {value:.6g}" for name, value in figures.items() if isinstance(value, (int, float)))


def _breakdown(stages: Mapping[str, float]) -> Markup | None:
    total = sum(stages.values())
    if not total:
        return None
    bars = [
        element(
            "span",
            element("span", element("span", stage)),
            class_=f"stage-{index % 7}",
            style=f"flex-grow:{1000 * value / total:.3f}",
        )
        for index, (stage, value) in enumerate(stages.items())
    ]
    keys = [
        element(
            "li",
            element("i", class_=f"swatch stage-{index % 7}"),
            element("b", stage),
            " ",
            quantity(quantities.ms(value)),
            " ",
            element("span", f"{quantities.fixed(100 * value / total, 1)}\u00a0%", class_="quiet"),
        )
        for index, (stage, value) in enumerate(stages.items())
    ]
    said = "Median time of each stage. Those of one frame run beside those of others."
    return element(
        "figure",
        element("div", bars, class_="stages", aria_hidden="true"),
        element("ul", keys, class_="legend"),
        element("figcaption", said),
        class_="breakdown",
    )


def pictures(report: RunReport) -> Markup | None:
    """Sample frames with what the model said of them."""
    if not report.pictures:
        return None
    return section("frames", "Sample frames", gallery(report.pictures))


def gallery(shown: Sequence[Sequence[str]]) -> Markup:
    """Pictures beside each other: [caption, PNG or JPEG as base64] each."""
    figures_of = [
        element(
            "figure",
            element("img", src=f"data:{media_type(encoded)};base64,{encoded}", alt=caption, loading="lazy"),
            element("figcaption", caption),
        )
        for caption, encoded in shown
    ]
    return element("div", figures_of, class_="gallery")


def further(report: RunReport) -> Markup | None:
    """Every other figure of the run."""
    rows = [(name, value if isinstance(value, str) else quantity(value)) for name, value in facts.listed(report.facts)]
    return section("further", "Further figures", pairs(rows, "figures")) if rows else None


def commands(lines: Sequence[str], title: str = "To make this page again") -> Markup | None:
    """What to run to make the page again."""
    if not lines:
        return None
    return section("commands", title, element("pre", element("code", "\n".join(lines)), tabindex="0"))
