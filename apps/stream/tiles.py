"""A frame read in overlapping tiles, so that a small fire in a large frame keeps its pixels.

Axis letters: H, W rows and columns of the frame, N tiles, h, w of the model's output, K classes.
"""

import numpy as np

from apps.stream import decode
from edge_mpq.engines import inputs

# The least overlap of neighbours, as a part of a tile.
OVERLAP = 0.25


class Tiles(object):
    """A reader (readers.py) of tiles ``side`` columns wide, in the shape of the model's input.

    side: in pixels of the frame; by default the model's own width, at which it sees the frame unscaled.  A
    frame smaller than a tile gets a black border below and on the right.  To segment, the
    logits of the tiles are blended into one picture, each counting less towards its edges, and
    that is decoded.  To classify, the tile in which class ``watched`` stands highest against its
    rivals decides alone, and the Answer has its box.  What is kept is float32: the tiles, the
    logits of all, and one picture of logits as fine as the tiles are.
    """

    def __init__(self, bundle, side=None, watched=1):
        self._bundle, self._watched = bundle, watched
        # Every tile has the shape of the input, so that how it is fitted makes no difference.
        self._recipe = inputs.from_json(bundle.recipe)._replace(fit="stretch")
        self.side = side or self._recipe.width
        self._high = max(1, int(round(self.side * self._recipe.height / float(self._recipe.width))))

    def prepare(self, pixels):
        """What the engine is shown of a frame: float32 [N, 3, height, width], row by row."""
        rows, columns = pixels.shape[:2]
        below, right = max(0, self._high - rows), max(0, self.side - columns)
        if below or right:
            pixels = np.pad(pixels, ((0, below), (0, right)) + ((0, 0),) * (pixels.ndim - 2), "constant")
        high, wide = self._high, self.side
        parts = [pixels[top : top + high, left : left + wide] for top, left in self._corners(rows, columns)]
        return inputs.batch(parts, self._recipe)

    def decode(self, engine, outputs, shape, shift=None, mask=True):
        """The Answer in ``outputs`` for a frame of ``shape``, as Whole gives it."""
        logits = outputs[0]
        if self._bundle.task == "segment":
            joined = self._joined(logits, *shape) if logits.ndim == 4 else logits
            return decode.decode(engine, [joined], self._bundle, self._recipe, shape if mask else None, shift)
        watched = self._watched if shift is None else int(np.flatnonzero(shift)[0])
        best = int(_margins(logits, watched).argmax()) if logits.ndim == 2 else 0
        answer = decode.decode(engine, [logits[best : best + 1]], self._bundle, self._recipe, None, shift)
        rows, columns = shape
        top, left = self._corners(rows, columns)[best]
        box = left, top, min(self.side, columns - left), min(self._high, rows - top)
        return answer._replace(box=None if box[2:] == (columns, rows) else box)

    def _corners(self, rows, columns):
        """[(top, left)] of every tile, row by row."""
        return [(top, left) for top in starts(rows, self._high) for left in starts(columns, self.side)]

    def _joined(self, logits, rows, columns):
        """One picture of logits [1, K, ., .] from those of the tiles [N, K, h, w], without the border."""
        down = _Axis(rows, self._high, logits.shape[2])
        across = _Axis(columns, self.side, logits.shape[3])
        joined = np.zeros((logits.shape[1], down.cells, across.cells), np.float32)
        number = 0
        for top, falls in zip(down.starts, down.weights):
            for left, fades in zip(across.starts, across.weights):
                part = joined[:, top : top + down.size, left : left + across.size]
                part += logits[number] * (falls[:, None] * fades)
                number += 1
        return joined[None, :, : down.seen, : across.seen]


class _Axis(object):
    """How tiles ``tile`` pixels long, whose outputs have ``size`` cells each, lie on ``length`` pixels.

    starts: their first cells.  weights: of each, [size], float32; over the tiles on a cell they
    add up to 1.  cells: there are in all, seen: of them in the frame.
    """

    def __init__(self, length, tile, size):
        scale = size / float(tile)
        self.size, self.starts = size, [int(round(start * scale)) for start in starts(length, tile)]
        self.cells = self.starts[-1] + size
        self.seen = self.cells if length >= tile else max(1, int(round(length * scale)))
        # A tent, which is least where a neighbour knows better: a network pads at its edges.
        tent = np.minimum(np.arange(size) + 0.5, size - 0.5 - np.arange(size))
        total = np.zeros(self.cells)
        for start in self.starts:
            total[start : start + size] += tent
        self.weights = [(tent / total[start : start + size]).astype(np.float32) for start in self.starts]


def starts(length, tile):
    """Where tiles begin that cover ``length`` pixels evenly, neighbours sharing OVERLAP of ``tile`` or more."""
    if length <= tile:
        return [0]
    count = 1 + int(np.ceil((length - tile) / max(1, tile - np.ceil(OVERLAP * tile))))
    return [int(start) for start in np.linspace(0, length - tile, count)]


def _margins(logits, watched):
    """By how much class ``watched`` is above its strongest rival, [N], of logits [N, K]; one class stands for two."""
    if logits.shape[1] == 1:
        return logits[:, 0] if watched else -logits[:, 0]
    return logits[:, watched] - np.delete(logits, watched, axis=1).max(axis=1)
