"""A tradeoff as one HTML page: the picture, its main figures, every point in a table, and the layers of each plan."""

from collections.abc import Sequence
from typing import Any

from edge_mpq.records.report import Variant
from edge_mpq.records.tradeoff import PlanFacts, Tradeoff
from edge_mpq.report import layer_table, palette, plots, quantities, strip, tradeoff, tradeoff_picture, tradeoff_table
from edge_mpq.report.markup import Markup, element
from edge_mpq.report.page import document
from edge_mpq.report.sections import commands, pairs, quantity, section
from edge_mpq.report.tradeoff import Headline
from edge_mpq.report.tradeoff_picture import Key, key_of, series

DRESS, SCRIPT = ("tradeoff.css",), ("tradeoff.js",)


def render(run: Tradeoff) -> str:
    """The page of ``run``; RecordError where no accuracy is known to all its points."""
    marks, runs = tradeoff.marks([run]), [run]
    key = key_of(marks, [""])
    line = [f"{run.data}, {run.pictures:,} pictures" if run.pictures else run.data, run.created]
    targets = list(dict.fromkeys(plan.target for plan in run.plans))
    title = run.title or "Tradeoff"
    return document(
        title,
        element(
            "header",
            element("h1", title),
            element("p", [element("span", part) for part in (*targets, *line) if part], class_="meta"),
            pairs([(name.replace("_", " "), value) for name, value in run.machine.items()], "machine"),
        ),
        element(
            "section",
            [_headline(one, tradeoff.TITLES[tradeoff.metric(runs)]) for one in tradeoff.headlines(run)],
            aria_label="Main figures",
            class_="headlines",
        ),  # fmt: skip
        section("front", "Accuracy against rate", tradeoff_picture.picture(marks, runs, key)),
        section("points", "Every point", tradeoff_table.draw(marks, runs, key)),
        plans(runs, key),
        commands(run.commands),
        dress=DRESS,
        script=SCRIPT,
    )


def _headline(line: Headline, title: str) -> Markup:
    mark = line.mark
    rate, share = quantities.rate(mark.point.fps), quantities.percent(mark.share)
    against = "" if line.against is None else f" ({quantities.points(mark.share - line.against)})"
    told = f"{title} {share}{against}" if line.by_rate else f"{rate}{against}"
    return element(
        "div",
        element("p", line.title, class_="label"),
        element("p", quantity(rate if line.by_rate else share), class_="value"),
        element("p", f"{mark.plan.name}: {tradeoff.setting(mark.point)}", class_="detail"),
        element("p", told, class_="detail"),
    )


def plans(runs: Sequence[Tradeoff], key: Key) -> Markup | None:
    """The layers of every plan, folded; a plan without any says so."""
    rows = [row for run in runs for plan in run.plans for row in plan.layers]
    colours = palette.classes(name for row in rows for name in (row.asked, row.got))
    folded, count = [], 0
    for number, run in enumerate(runs):
        for index, plan in enumerate(run.plans):
            if plan.name not in key.plans:
                continue
            sign = plots.key(0, series(key.plans.index(plan.name)))
            of = f" of {key.runs[number]}" if len(runs) > 1 else ""
            head = element("summary", sign, f"{plan.name}{of}, {quantities.bits(plan.weight_bits)} a weight")
            sizes = plan.file_mib, plan.weight_mib, plan.weight_bits
            variant = Variant(plan.name, *sizes, p50_ms=0, p99_ms=0, fps=0, speedup=0, layers=plan.layers)
            drawn = [strip.draw(variant, count, colours), layer_table.draw(variant, count, colours)]
            none = element("p", "Which layers it has is not known: its bundle's report tells none.", class_="quiet")
            told = pairs(_told(plan), "figures")
            folded.append(element("details", head, told, drawn if plan.layers else none, id=f"plan-{number}-{index}"))
            count += 1
    return section("plans", "Plans, layer by layer", folded)


def _told(plan: PlanFacts) -> list[tuple[str, Any]]:
    rows = [("Bundle", plan.title), ("Target", plan.target), ("Engine", plan.backend), ("Budget", plan.budget)]
    sizes = [("Weights", quantities.mib(plan.weight_mib)), ("File", quantities.mib(plan.file_mib))]
    return [(name, value) for name, value in rows if value] + [(name, quantity(value)) for name, value in sizes]
