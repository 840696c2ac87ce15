"""The two figures with axes, as inline SVG that takes its colours from the page's style."""

from collections.abc import Sequence
from typing import NamedTuple

from edge_mpq.report import quantities
from edge_mpq.report.markup import Markup, element
from edge_mpq.report.scales import LEAST, Axis, Box, Label, place, rounded_out, rounded_up

# Widths of a letter in the widest of the fonts the style sheet names: labels may be narrower, never wider.
_BOLD, _PLAIN, _LINE = 8.0, 7.1, 15
_SHAPES = ("circle", "square", "triangle", "diamond")


class Point(NamedTuple):
    """One mark: where it stands, its label ('' for none), a second line, its tooltip and CSS classes.

    shape: an index into circle, square, triangle, diamond, counted round.
    """

    x: float
    y: float
    name: str
    detail: str = ""
    tooltip: str = ""
    style: str = ""
    shape: int = 0


class Line(NamedTuple):
    """One row of :func:`choices`: its name and its marks, of which only x counts."""

    name: str
    marks: Sequence[Point]


def choices(lines: Sequence[Line], label: str) -> Markup:
    """One line a layer, its marks along a common logarithmic axis of harm (every x above zero)."""
    pitch, top, left, right = 20, 10, 190, 690
    bottom = top + pitch * len(lines)
    values = [mark.x for line in lines for mark in line.marks]
    axis = Axis(min(values) / 1.5, max(values) * 1.5, left, right, True)
    parts = []
    for tick in axis.ticks():
        parts.append(_line(axis.at(tick), top, axis.at(tick), bottom, "grid"))
        parts.append(_text(axis.at(tick), bottom + 17, f"{tick:g}", "tick"))
    for number, line in enumerate(lines):
        y = top + pitch * (number + 0.5)
        places = [axis.at(mark.x) for mark in line.marks]
        parts.append(_text(left - 14, y + 4, _short(line.name), "tick", "end"))
        parts.append(_line(min(places), y, max(places), y, "leader"))
        parts += [drawn(mark, x, y) for mark, x in zip(line.marks, places, strict=True)]
    parts.append(_line(left, bottom, right, bottom, "axis"))
    parts.append(_text((left + right) / 2, bottom + 38, "harm (logarithmic)", "title"))
    return _svg(720, bottom + 46, label, *parts)


def accuracy_against_rate(points: Sequence[Point], label: str) -> Markup:
    """Top-1 accuracy in percent (y) against FPS (x); ``label`` is read out in place of the picture."""
    frame = Box(66, 14, 456, 262)
    low, high = rounded_out(min(p.y for p in points), max(p.y for p in points), 0.5, 0, 100)
    x = Axis(0, rounded_up(max(p.x for p in points)), frame.left, frame.right)
    y = Axis(low, high, frame.bottom, frame.top)
    return _svg(
        480,
        312,
        label,
        axes(frame, x, y, "pictures a second (FPS)", "top-1 accuracy (%)"),
        _marks(points, x, y, frame),
    )


def loss_against_cost(points: Sequence[Point], label: str, cost: str) -> Markup:
    """Points of accuracy against fp32 (y, 0 is equal) against ``cost`` (x, logarithmic where it spans far)."""
    frame = Box(66, 14, 456, 262)
    values = [p.x for p in points]
    log = min(values) > LEAST and max(values) / min(values) > 20
    bounds = (min(values) / 1.4, max(values) * 1.4) if log else (0.0, rounded_up(max(values)))
    low, high = rounded_out(min(p.y for p in points), max(p.y for p in points), 0.5, -100, 100)
    x, y = Axis(*bounds, frame.left, frame.right, log), Axis(low, high, frame.bottom, frame.top)
    return _svg(480, 312, label, axes(frame, x, y, cost, "points against fp32"), _marks(points, x, y, frame))


def precision_against_recall(curve: Sequence[Sequence[float]], chance: float, label: str) -> Markup:
    """Precision (y) against recall (x) in percent; the dashed line is the precision of chance."""
    frame = Box(66, 14, 356, 262)
    x, y = Axis(0, 100, frame.left, frame.right), Axis(0, 100, frame.bottom, frame.top)
    line = " ".join(f"{_n(x.at(100 * recall))},{_n(y.at(100 * precision))}" for recall, precision in curve)
    return _svg(
        380,
        312,
        label,
        axes(frame, x, y, "recall (%)", "precision (%)"),
        _line(frame.left, y.at(100 * chance), frame.right, y.at(100 * chance), "even"),
        element("polyline", points=line, class_="curve"),
    )


def measured_against_planned(points: Sequence[Point], label: str) -> Markup:
    """Measured ms (y) against planned ms (x) of layers, with the line of equality and the band within twice."""
    frame = Box(66, 14, 418, 362)
    values = [value for p in points for value in (p.x, p.y) if value > LEAST]
    low, high = (min(values), max(values)) if values else (1.0, 1.0)
    log = high / low > 20 and len(values) == 2 * len(points)
    bounds = (low / 1.4, high * 1.4) if log else (0.0, rounded_up(high))
    x = Axis(*bounds, frame.left, frame.right, log)
    y = Axis(*bounds, frame.bottom, frame.top, log)
    parts = [_band(x, y, frame), axes(frame, x, y, "planned (ms)", "measured (ms)"), _marks(points, x, y, frame)]
    return _svg(440, 412, label, *parts)


def key(shape: int, style: str) -> Markup:
    """The mark of a series by itself, for a legend."""
    mark = drawn(Point(0, 0, "", style=style, shape=shape), 8, 8)
    return element("svg", mark, viewBox="0 0 16 16", class_="key plot", aria_hidden="true")


def _svg(width: int, height: int, label: str, *children: Markup) -> Markup:
    return element("svg", *children, viewBox=f"0 0 {width} {height}", role="img", aria_label=label, class_="plot")


def _line(x1: float, y1: float, x2: float, y2: float, style: str) -> Markup:
    return element("line", x1=_n(x1), y1=_n(y1), x2=_n(x2), y2=_n(y2), class_=style)


def _text(x: float, y: float, text: str, style: str, anchor: str = "middle", **more: str) -> Markup:
    return element("text", text, x=_n(x), y=_n(y), text_anchor=anchor, class_=style, **more)


def _n(value: float) -> str:
    return f"{value:.1f}"


def axes(frame: Box, x: Axis, y: Axis, x_title: str, y_title: str) -> Markup:
    """Both axes with their ticks and titles, and grid lines across ``frame``."""
    parts = []
    places = quantities.decimals([b - a for a, b in zip(y.ticks(), y.ticks()[1:], strict=False)], 1)
    for tick in y.ticks():
        written = f"{tick:g}" if y.log else quantities.fixed(tick, places)
        parts.append(_line(frame.left, y.at(tick), frame.right, y.at(tick), "grid"))
        parts.append(_text(frame.left - 8, y.at(tick) + 4, written, "tick", "end"))
    places = quantities.decimals([b - a for a, b in zip(x.ticks(), x.ticks()[1:], strict=False)], 1)
    for tick in x.ticks():
        written = f"{tick:g}" if x.log else quantities.fixed(tick, places)
        parts.append(_line(x.at(tick), frame.bottom, x.at(tick), frame.bottom + 5, "axis"))
        parts.append(_text(x.at(tick), frame.bottom + 19, written, "tick"))
    parts.append(_line(frame.left, frame.bottom, frame.right, frame.bottom, "axis"))
    parts.append(_text((frame.left + frame.right) / 2, frame.bottom + 42, x_title, "title"))
    middle = (frame.top + frame.bottom) / 2
    turn = f"rotate(-90 13 {_n(middle)})"
    parts.append(_text(13, middle, y_title, "title", transform=turn))
    return element("g", parts)


def _band(x: Axis, y: Axis, frame: Box) -> Markup:
    """The area in which measured is within twice planned, and the line where they are equal."""
    low, high = x.low, x.high
    if x.log:
        corners = [(low, low), (low, 2 * low), (high / 2, high), (high, high), (high, high / 2), (2 * low, low)]
    else:
        corners = [(0, 0), (high / 2, high), (high, high), (high, high / 2)]
    outline = " ".join(f"{_n(x.at(a))},{_n(y.at(b))}" for a, b in corners)
    caption = _text(frame.right - 6, frame.bottom - 8, "shaded: within a factor of two", "tick", "end")
    return element(
        "g",
        element("polygon", points=outline, class_="band"),
        _line(x.at(low), y.at(low), x.at(high), y.at(high), "even"),
        caption,
    )


def _marks(points: Sequence[Point], x: Axis, y: Axis, frame: Box) -> Markup:
    places = [(x.at(p.x), y.at(p.y)) for p in points]
    named = sorted((index for index, point in enumerate(points) if point.name), key=lambda index: places[index])
    sizes = [_size(points[index]) for index in named]
    labels = place([places[index] for index in named], sizes, frame, places)
    leaders = [_leader(places[index], label.box) for index, label in zip(named, labels, strict=True)]
    marks = [drawn(point, *where) for point, where in zip(points, places, strict=True)]
    written = [_label(points[index], label) for index, label in zip(named, labels, strict=True)]
    return element("g", leaders, marks, written)


def _size(point: Point) -> tuple[float, float]:
    width = max(_BOLD * len(_short(point.name)), _PLAIN * len(point.detail))
    return width, _LINE * (2 if point.detail else 1)


def _short(name: str) -> str:
    return name if len(name) <= 26 else name[:12] + "\u2026" + name[-13:]


def drawn(point: Point, x: float, y: float) -> Markup:
    """The mark of a point at drawing units ``x``, ``y``, with its tooltip where it has one."""
    told = point.tooltip or f"{point.name} {point.detail}".strip()
    title = element("title", told) if told else None
    style, shape = f"dot {point.style}".strip(), _SHAPES[point.shape % len(_SHAPES)]
    if shape == "circle":
        return element("circle", title, cx=_n(x), cy=_n(y), r="5.5", class_=style)
    if shape == "square":
        return element("rect", title, x=_n(x - 5), y=_n(y - 5), width="10", height="10", class_=style)
    outline = [(0, -6.5), (6.2, 4.5), (-6.2, 4.5)] if shape == "triangle" else [(0, -7), (7, 0), (0, 7), (-7, 0)]
    return element("polygon", title, points=" ".join(f"{_n(x + a)},{_n(y + b)}" for a, b in outline), class_=style)


def _label(point: Point, label: Label) -> Markup:
    box = label.box
    x = {"start": box.left, "end": box.right, "middle": (box.left + box.right) / 2}[label.anchor]
    parts = [_text(x, box.top + 11.5, _short(point.name), "name", label.anchor)]
    if point.detail:
        parts.append(_text(x, box.top + 11.5 + _LINE, point.detail, "tick", label.anchor))
    return element("g", parts)


def _leader(where: tuple[float, float], box: Box) -> Markup | None:
    """A line from a mark to its label, where the label had to go far."""
    near_x, near_y = min(max(where[0], box.left), box.right), min(max(where[1], box.top), box.bottom)
    far = (near_x - where[0]) ** 2 + (near_y - where[1]) ** 2 > 18**2
    return _line(*where, near_x, near_y, "leader") if far else None
