"""Forest seen straight from above: soil, meadow, rock, snow, water, paths and tree crowns with their shadows.

Axis letters: H rows, W columns.
"""

from typing import NamedTuple

import cv2
import numpy as np

from apps.wildfire.noise import Array, Rng, between, line, octaves, step
from apps.wildfire.paint import clip, mix, spread, tint
from apps.wildfire.seasons import Light, Season


class View(NamedTuple):
    """A scene before anything burns.

    back: picture behind a fire, float32 RGB [H, W, 3] from 0 to 1.  front, cover: what stands
    before a fire and how much of it hides, [H, W, 3] and [H, W].  horizon: first row of ground,
    0 seen from above.  base: row where a fire may stand.  upright: whether flames rise towards the top of the picture.
    """

    back: Array
    front: Array
    cover: Array
    horizon: int
    base: float
    upright: bool


def from_above(rng: Rng, rows: int, columns: int, season: Season, light: Light, spacing: float = 0.0) -> View:
    """A forest below the camera; ``spacing`` between trees in pixels, 0 to draw one."""
    spacing = max(spacing or min(rows, columns) * between(rng, 0.03, 0.18), 4.0)
    picture, crowns = paint_forest(rng, rows, columns, season, light, spacing)
    # Where a fire creeps below the canopy, crowns hide parts of it.
    hidden = crowns * np.float32(0.9 if rng.random() < 0.3 else 0.0)
    return View(picture, picture, hidden, 0, float(rng.uniform(0.2, 0.95)) * rows, False)


def paint_forest(rng: Rng, rows: int, columns: int, season: Season, light: Light,
                 spacing: float) -> tuple[Array, Array]:  # fmt: skip
    """Ground and trees from above, [H, W, 3], and the share of each pixel that is crown, [H, W]."""
    return _crowns(rng, paint_ground(rng, rows, columns, season, spacing), season, light, spacing)


def paint_ground(rng: Rng, rows: int, columns: int, season: Season, grain: float) -> Array:
    """Ground without trees, [H, W, 3]; ``grain``: pixels of its middle features."""
    size = min(rows, columns)
    broad = octaves(rng, rows, columns, size * between(rng, 0.2, 0.7), 4)
    rough = octaves(rng, rows, columns, grain, 5, 0.75)
    meadow = step(broad + np.float32(0.5) * rough, *_edge(rng))
    ground = cv2.merge([np.float32(soil) + np.float32(grass - soil) * meadow
                        for soil, grass in zip(season.soil, season.grass, strict=True)])  # fmt: skip
    if rng.random() < 0.25:
        stone = np.float32(rng.uniform(0.35, 0.75)) * np.array([1.06, 1.0, rng.uniform(0.75, 1.0)], np.float32)
        ground = mix(ground, stone, step(rough - 0.5 * broad, 0.6, 1.2))
    if season.snow > 0.1:
        edge = 2.2 - 4.4 * season.snow
        drifts = step(broad * 0.8 - rough * 0.5, edge, edge + between(rng, 0.3, 1.5))
        ground = mix(ground, (0.86, 0.89, 0.93), drifts)
    ground = ground * spread(1 + np.float32(rng.uniform(0.08, 0.22)) * rough)
    if rng.random() < 0.12:
        ground = mix(ground, _water(rng), step(-broad, 1.0, 1.1))
    if rng.random() < 0.35:
        _path(rng, ground, max(1, int(grain * rng.uniform(0.15, 0.6))))
    return clip(ground, 0.01)


def _edge(rng: Rng) -> tuple[float, float]:
    middle = rng.uniform(-1, 1)
    half = between(rng, 0.3, 1.5)
    return middle - half, middle + half


def _water(rng: Rng) -> Array:
    depth = np.exp(rng.normal(0, 0.35)) * np.exp(rng.normal(0, 0.1, 3))
    return (np.array([0.20, 0.25, 0.27]) * depth).astype(np.float32)


def _path(rng: Rng, ground: Array, wide: int) -> None:
    rows, columns = ground.shape[:2]
    count = 24
    along = np.linspace(-0.1, 1.1, count) * max(rows, columns) * 1.4
    across = line(rng, count, 8.0) * min(rows, columns) * 0.12
    angle = rng.uniform(0, np.pi)
    start = np.array([columns, rows]) * rng.uniform(0.2, 0.8, 2)
    x = start[0] + (along - along.mean()) * np.cos(angle) - across * np.sin(angle)
    y = start[1] + (along - along.mean()) * np.sin(angle) + across * np.cos(angle)
    colour = np.array([0.66, 0.57, 0.45]) * rng.uniform(0.75, 1.25)
    points = np.stack([x, y], 1).round().astype(np.int32)
    cv2.polylines(ground, [points], False, tuple(map(float, colour)), wide, cv2.LINE_AA)


def _crowns(rng: Rng, ground: Array, season: Season, light: Light, spacing: float) -> tuple[Array, Array]:
    """Trees on ``ground``: the picture and the share of each pixel that is crown, [H, W].

    Every pixel belongs to its nearest tree (a distance transform with labels), so the cost does
    not depend on the number of trees.
    """
    rows, columns = ground.shape[:2]
    y, x = _seeds(rng, rows, columns, spacing)
    empty = np.ones((rows, columns), np.uint8)
    empty[y, x] = 0
    distance, labels = cv2.distanceTransformWithLabels(empty, cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL)
    tree = np.zeros(labels.max() + 1, np.int32)
    tree[labels[y, x]] = np.arange(len(y))
    owner = tree[labels]

    stand = octaves(rng, rows, columns, min(rows, columns) * between(rng, 0.15, 0.6), 3)
    grown = stand[y, x] > rng.uniform(-2.4, 1.3)
    radius = spacing * rng.uniform(0.35, 0.8, len(y)).astype(np.float32) * grown + np.float32(1e-3)
    leaf = octaves(rng, rows, columns, max(spacing * 0.4, 2.0), 3, 0.8)
    height = 1 - (distance * (1 + 0.22 * leaf) / radius[owner]) ** 2
    if rng.random() < 0.4:  # needle trees: a star of branches
        angle = cv2.phase(
            (np.arange(columns, dtype=np.float32)[None] - x[owner].astype(np.float32)),
            (np.arange(rows, dtype=np.float32)[:, None] - y[owner].astype(np.float32)),
        )
        rim = np.sqrt(1 - np.minimum(height, 1))
        height -= np.float32(0.35) * (1 + np.cos(angle * 7 + owner.astype(np.float32))) * rim
    height[~grown[owner]] = -1
    crowns = step(height, 0.0, 0.25)
    height = cv2.GaussianBlur(np.maximum(height, 0), (0, 0), max(0.6, spacing * 0.06))

    sun = np.array([np.cos(light.azimuth), np.sin(light.azimuth)]) * (0.35 + 0.9 * light.low)
    move = np.array([[1, 0, -sun[0] * spacing], [0, 1, -sun[1] * spacing]], np.float32)
    shadow = cv2.warpAffine(crowns, move, (columns, rows), borderMode=cv2.BORDER_REFLECT)
    picture = ground * spread(1 - np.float32(rng.uniform(0.3, 0.65)) * shadow)

    near = spacing * 0.15
    move = np.array([[1, 0, -np.cos(light.azimuth) * near], [0, 1, -np.sin(light.azimuth) * near]], np.float32)
    slope = height - cv2.warpAffine(height, move, (columns, rows), borderMode=cv2.BORDER_REFLECT)
    shade = (0.45 + 0.6 * height + np.float32(1.1) * slope) * (1 + np.float32(0.22) * leaf)
    colours = np.array(season.crowns, np.float32)[rng.integers(0, len(season.crowns), len(y))]
    colours *= np.exp(rng.normal(0, 0.15, (len(y), 1))).astype(np.float32)
    thin = np.where(rng.random(len(y)) < season.bare, 0.45, 1.0).astype(np.float32)
    cover = crowns * thin[owner]
    leaves = np.take(colours, owner, 0) * spread(clip(shade, 0.12, 1.9))
    return clip(tint(mix(picture, leaves, cover), light.tint)), cover


def _seeds(rng: Rng, rows: int, columns: int, spacing: float) -> tuple[Array, Array]:
    y, x = np.meshgrid(np.arange(0, rows, spacing), np.arange(0, columns, spacing), indexing="ij")
    shake = rng.uniform(-0.5, 0.5, (2, *y.shape)) * spacing * 0.9
    y = np.clip(y + shake[0], 0, rows - 1).astype(np.int64).ravel()
    x = np.clip(x + shake[1], 0, columns - 1).astype(np.int64).ravel()
    _, once = np.unique(y * columns + x, return_index=True)
    return y[once], x[once]
