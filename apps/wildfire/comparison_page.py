"""A comparison of ways as one HTML page and as Markdown."""

from collections.abc import Callable
from typing import NamedTuple

from apps.wildfire.comparison import FLOAT, SUBJECT, Claim, Comparison, Row, claims, figure_of
from edge_mpq.report import plots, quantities
from edge_mpq.report.markup import Markup, element, table
from edge_mpq.report.page import document
from edge_mpq.report.quantities import Quantity
from edge_mpq.report.sections import commands, pairs, quantity, section

UNKNOWN = "\u2013"


class Column(NamedTuple):
    """A figure of every row: where it is found, and how it is written."""

    title: str
    value: Callable[[Row], float | None]
    rule: Callable[[float], Quantity]


def answers(comparison: Comparison) -> list[Column]:
    """What is shown of how right the rows are; what no row knows is left out."""
    of_task = {
        "classify": (("Accuracy", "accuracy"), ("Precision", "precision"), ("Recall", "recall"), ("F1", "f1")),
        "segment": (("Mean IoU", "mean_iou"), ("Mean pixel accuracy", "mean_pixel_accuracy"), ("F1", "f1")),
    }[comparison.task]
    shown = [Column(title, _figure(name), quantities.percent) for title, name in of_task]
    shown += [
        Column("Loss", lambda row: row.loss, lambda value: Quantity(quantities.significant(value))),
        Column("Accuracy on photographs", lambda row: row.photographs.get("accuracy"), quantities.percent),
        Column("Engine as simulated", lambda row: row.agreement, quantities.percent),
    ]
    return _known(shown, comparison)


def costs(comparison: Comparison) -> list[Column]:
    """What is shown of size, memory and time; the energy also where no sensor tells it, as it is asked about."""
    shown = [
        Column("Weights", lambda row: row.weight_mib, quantities.mib),
        Column("File", lambda row: row.file_mib, quantities.mib),
        Column("Memory, peak", lambda row: row.peak_memory_mib, quantities.mib),
        Column("of the engine", _engine_memory, quantities.mib),
        Column("p50", lambda row: row.p50_ms, quantities.ms),
        Column("p99", lambda row: row.p99_ms, quantities.ms),
        Column("FPS", lambda row: row.fps, lambda value: quantities.rate(value)._replace(unit="")),
        Column("Speed", lambda row: row.speedup, quantities.times),
        Column("Energy", lambda row: row.energy_mj, lambda value: Quantity(quantities.significant(value), "mJ")),
    ]
    for batch in sorted({int(size) for row in comparison.rows for size in row.throughput_fps}):
        if batch > 1:
            shown.append(Column(f"FPS, batch {batch}", _throughput(str(batch)), lambda value: quantities.count(value)))
    return _known(shown, comparison)


def _known(shown: list[Column], comparison: Comparison) -> list[Column]:
    rows = [row for row in comparison.rows if not row.refused]
    return [one for one in shown if one.title == "Energy" or any(one.value(row) is not None for row in rows)]


def _figure(name: str) -> Callable[[Row], float | None]:
    return lambda row: row.figures.get(name)


def _throughput(size: str) -> Callable[[Row], float | None]:
    return lambda row: row.throughput_fps.get(size)


def _engine_memory(row: Row) -> float | None:
    if row.peak_memory_mib is None or row.loaded_memory_mib is None:
        return None
    return row.peak_memory_mib - row.loaded_memory_mib


def render(comparison: Comparison) -> str:
    """The page."""
    line = (
        comparison.target,
        f"{comparison.data}: {comparison.learned} pictures to learn from, {comparison.pictures} answered",
        f"mixed: {comparison.budget}",
        comparison.created,
    )
    machine = [(name.replace("_", " "), value) for name, value in comparison.machine.items()]
    return document(
        comparison.title,
        element(
            "header",
            element("h1", comparison.title),
            element("p", [element("span", part) for part in line], class_="meta"),
            pairs(machine, "machine"),
        ),
        section("answers", "How right every way is", _table("Answers", comparison, answers(comparison), told=True)),
        section("costs", "What every way costs", _table("Costs", comparison, costs(comparison), told=False)),
        section("claims", "What should hold", _claims(claims(comparison))),
        _scatter(comparison),
        commands(comparison.commands),
    )


def _table(label: str, comparison: Comparison, shown: list[Column], told: bool) -> Markup:
    """A row a way; told: with its formats, or why it was refused."""
    heads = [element("th", "Way", scope="col", data_sort="text")]
    heads += [element("th", one.title, scope="col", class_="number", data_sort="number") for one in shown]
    body = []
    for row in comparison.rows:
        words = element("div", row.refused or row.formats, class_="quiet") if told else None
        name = element("th", row.name, words, scope="row")
        if row.refused:
            cells = [element("td", "refused", colspan=len(shown), class_="missing")]
        else:
            values = [(one, one.value(row)) for one in shown]
            cells = [
                element(
                    "td",
                    quantity(UNKNOWN if value is None else one.rule(value)),
                    class_="number" + (" subject" if row.name == SUBJECT else ""),
                    data_value=value,
                )
                for one, value in values
            ]
        body.append(element("tr", name, cells))
    return table(label, element("thead", element("tr", heads)), element("tbody", body), style="sortable")


def _claims(made: list[Claim]) -> Markup:
    return pairs([(claim.words, f"{_verdict(claim)} ({claim.found})") for claim in made], "figures")


def _verdict(claim: Claim) -> str:
    return "not measured" if claim.holds is None else "yes" if claim.holds else "no"


def _scatter(comparison: Comparison) -> Markup | None:
    name = figure_of(comparison.task)
    timed = [(row, row.fps) for row in comparison.rows if not row.refused and row.fps is not None]
    if len(timed) < 2:
        return None
    whole = next(row.figures[name] for row, _ in timed if row.name == FLOAT)
    points = [
        plots.Point(
            fps,
            100 * (row.figures[name] - whole),
            row.name,
            style="chosen" if row.name == SUBJECT else "",
            tooltip=f"{row.name}: {quantities.percent(row.figures[name])}, {quantities.rate(fps)}",
        )
        for row, fps in timed
    ]
    label = f"{name.replace('_', ' ')} against pictures a second"
    caption = element("figcaption", "Points against fp32 by rate; up and to the right is better.")
    drawing = plots.loss_against_cost(points, label, "pictures a second (FPS)")
    figure = element("div", element("figure", drawing, caption), class_="small-multiples")
    return section("front", "Accuracy against rate", figure)


def markdown(comparison: Comparison) -> str:
    """The table and the claims, for a document."""
    shown = answers(comparison) + costs(comparison)
    lines = ["| way | " + " | ".join(one.title.lower() for one in shown) + " |", "|---" * (len(shown) + 1) + "|"]
    for row in comparison.rows:
        if row.refused:
            cells = [_cell(row.refused)] + [""] * (len(shown) - 1)
        else:
            values = [(one, one.value(row)) for one in shown]
            cells = [UNKNOWN if value is None else str(one.rule(value)) for one, value in values]
        lines.append(f"| {_cell(row.name)} | " + " | ".join(cells) + " |")
    lines.append("")
    lines += [f"- {claim.words}: {_verdict(claim)} ({claim.found})" for claim in claims(comparison)]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
