"""Pictures as a page carries them: areas painted over, small, as JPEG in base64."""

import base64
from collections.abc import Iterable

import cv2
import numpy as np

QUALITY = 85


def painted(picture: np.ndarray, areas: Iterable[tuple[np.ndarray, tuple[int, int, int]]]) -> np.ndarray:
    """A copy of RGB [H, W, 3] with each area (booleans [h, w] of any size) in its colour, through which it shows."""
    made = picture.copy()
    for area, colour in areas:
        where = cv2.resize(area.astype(np.uint8), made.shape[1::-1], interpolation=cv2.INTER_NEAREST).astype(bool)
        made[where] = (0.4 * made[where] + 0.6 * np.array(colour)).astype(np.uint8)
    return made


def encoded(picture: np.ndarray, scale: float) -> str:
    """RGB [H, W, 3], ``scale`` times as large, as a JPEG in base64."""
    size = max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale))
    fitted = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale <= 1 else cv2.INTER_CUBIC)
    data = cv2.imencode(".jpg", cv2.cvtColor(fitted, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
    return base64.b64encode(data.tobytes()).decode("ascii")
