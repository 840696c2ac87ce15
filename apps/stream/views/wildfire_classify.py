"""Whether it burns: the label, and where the camera looks.

With a flight log the place is that of the picture's middle; with --tiles, where the watched
class is the answer, that of the tile it was found in, which is framed.
"""

from apps.stream.views.base import View

TASKS, FACTS, MASK = ("classify",), ("lat", "lon"), False


def look(frame, answer, scene):
    """The View of one Answer of a classifier."""
    rows, columns = frame.pixels.shape[:2]
    x, y, boxes = columns / 2.0, rows / 2.0, []
    if answer.box is not None and answer.label == scene.label:
        left, top, wide, high = answer.box
        x, y = left + wide / 2.0, top + high / 2.0
        boxes.append((left, top, wide, high, "{:.0f} %".format(100 * answer.confidence)))
    ground = scene.ground(frame)
    point = ground.point(x, y) if ground is not None else None
    return View({} if point is None else {"lat": round(point[0], 6), "lon": round(point[1], 6)}, boxes)
