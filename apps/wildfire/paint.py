"""Laying one picture on another, channel by channel.

OpenCV's per-channel operations are used instead of NumPy's broadcasting over the last axis,
which for three channels is several times slower.

Axis letters: H rows, W columns.
"""

import cv2
import numpy as np

from apps.wildfire.noise import Array


def spread(field: Array) -> Array:
    """``field`` [H, W] as three equal channels [H, W, 3]."""
    field = np.ascontiguousarray(field, np.float32)
    return cv2.merge((field, field, field))


def mix(under: Array, over: Array | tuple[float, ...], alpha: Array) -> Array:
    """``over`` (a picture or one colour) laid on the picture ``under`` [H, W, 3] by ``alpha`` [H, W]."""
    over = np.asarray(over, np.float32)
    if over.ndim == 1:
        alpha = np.ascontiguousarray(alpha, np.float32)
        return under * spread(1 - alpha) + cv2.merge([alpha * value for value in over])
    return under + (over - under) * spread(alpha)


def tint(picture: Array, colour: Array | tuple[float, ...]) -> Array:
    """``picture`` [H, W, 3] times one colour."""
    return cv2.transform(picture, np.diag(np.asarray(colour, np.float32)))


def fade(picture: Array, colour: Array, share: float) -> Array:
    """``picture`` [H, W, 3] with ``share`` of one colour in every pixel."""
    gain = np.diag(np.full(3, 1 - share, np.float32))
    return cv2.transform(picture, np.column_stack([gain, np.asarray(colour, np.float32) * np.float32(share)]))


def clip(picture: Array, low: float = 0.0, high: float = 1.0) -> Array:
    """``picture`` held between ``low`` and ``high``."""
    return np.clip(picture, np.float32(low), np.float32(high))


def put(picture: Array, over: Array, mask: Array) -> None:
    """Copy ``over`` into ``picture`` where ``mask`` (bool [H, W]) is true, in place."""
    picture[:] = cv2.copyTo(over, mask.view(np.uint8), picture)
