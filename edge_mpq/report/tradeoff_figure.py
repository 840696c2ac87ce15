"""A tradeoff as PNG and SVG, for a paper or a slide."""

import io

from edge_mpq.records.tradeoff import Tradeoff
from edge_mpq.report import tradeoff, tradeoff_picture
from edge_mpq.report.scales import Box, place
from edge_mpq.report.tradeoff import Mark

# As the page's, in its light dress: series-0 to series-9 of tradeoff.css.
COLOURS = ("#59636e", "#2a6fb8", "#cc7722", "#176b4f", "#5f2a7d", "#a93a2c", "#6d8a1f", "#c45a9a", "#1f8fb0", "#8a6d3b")
SHAPES = ("o", "s", "^", "D")
INCHES, DPI = (8.6, 5.2), 150
# Width of a letter of 8 points, at most about.
LETTER = 4.6


def draw(run: Tradeoff) -> dict[str, bytes]:
    """The picture of ``run`` as ``png`` and ``svg``; the points of the front are named, where names do not collide."""
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    marks = tradeoff.marks([run])
    key = tradeoff_picture.key_of(marks, [""])
    figure = Figure(figsize=INCHES, dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    axes.grid(axis="y", color="#e1e4e8", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    front = sorted((mark for mark in marks if mark.front), key=lambda mark: mark.point.fps)
    rates, shares = [mark.point.fps for mark in front], [100 * mark.share for mark in front]
    # Up to each rate the accuracy that can be had with it.
    axes.step([0, *rates], [shares[0], *shares], color="#c3c9d0", linewidth=1.5, zorder=1)
    for mark in marks:
        style, shape = key.style(mark)
        colour = COLOURS[int(style.split()[0].rpartition("-")[2])]
        point, share = mark.point, 100 * mark.share
        ends = 1e3 * point.batch / point.p50_high_ms, 1e3 * point.batch / point.p50_low_ms
        axes.plot(ends, (share, share), color=colour, linewidth=1, alpha=0.6, zorder=2)
        axes.plot(point.fps, share, SHAPES[shape], color=colour, markersize=7, zorder=3,
                  markerfacecolor="white" if "hollow" in style else colour, markeredgewidth=1.5)  # fmt: skip
    title = tradeoff.TITLES[tradeoff.metric([run])]
    axes.set(xlabel="pictures a second (FPS)", ylabel=f"{title} (%)", title=run.title)
    axes.title.set(fontsize=11, fontweight="bold")
    axes.xaxis.set_major_formatter("{x:,g}")
    axes.set_xlim(left=0)
    axes.margins(y=0.12)
    signs = [
        Line2D([], [], linestyle="", marker="o", color=COLOURS[index % len(COLOURS)], label=name)
        for index, name in enumerate(key.plans)
    ]
    for index, value in enumerate(key.fields.get(key.shape, [])):
        words = f"{key.shape.replace('_', ' ')} {value}"
        signs.append(Line2D([], [], linestyle="", marker=SHAPES[index % 4], color="#1b1f24", label=words))
    for index, value in enumerate(key.fields.get(key.fill, [])):
        words = f"{key.fill.replace('_', ' ')} {value}"
        face = "white" if index else "#1b1f24"
        signs.append(Line2D([], [], linestyle="", marker="o", color="#1b1f24", markerfacecolor=face, label=words))
    axes.legend(handles=signs, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=8)
    figure.canvas.draw()  # lays the axes out, so that places are known
    _name(axes, marks, front, key)
    made = {}
    with matplotlib.rc_context({"svg.hashsalt": "edge-mpq"}):
        for form in ("png", "svg"):
            stream = io.BytesIO()
            # The same data is to give the same bytes.
            figure.savefig(stream, format=form, facecolor="white", metadata={"Date": None} if form == "svg" else None)
            made[form] = stream.getvalue()
    return made


def _name(axes, marks, front, key) -> None:
    """Write the names of the front beside its marks, off other marks and names; in points, y downwards."""
    from matplotlib import patheffects

    pixels = DPI / 72
    box = axes.get_window_extent()
    frame = Box(box.x0 / pixels, -box.y1 / pixels, box.x1 / pixels, -box.y0 / pixels)

    def at(mark: Mark) -> tuple[float, float]:
        x, y = axes.transData.transform((mark.point.fps, 100 * mark.share))
        return float(x / pixels), float(-y / pixels)

    names = [tradeoff_picture.label(mark, key) for mark in front]
    sizes = [(len(name) * LETTER, 10.0) for name in names]
    for name, label in zip(names, place([at(m) for m in front], sizes, frame, [at(m) for m in marks]), strict=True):
        left, right = label.box.left, label.box.right
        x, side = {"start": (left, "left"), "end": (right, "right"), "middle": ((left + right) / 2, "center")}[
            label.anchor
        ]
        where = x * pixels, -(label.box.top + label.box.bottom) / 2 * pixels
        text = axes.text(*axes.transData.inverted().transform(where), name, fontsize=8, ha=side, va="center", zorder=4)
        text.set_path_effects([patheffects.withStroke(linewidth=2.5, foreground="white")])
