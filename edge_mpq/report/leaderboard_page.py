"""A leaderboard as one HTML page and as Markdown."""

from collections.abc import Callable, Sequence

from edge_mpq.records.leaderboard import Leaderboard
from edge_mpq.report import leaderboard, plots, quantities
from edge_mpq.report.leaderboard import Standing
from edge_mpq.report.markup import Markup, element, table
from edge_mpq.report.page import document
from edge_mpq.report.quantities import Quantity
from edge_mpq.report.sections import commands, pairs, quantity, section

_COSTS: tuple[tuple[str, str, Callable[[Standing], float | None]], ...] = (
    ("size", "weights (MiB at nominal bits)", lambda row: row.weight_mib),
    ("latency", "time of a picture, p50 (ms)", lambda row: row.p50_ms),
    ("search", "search and quantize (s)", lambda row: row.search_s),
)
_HEADS = ("Points lost", "Spread", "Bits", "Size", "Speed", "Search", "Trials", "Engine agrees")


def render(board: Leaderboard) -> str:
    """The page of ``board``."""
    rows = leaderboard.standings(board)
    line = (board.target, board.budget, f"{board.data}, {board.pictures} test pictures", board.created)
    fp32 = f"fp32 answers {quantities.percent(board.fp32_top1)} right"
    return document(
        board.title,
        element(
            "header",
            element("h1", board.title),
            element("p", [element("span", part) for part in (*line, fp32)], class_="meta"),
            pairs([(name.replace("_", " "), value) for name, value in board.machine.items()], "machine"),
        ),
        section("standings", "Least accuracy lost first", _table(rows)),
        _plots(rows),
        _failures(board),
        commands(board.commands),
    )


def markdown(board: Leaderboard) -> str:
    """The table of ``board`` for a document."""
    lines = [
        "| recipe | points lost | spread | bits | speed against fp32 | search s | trials |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in leaderboard.standings(board):
        speed = "simulated" if not row.deployed else "" if row.speedup is None else f"{row.speedup:.2f}x"
        lines.append(
            f"| {row.recipe} | {row.lost:.2f} | {row.spread:.2f} | {row.weight_bits:.2f} | {speed} | "
            f"{row.search_s:.1f} | {row.evaluations:.0f} |"
        )
    lines += [f"| {entry.recipe} | {entry.failure} | | | | | |" for entry in leaderboard.failures(board)]
    return "\n".join(lines) + "\n"


def _table(rows: Sequence[Standing]) -> Markup:
    heads = [element("th", "Recipe", scope="col", data_sort="text")]
    heads += [element("th", head, scope="col", class_="number", data_sort="number") for head in _HEADS]
    body = [element("tr", element("th", row.recipe, _about(row), scope="row"), _cells(row)) for row in rows]
    several = f" over {rows[0].seeds} seeds" if rows and rows[0].seeds > 1 else ""
    caption = f"Means{several}; points lost are against fp32, of the engine where the plan deploys"
    return table(caption, element("thead", element("tr", heads)), element("tbody", body), style="sortable")


def _about(row: Standing) -> Markup:
    told = row.paper if not row.note else f"{row.paper} ({row.note})"
    return element("div", told, class_="quiet")


def _cells(row: Standing) -> list[Markup]:
    speed = "simulated" if not row.deployed else "\u2013" if row.speedup is None else quantities.times(row.speedup)
    shown: list[tuple[float | None, Quantity | str]] = [
        (row.lost, Quantity(quantities.fixed(row.lost, 2))),
        (row.spread, Quantity(quantities.fixed(row.spread, 2))),
        (row.weight_bits, Quantity(quantities.fixed(row.weight_bits, 2))),
        (row.weight_mib, quantities.mib(row.weight_mib)),
        (row.speedup, speed),
        (row.search_s, quantities.seconds(row.search_s)),
        (row.evaluations, quantities.count(row.evaluations)),
        (row.agreement, "\u2013" if row.agreement is None else quantities.percent(row.agreement)),
    ]
    return [element("td", quantity(text), class_="number", data_value=value) for value, text in shown]


def _plots(rows: Sequence[Standing]) -> Markup | None:
    figures = []
    for name, title, cost in _COSTS:
        known = [row for row in rows if cost(row) is not None]
        if len(known) < 2:
            continue
        best = leaderboard.front(known, cost)
        points = [
            plots.Point(
                cost(row) or 0.0,
                -row.lost,
                row.recipe,
                style=f"{'chosen' if row.recipe in best else ''} {'' if row.deployed else 'hollow'}".strip(),
                shape=0 if row.deployed else 3,
                tooltip=f"{row.recipe}: {row.lost:.2f} points lost, {cost(row):.3g} {title}",
            )
            for row in known
        ]
        caption = element("figcaption", "Up and to the left is better; coloured marks are the Pareto front, "
                          "hollow diamonds are simulated only.")  # fmt: skip
        label = f"Accuracy against {name} of every recipe"
        figures.append(element("figure", plots.loss_against_cost(points, label, title), caption))
    if not figures:
        return None
    return section("fronts", "What accuracy costs", element("div", figures, class_="small-multiples"))


def _failures(board: Leaderboard) -> Markup | None:
    found = leaderboard.failures(board)
    if not found:
        return None
    rows = [(entry.recipe, entry.failure) for entry in found]
    return section("failures", "Recipes that do not serve this task", pairs(rows, "figures"))
