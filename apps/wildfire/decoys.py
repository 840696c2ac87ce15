"""Things that are no fire and look like it: red roofs, vehicles, people in orange, glint, rock, autumn bushes.

Every decoy draws itself into a picture at (x, y) with a size in pixels; they are laid into
scenes with and without fire alike.
"""

from collections.abc import Callable

import cv2
import numpy as np

from apps.wildfire.noise import Array, Rng, between, octaves, step
from apps.wildfire.paint import clip, mix
from apps.wildfire.seasons import Light
from apps.wildfire.smoke import place, plume, smoke

Draw = Callable[[Rng, Array, float, float, float, Light], None]
_VIVID = np.array([(0.85, 0.15, 0.10), (0.95, 0.45, 0.08), (0.95, 0.80, 0.15), (0.90, 0.90, 0.90), (0.75, 0.25, 0.20)])


def scatter(rng: Rng, picture: Array, light: Light, horizon: int, size: float, count: int) -> None:
    """Lay ``count`` decoys of about ``size`` pixels on the ground of ``picture``, in place."""
    rows, columns = picture.shape[:2]
    for _ in range(count):
        draw = _DECOYS[int(rng.choice(len(_DECOYS), p=_SHARES))]
        if draw is _roof and horizon > 0:  # a roof is drawn from above
            draw = _vehicle
        near = float(rng.uniform(0.05, 1.0))
        grown = size * between(rng, 0.4, 1.6) * (1.0 if horizon == 0 else 0.3 + near)
        draw(rng, picture, float(rng.uniform(0, columns)), horizon + (rows - horizon) * near, grown, light)


def _patch(picture: Array, x: float, y: float, high: float, wide: float) -> tuple[slice, slice] | None:
    rows, columns = picture.shape[:2]
    top, bottom = int(max(0, y - high / 2)), int(min(rows, y + high / 2 + 1))
    left, right = int(max(0, x - wide / 2)), int(min(columns, x + wide / 2 + 1))
    return (slice(top, bottom), slice(left, right)) if bottom - top > 3 and right - left > 3 else None


def _blob(rng: Rng, rows: int, columns: int, ragged: float, cell: float) -> tuple[Array, Array]:
    """A ragged spot in a field: its cover and its texture, [H, W]."""
    y = np.linspace(-1, 1, rows, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, columns, dtype=np.float32)[None]
    texture = octaves(rng, rows, columns, max(2.0, cell), 4, 0.8)
    return step(1 - np.sqrt(x * x + y * y) + np.float32(ragged) * texture - np.float32(0.25), 0.0, 0.2), texture


def _spot(rng: Rng, picture: Array, x: float, y: float, high: float, wide: float, paint: Array, ragged: float,
          contrast: float, cell: float) -> None:  # fmt: skip
    where = _patch(picture, x, y, high, wide)
    if where is None:
        return
    part = picture[where]
    cover, texture = _blob(rng, part.shape[0], part.shape[1], ragged, cell)
    bright = clip(1 + np.float32(contrast) * texture, 0.15, 1.7)
    picture[where] = clip(mix(part, cv2.merge([bright * np.float32(value) for value in paint]), cover))


def _box(rng: Rng, picture: Array, x: float, y: float, wide: float, high: float, paint: Array, angle: float) -> None:
    corners = cv2.boxPoints(((x, y), (wide, high), np.degrees(angle))).round().astype(np.int32)
    cv2.fillConvexPoly(picture, corners, tuple(float(v) for v in np.clip(paint, 0, 1)), cv2.LINE_AA)


def _roof(rng: Rng, picture: Array, x: float, y: float, size: float, light: Light) -> None:
    paint = np.array([0.62, 0.26, 0.16]) * np.exp(rng.normal(0, 0.25, 3)) * light.tint
    angle, narrow = rng.uniform(0, np.pi), size * rng.uniform(0.3, 0.45)
    aside = np.array([-np.sin(angle), np.cos(angle)]) * narrow / 2
    _box(rng, picture, x + 0.2 * size, y + 0.15 * size, size, narrow * 2, np.array([0.12, 0.12, 0.13]), angle)
    _box(rng, picture, x - aside[0], y - aside[1], size, narrow, paint * 1.15, angle)
    _box(rng, picture, x + aside[0], y + aside[1], size, narrow, paint * 0.7, angle)


def _vehicle(rng: Rng, picture: Array, x: float, y: float, size: float, light: Light) -> None:
    paint = _VIVID[int(rng.integers(0, len(_VIVID)))] * rng.uniform(0.7, 1.05) * light.tint
    angle = rng.uniform(0, np.pi) if rng.random() < 0.5 else 0.0
    size *= 0.6
    _box(rng, picture, x, y, size * 1.05, size * 0.55, paint * 0.45, angle)
    _box(rng, picture, x, y - 0.05 * size, size, size * 0.42, paint, angle)
    _box(rng, picture, x + 0.12 * size * np.cos(angle), y - 0.08 * size, size * 0.45, size * 0.3, paint * 0.75, angle)
    _box(rng, picture, x + 0.3 * size * np.cos(angle), y, size * 0.1, size * 0.32, np.array([0.1, 0.13, 0.16]), angle)


def _person(rng: Rng, picture: Array, x: float, y: float, size: float, light: Light) -> None:
    high = size * 0.8
    shirt = _VIVID[int(rng.integers(0, len(_VIVID)))] * rng.uniform(0.7, 1.0) * light.tint
    _box(rng, picture, x, y - 0.22 * high, high * 0.18, high * 0.46, np.array([0.16, 0.17, 0.22]), 0.0)
    _box(rng, picture, x, y - 0.60 * high, high * 0.26, high * 0.34, shirt, float(rng.normal(0, 0.1)))
    helmet = tuple(float(v) for v in _VIVID[int(rng.integers(0, len(_VIVID)))])
    cv2.circle(picture, (int(x), int(y - 0.86 * high)), max(1, int(high * 0.09)), helmet, -1, cv2.LINE_AA)


def _glint(rng: Rng, picture: Array, x: float, y: float, size: float, light: Light) -> None:
    """The sun in ripples: short bright dashes, white or gold, without a red rim."""
    gold = np.array([1.0, 0.97, 0.88]) if rng.random() < 0.6 else np.array([1.0, 0.82, 0.45])
    for px, py in rng.normal(0, 1, (int(rng.integers(8, 30)), 2)) * (size * 0.6, size * 0.25) + (x, y):
        half = size * 0.06 * rng.random() + 1
        ends = (int(px - half), int(py)), (int(px + half), int(py))
        cv2.line(picture, *ends, tuple(float(v) for v in gold), max(1, int(size * 0.02)), cv2.LINE_AA)


def _rock(rng: Rng, picture: Array, x: float, y: float, size: float, light: Light) -> None:
    paint = np.array([0.80, 0.55, 0.34]) * np.exp(rng.normal(0, 0.14, 3)) * light.tint
    _spot(rng, picture, x, y, size, size * rng.uniform(1, 2.5), paint, 0.25, 0.22, size * 0.3)


def _bush(rng: Rng, picture: Array, x: float, y: float, size: float, light: Light) -> None:
    """A bush or tree in full autumn colour: the same hues as a flame, leaf by leaf."""
    paint = np.array([(0.88, 0.42, 0.08), (0.75, 0.20, 0.08), (0.92, 0.66, 0.14)])[int(rng.integers(0, 3))]
    paint = paint * np.exp(rng.normal(0, 0.12, 3)) * light.tint
    _spot(rng, picture, x, y, size * 1.2, size * rng.uniform(0.8, 2), paint, 0.22, 0.42, size * rng.uniform(0.06, 0.5))


def _soil(rng: Rng, picture: Array, x: float, y: float, size: float, light: Light) -> None:
    paint = np.array([0.70, 0.38, 0.20]) * np.exp(rng.normal(0, 0.15, 3)) * light.tint
    _spot(rng, picture, x, y, size, size * rng.uniform(1.5, 5), paint, 0.3, 0.14, size * 0.15)


def _dust(rng: Rng, picture: Array, x: float, y: float, size: float, light: Light) -> None:
    rows, columns = picture.shape[:2]
    density, shine = plume(int(rng.integers(0, 2**31)))
    angle = float(rng.normal(0, 1.0))
    density = place(density, rows, columns, x, y, size * 2.5, size * 2, angle) * np.float32(rng.uniform(0.4, 0.9))
    shine = place(shine, rows, columns, x, y, size * 2.5, size * 2, angle)
    shade = np.array([0.80, 0.64, 0.46], np.float32) * np.float32(rng.uniform(0.7, 1.15))
    picture[:] = smoke(picture, density, shine, shade)


def _dapple(rng: Rng, picture: Array, x: float, y: float, size: float, light: Light) -> None:
    """Sun on dry grass: bright, yellow, hard-edged."""
    paint = np.array([1.0, 0.85, 0.50]) * rng.uniform(0.8, 1.1)
    _spot(rng, picture, x, y, size * 0.8, size * rng.uniform(1, 4), paint, 0.35, 0.2, size * 0.4)


def _log(rng: Rng, picture: Array, x: float, y: float, size: float, light: Light) -> None:
    """The cut face of a trunk: an orange disc with rings."""
    paint = np.array([0.82, 0.55, 0.30]) * np.exp(rng.normal(0, 0.12, 3)) * light.tint
    axes = max(2, int(size * 0.4)), max(2, int(size * rng.uniform(0.25, 0.4)))
    for ring in (1.0, 0.9, 0.72, 0.55, 0.4, 0.2):
        tone = paint * (0.45 if ring == 1.0 else rng.uniform(0.8, 1.15))
        radii = max(1, int(axes[0] * ring)), max(1, int(axes[1] * ring))
        shade = tuple(float(v) for v in np.clip(tone, 0, 1))
        cv2.ellipse(picture, (int(x), int(y)), radii, 0, 0, 360, shade, -1, cv2.LINE_AA)


_DECOYS: tuple[Draw, ...] = (_roof, _vehicle, _person, _glint, _rock, _bush, _soil, _dust, _dapple, _log)
_SHARES = np.array((1.2, 1.0, 1.0, 0.7, 1.0, 2.2, 1.0, 0.6, 1.2, 0.5)) / 10.4
