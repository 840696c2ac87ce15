"""A comparison of tradeoffs as one HTML page: both runs in one picture, what pairs joined by a line, and the ratios."""

from edge_mpq.report import plots, quantities, tradeoff, tradeoff_page, tradeoff_picture, tradeoff_table
from edge_mpq.report.markup import Markup, element, table
from edge_mpq.report.page import document
from edge_mpq.report.quantities import Quantity
from edge_mpq.report.sections import quantity, section
from edge_mpq.report.tradeoff_compare import Comparison, Pair, claim, claim_of_accuracy
from edge_mpq.report.tradeoff_picture import Key, key_of


def render(result: Comparison) -> str:
    """The page of ``result``."""
    runs = [side.run for side in result.sides]
    key = key_of(result.marks, [side.label for side in result.sides])
    title = f"{len(runs)} runs compared: {' and '.join(side.label for side in result.sides)}"
    joins = [(pair.first, pair.other) for pair in result.pairs]
    said = f"Differences are from {result.sides[0].label}."
    return document(
        title,
        element(
            "header",
            element("h1", title),
            element("p", said, class_="meta"),
            [element("p", note, class_="note") for note in result.notes],
        ),  # fmt: skip
        _runs(result),
        section("front", "Accuracy against rate", tradeoff_picture.picture(result.marks, runs, key, joins)),
        section("pairs", "The same plan at the same setting", _pairs(result, key)),
        section("points", "Every point", tradeoff_table.draw(result.marks, runs, key)),
        tradeoff_page.plans(runs, key),
        dress=tradeoff_page.DRESS,
        script=tradeoff_page.SCRIPT,
    )


def _runs(result: Comparison) -> Markup:
    facts = [("Title", [side.run.title for side in result.sides])]
    facts.append(("Date", [side.run.created for side in result.sides]))
    facts.append(("Pictures", [f"{side.run.pictures:,} of {side.run.data}" for side in result.sides]))
    for name in dict.fromkeys(name for side in result.sides for name in side.run.machine):
        facts.append((name.replace("_", " "), [side.run.machine.get(name, "\u2013") for side in result.sides]))
    heads = [element("th", "", scope="col")]
    heads += [
        element("th", plots.key(0, "hollow" if index else ""), side.label, scope="col", class_="number")
        for index, side in enumerate(result.sides)
    ]
    rows = [
        element("tr", element("th", name, scope="row"), [element("td", value, class_="words") for value in values])
        for name, values in facts
    ]
    body = table("The runs", element("thead", element("tr", heads)), element("tbody", rows), style="compared")
    return section("runs", "The runs", body)


def _pairs(result: Comparison, key: Key) -> Markup:
    several = len(result.sides) > 2
    first, other = result.sides[0].label, "other" if several else result.sides[1].label
    base = result.sides[0].run.reference
    heads = [("Plan", "text"), ("Setting", "text"), *([("Run", "text")] if several else [])]
    heads += [(f"{first} (FPS)", "number"), (f"{other} (FPS)", "number"), ("Ratio", "number"), ("Speed", "text")]
    heads += [(f"{first} by {base}", "number"), (f"{other} by {base}", "number")]
    heads += [("Points", "number"), ("Accuracy", "text")]
    row = [
        element("th", head, scope="col", data_sort=kind, class_="number" if kind == "number" else None)
        for head, kind in heads
    ]
    said = "Speed is claimed beyond the ranges between the quartiles of both together, accuracy beyond chance. "
    said += f"By {base}: how many times as fast as it, in turns within the run, which load on the machine moves less."
    return table(
        "Ratios of the same plan at the same setting",
        element("caption", said),
        element("thead", element("tr", row)),
        element("tbody", [_pair(pair, result, key, several) for pair in result.pairs]),
        style="sortable points",
    )


def _pair(pair: Pair, result: Comparison, key: Key, several: bool) -> Markup:
    a, b = result.marks[pair.first], result.marks[pair.other]
    style, shape = key.style(a)
    return element(
        "tr",
        element("th", plots.key(shape, style), a.plan.name, scope="row"),
        element("td", tradeoff.setting(b.point, key.settings) or tradeoff.setting(b.point)),
        element("td", result.sides[b.run].label) if several else None,
        _number(a.point.fps, Quantity(quantities.rate(a.point.fps).number)),
        _number(b.point.fps, Quantity(quantities.rate(b.point.fps).number)),
        _number(pair.rate, quantities.times(pair.rate)),
        element("td", claim(pair), class_=None if pair.faster else "quiet"),
        _number(a.point.speedup, quantities.times(a.point.speedup)),
        _number(b.point.speedup, quantities.times(b.point.speedup)),
        _number(pair.points, Quantity(quantities.signed(pair.points, 2))),
        element("td", claim_of_accuracy(pair), class_=None if pair.righter else "quiet"),
    )


def _number(value: float, shown: Quantity) -> Markup:
    return element("td", quantity(shown), class_="number", data_value=value)
