"""The section of what the grids hold: how inputs and weights of the layers are spread, and the ends of their grids."""

import math
from collections.abc import Sequence

from edge_mpq.records.histogram import TensorHistogram
from edge_mpq.report import quantities
from edge_mpq.report.markup import Markup, dotted, element
from edge_mpq.report.scales import Axis
from edge_mpq.report.sections import section

_OPEN = 12
_WIDTH, _HEIGHT, _TOP, _FLOOR = 240, 86, 6, 66


def histograms(shown: Sequence[TensorHistogram]) -> Markup | None:
    """The section, those of which most is clipped first; None where there is no histogram."""
    if not shown:
        return None
    first = sorted(shown, key=lambda one: -one.clipped)[:_OPEN]
    words = (
        "Bars count values on a logarithmic scale; the lines are the ends of the grid, and what lies in the shaded "
        "part is clipped to them. Inputs are in their own units, weights in units of the end of their channel's grid."
    )
    rest = None
    if len(shown) > _OPEN:
        rest = element(
            "details", element("summary", f"All {len(shown)}, layer by layer"), _row([_figure(one) for one in shown])
        )
    return section(
        "histograms",
        "What the grids hold",
        element("p", words, class_="prose"),
        _row([_figure(one) for one in first]),
        rest,
    )


def _row(figures: Sequence[Markup]) -> Markup:
    return element("div", figures, class_="small-multiples dense")


def _figure(one: TensorHistogram) -> Markup:
    share = f"{quantities.significant(100 * one.clipped, 2)}\u00a0% clipped" if one.clipped else "nothing clipped"
    caption = element("figcaption", dotted(one.layer), f" {one.tensor}, {one.format}: {share}")
    return element("figure", _drawn(one, share), caption)


def _drawn(one: TensorHistogram, share: str) -> Markup:
    x = Axis(one.low, one.high, 4, _WIDTH - 4)
    ends = [(x.at(end), quantities.significant(end)) for end in (one.clip_low, one.clip_high)]
    beyond = [
        element("rect", x=_n(left), y=_TOP, width=_n(right - left), height=_FLOOR - _TOP, class_="beyond")
        for left, right in ((4, ends[0][0]), (ends[1][0], _WIDTH - 4))
        if right - left > 0.5
    ]
    lines = [element("line", x1=_n(at), y1=_TOP, x2=_n(at), y2=_FLOOR, class_="clip") for at, _ in ends]
    anchors = ["start" if ends[0][0] < 40 else "middle", "end" if ends[1][0] > _WIDTH - 40 else "middle"]
    words = [
        element("text", text, x=_n(at), y=_FLOOR + 15, text_anchor=anchor, class_="tick")
        for (at, text), anchor in zip(ends, anchors, strict=True)
    ]
    floor = element("line", x1=4, y1=_FLOOR, x2=_WIDTH - 4, y2=_FLOOR, class_="axis")
    bars = element("path", d=_outline(one.counts, x), class_="bars")
    label = f"{one.tensor} of {one.layer}: {sum(one.counts):,} values, {share}"
    return element(
        "svg", beyond, bars, floor, lines, words,
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}", role="img", aria_label=label, class_="plot",
    )  # fmt: skip


def _outline(counts: Sequence[int], x: Axis) -> str:
    """The steps of the bars as one path: [bins] counts on a logarithmic scale."""
    tallest = math.log1p(max(counts)) or 1.0
    width = (x.end - x.start) / len(counts)
    steps = [f"M{_n(x.start)} {_FLOOR}"]
    for index, count in enumerate(counts):
        height = _FLOOR - (_FLOOR - _TOP) * math.log1p(count) / tallest
        steps.append(f"V{_n(height)}H{_n(x.start + width * (index + 1))}")
    return "".join([*steps, f"V{_FLOOR}Z"])


def _n(value: float) -> str:
    return f"{value:.1f}"
