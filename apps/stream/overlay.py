"""What is drawn on a frame: mask tint, boxes, label and confidence, facts, frames a second, latencies.

Text stands white on a darkened band, so it reads on any ground, and grows with the frame.
"""

from typing import List

import cv2
import numpy as np

from apps.stream.views.base import NOTHING

# Below this a letter has too few pixels to be read: smaller frames are enlarged.
LEAST_SIDE, MOST_ENLARGED = 240, 1600
FONT = cv2.FONT_HERSHEY_SIMPLEX
# Of facts in a row: about what fits beside the figures without being shrunk.
LINE = 44
# BGR of class 1, 2, ...: red for the first, then hues that keep apart.
PALETTE = [(30, 30, 255), (255, 160, 30), (40, 220, 40), (30, 220, 255), (255, 60, 200), (255, 255, 60)]


def draw(pixels, answer, figures="", view=NOTHING):
    """A new uint8 BGR picture of frame ``pixels`` with ``answer``, the line ``figures`` and a View.

    pixels: any frame preprocessing takes; it is not changed.  A frame with a
    side below 240 is enlarged by a whole factor, so the picture may be larger than it.
    """
    picture = _as_bgr(pixels)
    if answer.mask is not None:
        _tint(picture, answer.mask)
    picture = _enlarged(picture)
    lines = ["{}  {:.0f} %".format(answer.label, 100 * answer.confidence)]
    lines += _lines(view.facts)
    _write(picture, lines + [figures] if figures else lines)
    # Last: a hot spot below the text is still to be seen.
    for box in view.boxes:
        _frame(picture, box, picture.shape[0] // pixels.shape[0])
    return picture


def figures_line(fps, p50_ms, p99_ms):
    """The figures as drawn: ``28.4 FPS  p50 3.1  p99 4.2 ms``; the first frame has no rate yet."""
    rate = "{:.1f} FPS  ".format(fps) if fps else ""
    return "{}p50 {:.1f}  p99 {:.1f} ms".format(rate, p50_ms, p99_ms)


def _as_bgr(pixels):
    if pixels.dtype == np.uint16:
        pixels = cv2.convertScaleAbs(pixels, alpha=1 / 257.0)
    if pixels.ndim == 2 or pixels.shape[2] == 1:
        return cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR)
    return cv2.cvtColor(pixels, cv2.COLOR_BGRA2BGR) if pixels.shape[2] == 4 else pixels.copy()


def _tint(picture, mask):
    """Half of the class's colour where the mask is not 0, and the edge in full."""
    for number in np.flatnonzero(cv2.calcHist([mask], [0], None, [256], [0, 256])[1:]) + 1:
        colour = PALETTE[(number - 1) % len(PALETTE)]
        inside = (mask == number).view(np.uint8)
        left, top, wide, high = cv2.boundingRect(inside)
        part, here = picture[top : top + high, left : left + wide], inside[top : top + high, left : left + wide]
        tinted = cv2.add(cv2.convertScaleAbs(part, alpha=0.5), tuple(level / 2.0 for level in colour) + (0.0,))
        cv2.copyTo(tinted, here, part)
        outlines = cv2.findContours(inside, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)[-2]
        cv2.drawContours(picture, outlines, -1, colour, 1 + picture.shape[0] // 480)


def _frame(picture, box, factor):
    """A rectangle around ``box``, with its text beside it; factor: of the picture beside the frame."""
    rows, columns = picture.shape[:2]
    left, top, wide, high = (factor * extent for extent in box[:4])
    thickness, scale = 1 + rows // 480, 0.5 * max(0.85, rows / 480.0)
    cv2.rectangle(picture, (left, top), (left + wide - 1, top + high - 1), (255, 255, 255), thickness)
    if box[4]:
        (long, tall), margin = cv2.getTextSize(box[4], FONT, scale, thickness)[0], 2 + thickness
        long, tall = long + 2 * margin, tall + 2 * margin
        across = max(0, min(left, columns - long))
        # Below, else above, else inside.
        down = top + high if top + high + tall <= rows else top - tall if top >= tall else max(0, rows - tall)
        band = picture[down : down + tall, across : across + long]
        np.right_shift(band, 2, out=band)
        at = across + margin, down + tall - margin
        cv2.putText(picture, box[4], at, FONT, scale, (255, 255, 255), thickness, cv2.LINE_AA)


def _lines(facts):
    """``name value`` of all facts, as many to a line as LINE letters hold."""
    lines: List[str] = []
    for name, value in facts.items():
        # Six places: a degree's are a tenth of a metre.
        fact = "{} {}".format(name, "{:.9g}".format(round(value, 6)) if isinstance(value, float) else value)
        if lines and len(lines[-1]) + len(fact) < LINE:
            lines[-1] += "  " + fact
        else:
            lines.append(fact)
    return lines


def _enlarged(picture):
    rows, columns = picture.shape[:2]
    factor = min(-(-LEAST_SIDE // min(rows, columns)), MOST_ENLARGED // max(rows, columns))
    if factor < 2:
        return picture
    return cv2.resize(picture, (columns * factor, rows * factor), interpolation=cv2.INTER_NEAREST)


def _write(picture, lines):
    """Lines of text at the top, the first larger, each shrunk to the picture's width."""
    rows, columns = picture.shape[:2]
    margin = max(2, rows // 60)
    scales = []
    for line, size in zip(lines, [1.0] + [0.7] * (len(lines) - 1)):
        scale = size * max(0.6, rows / 480.0)
        wide = cv2.getTextSize(line, FONT, scale, 1)[0][0]
        scales.append(scale * min(1.0, (columns - 2.0 * margin) / max(1, wide)))
    heights = [int(round(32 * scale)) for scale in scales]
    band = picture[: sum(heights) + margin]
    np.right_shift(band, 2, out=band)
    bottom = 0
    for line, scale, height in zip(lines, scales, heights):
        bottom += height
        thickness = max(1, int(round(scale * 1.5)))
        cv2.putText(picture, line, (margin, bottom), FONT, scale, (255, 255, 255), thickness, cv2.LINE_AA)
