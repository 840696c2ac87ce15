"""Where it burns: the share of the picture on fire, its hot spots, and with a flight log area and places.

A hot spot is a connected part of the mask, touching at sides or corners, of at least LEAST
of the picture's pixels; smaller ones count in the share alone.  At most MOST are framed, the
largest first; its centre is the mean of its pixels.
"""

import cv2
import numpy as np

from apps.stream.views.base import View

TASKS, FACTS, MASK = ("segment",), ("fire_share", "fire_m2", "hot_spots", "lat", "lon"), True
LEAST, MOST = 1e-4, 8


def look(frame, answer, scene):
    """The View of one Answer of a segmenter; ``lat`` and ``lon``: the largest hot spot with a place."""
    burns = (answer.mask == scene.watched).view(np.uint8)
    ground = scene.ground(frame)
    facts = {"fire_share": round(int(np.count_nonzero(burns)) / float(burns.size), 5)}
    area = ground.area_m2(burns) if ground is not None else None
    if area is not None:
        facts["fire_m2"] = round(area, 1)
    found = spots(burns)
    facts["hot_spots"] = len(found)
    boxes = []
    for (left, top, wide, high, pixels), (x, y) in found[:MOST]:
        point = ground.point(x, y) if ground is not None else None
        if point is None:
            text = "{:.2g} %".format(100.0 * pixels / burns.size)
        else:
            text = "{:.5f}, {:.5f}".format(*point)
            facts.setdefault("lat", round(point[0], 6))
            facts.setdefault("lon", round(point[1], 6))
        boxes.append((left, top, wide, high, text))
    return View(facts, boxes)


def spots(burns):
    """[((left, top, wide, high, pixels), (x, y) of the centre)] of the mask ``burns`` [H, W], largest first."""
    # Most frames of most flights have none, and labelling a 4K frame takes a while.
    if not burns.any():
        return []
    _, _, boxes, centres = cv2.connectedComponentsWithStats(burns, connectivity=8)
    order = np.argsort(-boxes[1:, cv2.CC_STAT_AREA], kind="stable") + 1
    kept = [number for number in order if boxes[number, cv2.CC_STAT_AREA] >= LEAST * burns.size]
    # A centre is that of pixel (0, 0), the ground's corner half a pixel before it.
    return [(tuple(int(side) for side in boxes[number]), tuple(centres[number] + 0.5)) for number in kept]
