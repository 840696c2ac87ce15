"""A moving scene to run the camera loop on where there is no camera: a flickering
warm blob that wanders over dark green ground and goes out half of the time."""

import numpy as np

LIT_FRAMES = 48
WARM = np.array([60, 160, 255], np.float32)


class Scene(object):
    """Pictures [rows, columns, 3] uint8 BGR; the same for the same index and size."""

    def __init__(self, columns=640, rows=480):
        random = np.random.RandomState(7)
        coarse = random.randint(0, 40, (rows // 8 + 1, columns // 8 + 1, 1))
        ground = np.kron(coarse, np.ones((8, 8, 1)))[:rows, :columns] * [0.6, 1.2, 0.8] + [20, 50, 25]
        self._ground = ground.astype(np.uint8)
        self._radius = radius = max(1, min(rows, columns) // 8)
        down, across = np.ogrid[-radius : radius + 1, -radius : radius + 1]
        self._falloff = np.exp((down**2 + across**2) / (-0.3 * radius**2)).astype(np.float32)[:, :, None]
        self._flicker = random.uniform(0.7, 1.0, 64).astype(np.float32)

    def picture(self, index):
        """The picture at ``index`` (0, 1, ...); it belongs to the caller."""
        picture = self._ground.copy()
        if index // LIT_FRAMES % 2:
            return picture
        rows, columns, size = picture.shape[0], picture.shape[1], 2 * self._radius + 1
        top = int((0.5 + 0.4 * np.sin(index / 17.0)) * max(0, rows - size))
        left = int((0.5 + 0.4 * np.cos(index / 29.0)) * max(0, columns - size))
        under = picture[top : top + size, left : left + size]
        light = self._falloff[: under.shape[0], : under.shape[1]] * self._flicker[index % len(self._flicker)]
        under[:] = under + light * (WARM - under)
        return picture
