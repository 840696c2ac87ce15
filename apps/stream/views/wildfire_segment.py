"""Where it burns: the share of the picture on fire, its hot spots, and with a flight log area and places.

A hot spot is a connected part of the mask, touching at sides or corners, of at least LEAST
of the picture's pixels; smaller ones count in the share alone.  At most MOST are framed, the
largest first; its centre is the mean of its pixels.  In frames of more than LABELLED pixels
parts are told apart no finer than that.
"""

import cv2
import numpy as np

from apps.stream.views.base import View

TASKS, FACTS, MASK = ("segment",), ("fire_share", "fire_m2", "hot_spots", "lat", "lon"), True
LEAST, MOST = 1e-4, 8
# Telling parts apart in all pixels of a 4K frame takes longer than a small model.
LABELLED = 1 << 20


def look(frame, answer, scene):
    """The View of one Answer of a segmenter; ``lat`` and ``lon``: the largest hot spot with a place."""
    burns = cv2.inRange(answer.mask, scene.watched, scene.watched)
    ground = scene.ground(frame)
    facts = {"fire_share": round(cv2.countNonZero(burns) / float(burns.size), 5)}
    area = ground.area_m2(burns) if ground is not None else None
    if area is not None:
        facts["fire_m2"] = round(area, 1)
    found = spots(burns)
    facts["hot_spots"] = len(found)
    boxes = []
    for box, pixels, (x, y) in found[:MOST]:
        point = ground.point(x, y) if ground is not None else None
        if point is None:
            text = "{:.2g} %".format(100.0 * pixels / burns.size)
        else:
            text = "{:.5f}, {:.5f}".format(*point)
            facts.setdefault("lat", round(point[0], 6))
            facts.setdefault("lon", round(point[1], 6))
        boxes.append(box + (text,))
    return View(facts, boxes)


def spots(burns):
    """[((left, top, wide, high), pixels, (x, y) of the centre)] of what is 255 in ``burns`` [H, W], largest first."""
    rows, columns = burns.shape
    step = int(np.ceil(np.sqrt(burns.size / float(LABELLED))))
    if step > 1:
        burns = cv2.resize(burns, (-(-columns // step), -(-rows // step)), interpolation=cv2.INTER_AREA)
        burns = cv2.threshold(burns, 127, 255, cv2.THRESH_BINARY)[1]
    if not burns.any():
        return []
    across, down = columns / float(burns.shape[1]), rows / float(burns.shape[0])
    _, _, boxes, centres = cv2.connectedComponentsWithStats(burns, connectivity=8)
    pixels = boxes[:, cv2.CC_STAT_AREA] * (across * down)
    found = []
    for number in np.argsort(-pixels[1:], kind="mergesort") + 1:  # stable, and known to NumPy 1.13
        if pixels[number] >= LEAST * rows * columns:
            left, top, wide, high = (int(side) for side in boxes[number, : cv2.CC_STAT_AREA])
            right, bottom = int(np.ceil((left + wide) * across)), int(np.ceil((top + high) * down))
            left, top = int(left * across), int(top * down)
            box = left, top, min(right, columns) - left, min(bottom, rows) - top
            # A centre is that of pixel (0, 0), the ground's corner half a pixel before it.
            centre = (float(centres[number][0]) + 0.5) * across, (float(centres[number][1]) + 0.5) * down
            found.append((box, float(pixels[number]), centre))
    return found
