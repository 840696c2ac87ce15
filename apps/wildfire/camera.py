"""What a camera does to a scene: exposure, colour cast, vignette, blur, grain, compression.

Axis letters: H rows, W columns.
"""

from typing import NamedTuple

import cv2
import numpy as np

from apps.wildfire.noise import Array, Rng, between
from apps.wildfire.paint import clip, spread, tint


class Camera(NamedTuple):
    """gain: RGB exposure and cast.  saturation: 1 leaves colours.  vignette: light lost in the corners.
    bend: contrast, from -0.5 (hazy lens) to 1 (film).  blur: deviation as a share of the shorter side.
    grain: largest noise.  quality: of the JPEG it stores.
    """

    gain: tuple[float, float, float]
    saturation: float
    vignette: float
    bend: float
    blur: float
    grain: float
    quality: int


def draw_camera(rng: Rng) -> Camera:
    """A camera at random, from a good one to old film with a strong cast."""
    cast = 0.04 if rng.random() < 0.85 else 0.1
    gain = np.exp(rng.normal(0, 0.2) + rng.normal(0, cast, 3))
    return Camera(
        gain=(float(gain[0]), float(gain[1]), float(gain[2])),
        saturation=float(np.exp(rng.normal(-0.03, 0.2))),
        vignette=float(rng.uniform(0.025, 0.15)) if rng.random() < 0.5 else 0.0,
        bend=float(np.clip(rng.normal(0.15, 0.35), -0.5, 0.9)),
        blur=between(rng, 0.0008, 0.006) if rng.random() < 0.45 else 0.0,
        grain=float(rng.uniform(0, 0.03)) if rng.random() < 0.6 else 0.004,
        quality=int(rng.integers(45, 97)),
    )


def develop(camera: Camera, picture: Array, rng: Rng) -> Array:
    """The picture ``camera`` takes of a scene (float32 RGB [H, W, 3] from 0 to 1): uint8 [H, W, 3]."""
    rows, columns = picture.shape[:2]
    picture = tint(picture, camera.gain)
    grey = spread(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY))
    picture = grey + (picture - grey) * np.float32(camera.saturation)
    if camera.vignette:
        y = np.linspace(-1, 1, rows, dtype=np.float32)[:, None]
        x = np.linspace(-1, 1, columns, dtype=np.float32)[None]
        picture = picture * spread(1 - np.float32(2 * camera.vignette) * (x * x + y * y))
    picture = clip(picture)
    picture = picture + np.float32(camera.bend) * (picture * picture * (3 - 2 * picture) - picture)
    if camera.blur:
        picture = cv2.GaussianBlur(picture, (0, 0), 0.3 + min(rows, columns) * camera.blur)
    grain = rng.random((rows, columns), np.float32) - np.float32(0.5)
    picture = clip(picture + spread(grain * np.float32(2 * camera.grain)))
    return compress((picture * np.float32(255) + np.float32(0.5)).astype(np.uint8), camera.quality)


def compress(picture: Array, quality: int) -> Array:
    """``picture`` uint8 RGB [H, W, 3] after a JPEG round trip."""
    _, data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert decoded is not None
    return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)
