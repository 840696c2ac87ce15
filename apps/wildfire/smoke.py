"""Smoke, dust and fog: billowing plumes that drift, and veils over the whole picture.

Axis letters: H rows, W columns.
"""

import cv2
import numpy as np

from apps.wildfire.noise import Array, Rng, line, octaves, scroll, step
from apps.wildfire.paint import mix

_PLUME = 128  # rows and columns of the field a plume is drawn in; smoke is soft


def plume(seed: int, phase: float = 0.0) -> tuple[Array, Array]:
    """A plume that rises from the middle of the last row: its density and its light, [H, W]."""
    rng = np.random.default_rng([seed, 13])
    rows = columns = _PLUME
    up = np.linspace(1, 0, rows, dtype=np.float32)[:, None]
    sway = line(rng, rows, rows * 0.5, 2)[:, None] * 0.12 * up
    narrow, spread = np.float32(rng.uniform(0.05, 0.2)), np.float32(rng.uniform(0.3, 0.7))
    wide = narrow + spread * up ** np.float32(rng.uniform(0.6, 1.3))
    billow = scroll(octaves(rng, rows, columns, rows * float(rng.uniform(0.15, 0.4)), 5, 0.6), rows, phase)
    across = (np.linspace(-1, 1, columns, dtype=np.float32)[None] - sway + billow * 0.06) / wide
    body = np.exp(-across * across) * np.minimum(1, (1 - up) * 1.5) * np.minimum(1, up * 14 + 0.15)
    density = body * np.clip(0.9 + 0.42 * billow, 0, 1.5)
    light = 0.5 + 0.22 * (billow - np.roll(billow, (4, 4), (0, 1))) * 3 + 0.08 * billow
    return np.clip(density, 0, 1), np.clip(light, 0, 1).astype(np.float32)


def place(field: Array, rows: int, columns: int, x: float, y: float, high: float, wide: float, angle: float) -> Array:
    """``field`` with the middle of its last row at (x, y), ``high`` and ``wide`` pixels, turned by ``angle``."""
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    scale = turn @ np.diag([wide / field.shape[1], high / field.shape[0]])
    move = np.array([x, y]) - scale @ np.array([field.shape[1] / 2, field.shape[0]])
    return cv2.warpAffine(field, np.column_stack([scale, move]).astype(np.float32), (columns, rows))


def colour(rng: Rng) -> Array:
    """White, grey, brown, blue or black smoke: RGB from 0 to 1."""
    grey = rng.uniform(0.75, 0.97) if rng.random() < 0.65 else rng.uniform(0.15, 0.7)
    tint = np.array([[1.0, 1.0, 1.0], [0.93, 0.98, 1.05], [1.06, 0.97, 0.86]])[int(rng.integers(0, 3))]
    return np.clip(grey * tint, 0, 1).astype(np.float32)


def smoke(picture: Array, density: Array, light: Array, shade: Array) -> Array:
    """``picture`` behind smoke of colour ``shade``, with ``density`` and ``light`` [H, W]."""
    bright = np.float32(0.72) + np.float32(0.5) * light
    return mix(picture, cv2.merge([np.minimum(bright * value, 1) for value in shade]), density)


def veil(rng: Rng, rows: int, columns: int) -> Array:
    """A thin layer over the whole picture: its density [H, W]."""
    drift = octaves(rng, rows, columns, min(rows, columns) * float(rng.uniform(0.3, 0.9)), 5, 0.55)
    return step(drift, rng.uniform(-1.5, 0.3), rng.uniform(1.0, 2.5)) * np.float32(rng.uniform(0.15, 0.75))
