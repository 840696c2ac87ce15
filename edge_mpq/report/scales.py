"""Axes, their ticks, and where labels go so that they do not run into each other."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

# What lies below is zero to every axis here: a millionth of a nanosecond.
LEAST = 1e-12


class Box(NamedTuple):
    """A rectangle in drawing units, y downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: "Box") -> float:
        """The area that both cover."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(0.0, width) * max(0.0, height)

    def outside(self, frame: "Box") -> float:
        """The area of this box that lies outside ``frame``."""
        return (self.right - self.left) * (self.bottom - self.top) - self.overlap(frame)


class Axis(NamedTuple):
    """Values ``low`` to ``high`` laid onto drawing units ``start`` to ``end``."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """Where ``value`` lies."""
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log10(low), math.log10(high), math.log10(value)
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def ticks(self, most: int = 6) -> list[float]:
        """Round values inside the axis, at most about ``most`` of them."""
        return _log_ticks(self.low, self.high, most) if self.log else _linear_ticks(self.low, self.high, most)


class Label(NamedTuple):
    """A placed label: its box, and how its text is anchored (``start``, ``middle``, ``end``)."""

    box: Box
    anchor: str


def _step(span: float, most: int) -> float:
    raw = span / most
    power = 10.0 ** math.floor(math.log10(raw))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))


def _linear_ticks(low: float, high: float, most: int) -> list[float]:
    step = _step(high - low, most)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def _log_ticks(low: float, high: float, most: int) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1, 3), (1,)):
        inside = [f * 10.0**d for d in decades for f in factors if low * (1 - 1e-9) <= f * 10.0**d <= high * (1 + 1e-9)]
        if len(inside) <= most:
            return inside
    return inside[:: math.ceil(len(inside) / most)]


def rounded_out(low: float, high: float, least_span: float, floor: float, ceiling: float) -> tuple[float, float]:
    """Round bounds with some air around ``low`` to ``high``: ``least_span`` apart where floor and ceiling let them."""
    middle, span = (low + high) / 2, max((high - low) * 1.4, least_span)
    step = _step(span, 5)
    bottom = max(floor, math.floor((middle - span / 2) / step) * step)
    top = min(ceiling, math.ceil((middle + span / 2) / step) * step)
    return bottom, top


def rounded_up(high: float) -> float:
    """The first tick clear of ``high`` on an axis that starts at zero; 1 where ``high`` is as good as zero."""
    reach = high * 1.12 if high > LEAST else 1.0
    step = _step(reach, 6)
    return math.ceil(reach / step) * step


def place(
    anchors: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    frame: Box,
    marks: Sequence[tuple[float, float]],
) -> list[Label]:
    """A box for the label of each anchor: near it, in ``frame``, off ``marks`` and other labels where that can be."""
    covered = [Box(x - 6, y - 6, x + 6, y + 6) for x, y in marks]
    placed: list[Label] = []
    for (x, y), (width, height) in zip(anchors, sizes, strict=True):
        taken = covered + [label.box for label in placed]
        best = min(
            _candidates(x, y, width, height),
            key=lambda label: (
                sum(label[1].box.overlap(other) for other in taken) + 4 * label[1].box.outside(frame) + label[0]
            ),
        )
        placed.append(best[1])
    return placed


def _candidates(x: float, y: float, width: float, height: float) -> Iterator[tuple[float, Label]]:
    """(cost of its distance, label) around a point: beside it first, then above and below, then further off."""
    for ring, gap in enumerate((10, 16, 24, 38, 56)):
        middle, above, below = y - height / 2, y - gap - height, y + gap
        yield 3 * ring, Label(Box(x + gap, middle, x + gap + width, middle + height), "start")
        yield 3 * ring + 0.5, Label(Box(x - gap - width, middle, x - gap, middle + height), "end")
        for cost, top in ((1.0, above), (1.2, below)):
            yield 3 * ring + cost, Label(Box(x - width / 2, top, x + width / 2, top + height), "middle")
            yield 3 * ring + cost + 0.5, Label(Box(x + 6, top, x + 6 + width, top + height), "start")
            yield 3 * ring + cost + 0.6, Label(Box(x - 6 - width, top, x - 6, top + height), "end")
