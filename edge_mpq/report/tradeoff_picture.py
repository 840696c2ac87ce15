"""The picture of a tradeoff: marks that tell their story when pointed at, filters, and the front.

It stands as it is without a script; tradeoff.js lays it out again for what is chosen and how wide it is.
"""

from collections.abc import Sequence
from typing import NamedTuple

from edge_mpq.records.tradeoff import Tradeoff
from edge_mpq.report import figures, plots, quantities, tradeoff
from edge_mpq.report.markup import Markup, element
from edge_mpq.report.scales import Axis, Box, rounded_out, rounded_up
from edge_mpq.report.sections import pairs
from edge_mpq.report.tradeoff import Mark

WIDTH, HEIGHT = 860, 430
_FRAME = Box(66, 14, WIDTH - 20, HEIGHT - 50)
_COLOURS, _SHAPES = 10, 4
TITLES = {"plan": "Plan", "run": "Run", "threads": "Threads", "batch": "Batch", "size": "Resolution"}
TITLES["power_mode"] = "Power mode"


class Key(NamedTuple):
    """How marks are told apart: colour by plan, shape by one setting, fill by another; values in their order.

    runs: their names, one '' where there is one run alone.
    """

    plans: list[str]
    runs: list[str]
    fields: dict[str, list[str]]
    shape: str
    fill: str

    @property
    def settings(self) -> list[str]:
        """Those of ``tradeoff.SETTINGS`` in which marks differ."""
        return [name for name in tradeoff.SETTINGS if name in self.fields]

    def value(self, mark: Mark, name: str) -> str:
        """What a mark has of ``plan``, ``run`` or a setting."""
        if name == "run":
            return self.runs[mark.run]
        return mark.plan.name if name == "plan" else tradeoff.field(mark.point, name)

    def style(self, mark: Mark) -> tuple[str, int]:
        """(CSS classes, index of the shape)."""
        hollow = bool(self.fill) and self.fields[self.fill].index(self.value(mark, self.fill)) > 0
        shape = self.fields[self.shape].index(self.value(mark, self.shape)) if self.shape else 0
        return series(self.plans.index(mark.plan.name)) + (" hollow" if hollow else ""), shape % _SHAPES


def series(index: int) -> str:
    """The CSS class of the ``index``-th plan: ten colours, counted round."""
    return f"series-{index % _COLOURS}"


def key_of(marks: Sequence[Mark], runs: Sequence[str]) -> Key:
    """The Key of ``marks``; a setting in which none differ tells nothing and gets no sign."""
    settings = tradeoff.varying([mark.point for mark in marks])
    plans = list(dict.fromkeys(mark.plan.name for mark in marks))
    key = Key(plans, list(runs), {}, settings[0] if settings else "", settings[1] if len(settings) > 1 else "")
    if len(runs) > 1:
        key = key._replace(fill="run")
    told = [name for name, apart in (("plan", len(plans) > 1), ("run", len(runs) > 1)) if apart] + settings
    ordered = sorted(marks, key=lambda mark: mark.point[1:6])
    values = {name: list(dict.fromkeys(key.value(mark, name) for mark in ordered)) for name in told}
    return key._replace(fields={**values, **({"plan": plans} if "plan" in told else {}),
                                **({"run": list(runs)} if "run" in told else {})})  # fmt: skip


def picture(marks: Sequence[Mark], runs: Sequence[Tradeoff], key: Key, joins: Sequence[tuple[int, int]] = ()) -> Markup:
    """The figure of ``marks``; joins: pairs of indices into them that a line joins."""
    name = tradeoff.metric(runs)
    title = tradeoff.TITLES[name]
    rates = [mark.point.fps for mark in marks]
    shares = [100 * mark.share for mark in marks]
    low, high = rounded_out(min(shares), max(shares), 0.5, 0, 100)
    x = Axis(0, rounded_up(max(rates)), _FRAME.left, _FRAME.right)
    y = Axis(low, high, _FRAME.bottom, _FRAME.top)
    places = [(x.at(mark.point.fps), y.at(100 * mark.share)) for mark in marks]
    order = sorted(range(len(marks)), key=lambda index: (marks[index].point.fps, index))
    drawing = element(
        "svg",
        element("g", plots.axes(_FRAME, x, y, "pictures a second (FPS)", f"{title} (%)"), class_="axes"),
        element("g", [_join(places, pair) for pair in joins], class_="joins"),
        element("path", d=_steps([places[index] for index in order if marks[index].front]), class_="front"),
        element("g", [_mark(marks, index, places[index], x, key, runs) for index in order], class_="marks"),
        element("g", class_="labels", aria_hidden="true"),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="group",
        aria_label=f"{title} against pictures a second of {len(marks)} points; arrow keys go through them",
        class_="plot",
        data_x="pictures a second (FPS)",
        data_y=f"{title} (%)",
    )
    hint = "Point at a mark, or go through them with the arrow keys; click it or press Enter for the layers of its "
    hint += "plan. Drag across the picture to look closer, Escape to see all again."
    return element(
        "figure",
        filters(marks, key),
        _view(),
        element("div", drawing, class_="canvas"),
        element("div", element("p", hint, class_="hint"), [_tip(marks, i, key, runs) for i in order], class_="tips"),
        element("figcaption", caption(key, runs)),
        class_="tradeoff",
    )


def caption(key: Key, runs: Sequence[Tradeoff]) -> list[str]:
    """How to read the marks."""
    said = ["Up and to the right is better; the line is the Pareto front of what is shown. Colour is the plan"]
    for name, how in ((key.shape, "shape is"), (key.fill, "hollow are all but the first of")):
        if name:
            said.append(f", {how} {TITLES[name].lower()}")
    said.append(". A bar spans the quartiles of the rate over turns.")
    if all(run.pictures for run in runs):
        widest = max(tradeoff.error(mark.share, runs[mark.run].pictures) for mark in tradeoff.marks(runs))
        told = " and ".join(f"{run.pictures:,}" for run in runs)
        said.append(f" From {told} pictures an accuracy is known to \u00b1 {quantities.fixed(100 * widest, 1)} points.")
    return said


def filters(marks: Sequence[Mark], key: Key) -> Markup:
    """A box to tick for each value of what differs, with its sign."""
    groups = []
    for name, values in key.fields.items():
        boxes = []
        for index, value in enumerate(values):
            sign = None
            if name == "plan":
                sign = plots.key(0, series(index))
            elif name == key.shape:
                sign = plots.key(index % _SHAPES, "")
            elif name == key.fill:
                sign = plots.key(0, "hollow" if index else "")
            box = element("input", type="checkbox", name=name, value=value, checked=True)
            boxes.append(element("label", box, sign, value))
        groups.append(element("fieldset", element("legend", TITLES[name]), boxes))
    return element("form", groups, class_="filters", aria_label="What is shown")


def _view() -> Markup:
    scale = [
        element("label", element("input", type="radio", name="scale", value=value, checked=value == "linear"), value)
        for value in ("linear", "log")
    ]
    buttons = [element("button", text, type="button", data_view=text.lower()) for text in ("All", "Front", "Closer")]
    return element(
        "form",
        element("fieldset", element("legend", "Rate"), scale),
        element("fieldset", element("legend", "Look at"), buttons),
        element("output", class_="shown"),
        class_="filters view",
        aria_label="How it is shown",
    )


def _mark(
    marks: Sequence[Mark], index: int, where: tuple[float, float], x: Axis, key: Key, runs: Sequence[Tradeoff]
) -> Markup:
    mark, point = marks[index], marks[index].point
    style, shape = key.style(mark)
    low, high = 1e3 * point.batch / point.p50_high_ms, 1e3 * point.batch / point.p50_low_ms
    ends = {"x1": f"{x.at(low) - where[0]:.1f}", "x2": f"{x.at(high) - where[0]:.1f}"}
    data = {f"data_{name}": key.value(mark, name) for name in key.fields}
    return element(
        "g",
        element("line", y1=0, y2=0, class_="spread", **ends),
        plots.drawn(plots.Point(0, 0, "", style=style, shape=shape), 0, 0),
        class_=f"mark {series(key.plans.index(mark.plan.name))}",
        transform="translate({:.1f} {:.1f})".format(*where),
        role="button",
        tabindex="0",
        aria_label=spoken(mark, key, runs),
        data_index=index,
        data_opens=anchor(mark, runs),
        data_rate=point.fps,
        data_low=low,
        data_high=high,
        data_share=100 * mark.share,
        data_label=label(mark, key),
        **data,
    )


def anchor(mark: Mark, runs: Sequence[Tradeoff]) -> str:
    """The id of the layers of a mark's plan."""
    return f"plan-{mark.run}-{runs[mark.run].plans.index(mark.plan)}"


def _steps(front: Sequence[tuple[float, float]]) -> str:
    """The front as a path, slowest first: up to each rate the accuracy that can be had with it."""
    x, said = _FRAME.left, ""
    for right, y in front:
        said += f"{'L' if said else 'M'}{x:.1f},{y:.1f}L{right:.1f},{y:.1f}"
        x = right
    return said


def _join(places: Sequence[tuple[float, float]], pair: tuple[int, int]) -> Markup:
    (x1, y1), (x2, y2) = (places[index] for index in pair)
    ends = {"x1": f"{x1:.1f}", "y1": f"{y1:.1f}", "x2": f"{x2:.1f}", "y2": f"{y2:.1f}"}
    return element("line", class_="join", data_from=pair[0], data_to=pair[1], **ends)


def label(mark: Mark, key: Key) -> str:
    """A short name of a mark: its plan, and what differs of its setting."""
    told = (mark.plan.name, tradeoff.setting(mark.point, key.settings), key.runs[mark.run])
    return ", ".join(part for part in told if part)


def spoken(mark: Mark, key: Key, runs: Sequence[Tradeoff]) -> str:
    """All that is told of a mark, in one line."""
    head = ", ".join(part for part in (key.runs[mark.run], mark.plan.name, tradeoff.setting(mark.point)) if part)
    return f"{head}: " + "; ".join(f"{name} {value}" for name, value in facts(mark, runs))


def facts(mark: Mark, runs: Sequence[Tradeoff]) -> list[tuple[str, str]]:
    """(name, value) of what was measured at a point, then of its plan; what is not known is left out."""
    point, plan = mark.point, mark.plan
    shares = [(title, getattr(point, name)) for name, title in tradeoff.TITLES.items()]
    told = [(title, str(quantities.percent(share))) for title, share in shares if share is not None]
    told.append(("rate", str(quantities.rate(point.fps))))
    spread = f"{quantities.significant(point.p50_low_ms)} to {quantities.significant(point.p50_high_ms)}"
    told.append(("a call, p50", f"{quantities.ms(point.p50_ms)} ({spread})"))
    told.append(("p99", str(quantities.ms(point.p99_ms))))
    spread = f"{quantities.fixed(point.speedup_low, 2)} to {quantities.fixed(point.speedup_high, 2)}"
    told.append((f"against {runs[mark.run].reference}", f"{quantities.times(point.speedup)} ({spread})"))
    if point.peak_mib is not None:
        told.append(("memory", str(quantities.mib(point.peak_mib))))
    if point.picture_j is not None:
        told.append(("energy", f"{quantities.significant(1e3 * point.picture_j)} mJ a picture"))
    told.append(("weights", f"{quantities.bits(plan.weight_bits)}, {quantities.mib(plan.weight_mib)}"))
    told.append(("file", str(quantities.mib(plan.file_mib))))
    if plan.budget:
        told.append(("budget", plan.budget))
    other = len(figures.mismatches(plan.layers))
    if plan.layers:
        told.append(("layers", f"{len(plan.layers)}" + (f", {other} ran otherwise than asked" if other else "")))
    return told


def _tip(marks: Sequence[Mark], index: int, key: Key, runs: Sequence[Tradeoff]) -> Markup:
    mark = marks[index]
    style, shape = key.style(mark)
    head = ", ".join(part for part in (key.runs[mark.run], tradeoff.setting(mark.point)) if part)
    on = element("span", "on the front", class_="badge") if mark.front else None
    return element(
        "div",
        element("p", plots.key(shape, style), element("b", mark.plan.name), " ", head, " ", on),
        pairs(facts(mark, runs), "facts"),
        class_="point-tip",
        hidden=True,
        data_index=index,
    )
