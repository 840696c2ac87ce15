"""Plans and reports as notebooks show them: a page in a frame of its own, so that neither changes the other's style."""

from typing import Any

from edge_mpq.records import plan as plans
from edge_mpq.records.plan import PrecisionPlan
from edge_mpq.records.report import RunReport
from edge_mpq.report import facts, page, palette
from edge_mpq.report.markup import Markup, dotted, element, table
from edge_mpq.report.sections import pairs, quantity

# Pixels: of a frame, at most; of the head of a plan, and of one of its layers.
_TALLEST, _HEAD, _LAYER = 640, 300, 36


def shown(record: PrecisionPlan | RunReport) -> str:
    """The HTML of ``record`` in a notebook; RecordError where a report cannot be drawn."""
    if isinstance(record, RunReport):
        return _framed(page.render(record), _TALLEST)
    return _framed(_of_plan(record), min(_TALLEST, _HEAD + _LAYER * len(record.choices)))


def _framed(document: str, height: int) -> Markup:
    style = f"width:100%;height:{height}px;border:0"
    return element("iframe", srcdoc=document, sandbox="allow-scripts", title="edge-mpq", style=style)


def _of_plan(plan: PrecisionPlan) -> str:
    """A plan alone: what it is for, what it should cost, and every layer with its format and why."""
    asked = {name: plans.describe(choice) for name, choice in plan.choices.items()}
    colours = palette.classes(asked.values())
    made_by: list[tuple[str, Any]] = [
        (name, value)
        for name, value in (
            ("Budget", plan.budget),
            ("Sensitivity", plan.sensitivity),
            ("Allocator", plan.allocator),
            ("Transforms", ", ".join(plan.transforms)),
        )
        if value
    ]
    predicted = [(title, quantity(value)) for title, value in facts.listed(plan.predicted)]
    many = list(asked.values())
    legend = [
        element(
            "li", element("i", class_=f"swatch {classes}"), element("b", short), f" {many.count(short)} of {len(many)}"
        )
        for short, classes in colours.items()
    ]
    body = [
        element(
            "tr",
            element("th", dotted(name), scope="row"),
            element("td", element("i", class_=f"swatch {colours[asked[name]]}"), asked[name], class_="format"),
            element("td", choice.why, class_="why"),
        )
        for name, choice in plan.choices.items()
    ]
    heads = [element("th", head, scope="col", data_sort="text") for head in ("Layer", "Format", "Why")]
    return page.document(
        "Plan",
        element("header", element("h1", f"Plan for {plan.target}"), pairs(made_by, "machine")),
        element("section", pairs(predicted, "figures"), aria_label="Predicted") if predicted else None,
        element(
            "section",
            element("ul", legend, class_="legend"),
            table(
                "Layers of the plan",
                element("thead", element("tr", heads)),
                element("tbody", body),
                style="layers sortable",
            ),
            aria_label="Layers",
        ),
    )
