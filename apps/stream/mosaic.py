"""The pictures of several streams as one."""

from typing import Dict

import cv2
import numpy as np

from apps.stream.overlay import FONT

WIDE, HIGH = 1280, 960


class Mosaic(object):
    """The last picture of each of ``names``, side by side in rows: at most WIDE x HIGH pixels, the same all along."""

    def __init__(self, names):
        self._names = list(names)
        self._across = int(np.ceil(np.sqrt(len(self._names))))
        down = -(-len(self._names) // self._across)
        self._wide, self._high = WIDE // self._across, HIGH // self._across
        self._told: Dict[int, str] = {}
        self._pixels = np.zeros((down * self._high, self._across * self._wide, 3), np.uint8)
        for number in range(len(self._names)):
            self.tell(number, "no frame yet")

    def show(self, number, picture):
        """Let a BGR ``picture`` be that of stream ``number``; it keeps its shape."""
        self._told.pop(number, None)
        cell = self._cell(number)
        scale = min(self._wide / float(picture.shape[1]), self._high / float(picture.shape[0]))
        wide, high = (max(1, int(round(scale * extent))) for extent in (picture.shape[1], picture.shape[0]))
        left, top = (self._wide - wide) // 2, (self._high - high) // 2
        cell[:] = 0
        way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        cv2.resize(picture, (wide, high), dst=cell[top : top + high, left : left + wide], interpolation=way)

    def tell(self, number, why):
        """Darken the picture of stream ``number`` and write over it ``why`` it stands still, once; '' does nothing."""
        if not why or number in self._told:
            return
        self._told[number] = why
        cell = self._cell(number)
        np.right_shift(cell, 1, out=cell)
        for row, line in enumerate((self._names[number], why)):
            size = cv2.getTextSize(line, FONT, 0.6, 1)[0]
            scale = 0.6 * min(1.0, (self._wide - 16.0) / max(1, size[0]))
            at = 8, self._high // 2 + 24 * row
            cv2.putText(cell, line, at, FONT, scale, (255, 255, 255), 1, cv2.LINE_AA)

    def picture(self):
        """The whole as it is now, BGR; it belongs to the caller."""
        return self._pixels.copy()

    def _cell(self, number):
        row, column = divmod(number, self._across)
        high, wide = self._high, self._wide
        return self._pixels[row * high : (row + 1) * high, column * wide : (column + 1) * wide]
