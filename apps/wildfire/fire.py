"""Flames: ragged tongues of heat, coloured from a dark red rim to a pale core.

A flame is drawn upright in a small field of its own and then placed, turned and sized
into the picture; heat adds where flames overlap.  ``phase`` moves the tongues upward for
video: two phases of one seed are two moments of one fire.

Axis letters: H rows, W columns.
"""

from typing import NamedTuple

import cv2
import numpy as np

from apps.wildfire.noise import Array, Rng, between, line, octaves, scroll, step
from apps.wildfire.paint import mix

_STOPS = np.array([0.0, 0.18, 0.38, 0.6, 0.8, 1.0])
_RAMPS = np.array([  # deep red, orange day, overexposed, red film
    [(.30, .05, .02), (.62, .12, .03), (.86, .27, .05), (.96, .48, .12), (1.0, .70, .30), (1.0, .86, .55)],
    [(.40, .12, .03), (.78, .28, .05), (.95, .46, .08), (1.0, .66, .18), (1.0, .86, .42), (1.0, .97, .80)],
    [(.62, .28, .10), (.93, .52, .14), (1.0, .73, .28), (1.0, .87, .48), (1.0, .96, .74), (1.0, 1.0, .95)],
    [(.50, .05, .08), (.85, .17, .15), (.98, .35, .25), (1.0, .55, .36), (1.0, .78, .55), (1.0, .94, .84)],
])  # fmt: skip


class Flame(NamedTuple):
    """One burning place: its foot at (x, y), ``wide`` and ``high`` in pixels, ``slope`` of its foot
    over its width, ``lean`` of its tongues in pixels a pixel of height, the seed of its shape, and the
    share of its height below the foot: a tenth from the side, up to half seen from above."""

    x: float
    y: float
    wide: float
    high: float
    slope: float
    lean: float
    seed: int
    below: float = 0.1


def tongues(seed: int, rows: int, columns: int, below: float = 0.1, phase: float = 0.0) -> Array:
    """The heat of one flame that fills a field, float32 [H, W] from 0 to 1; ``below`` as in :class:`Flame`."""
    rng = np.random.default_rng([seed, 11])
    foot = rows * (1 - below)
    tongue = max(2.0, rows * float(rng.uniform(0.08, 0.36)))
    # The foot follows uneven ground.
    ground = line(rng, columns, tongue * 1.5)[None] * np.float32(0.03)
    up = (foot - np.arange(rows, dtype=np.float32))[:, None] / np.float32(foot) - ground
    sway = scroll(octaves(rng, rows, columns, tongue * 1.2, 3, 0.7, 1.6), rows, phase)
    texture = scroll(octaves(rng, rows, columns, tongue * 0.7, 4, 0.8, 2.0), rows, phase * 1.7)
    spikes = line(rng, columns, tongue, 3, 0.75)
    if phase:
        spikes = spikes * 0.7 + 0.45 * np.sin(phase * 9 + np.arange(columns, dtype=np.float32) / tongue)
    across = np.abs(np.linspace(-1, 1, columns, dtype=np.float32))
    taper = np.sqrt(1 - across ** (2 if columns < rows * 2 else 6))
    reach = np.clip(0.52 + 0.24 * spikes, 0.08, 1.0) * taper + np.float32(1e-3)
    column = np.arange(columns, dtype=np.float32)[None] + sway * np.maximum(up, 0) * np.float32(0.45 * tongue)
    reach = reach[np.clip(column, 0, columns - 1).astype(np.int32)]
    depth = np.float32(below / (1 - below)) * taper * np.clip(0.6 + 0.3 * line(rng, columns, tongue * 0.7), 0.1, 1)
    body = np.maximum(np.where(up >= 0, 1 - up / reach, 1 + up / (depth + np.float32(1e-3))), -0.5)
    holes = np.float32(rng.uniform(0.25, 0.65))
    heat = np.float32(1.15) * body + holes * texture * np.clip(up + 0.45, 0, 1) - np.float32(0.08)
    return np.clip(heat, 0, 1) * (taper > 0.05)


def heat_of(flames: list[Flame], rows: int, columns: int, phase: float = 0.0) -> Array:
    """The heat of all ``flames`` in a picture of ``rows`` and ``columns``: float32 [H, W] from 0 to 1."""
    canvas = np.zeros((rows, columns), np.float32)
    for flame in flames:
        # The field is no finer than 256 pixels: larger flames are enlarged.
        shrink = min(1.0, 256 / max(flame.high, flame.wide))
        high, wide = max(6, int(flame.high * shrink)), max(6, int(flame.wide * shrink))
        field = tongues(flame.seed, high, wide, flame.below, phase)
        scale_x, scale_y = flame.wide / wide, flame.high / high
        middle, foot = wide / 2, high * (1 - flame.below)
        tilt = np.array([
            [scale_x, -flame.lean * scale_y, flame.x - middle * scale_x + foot * flame.lean * scale_y],
            [flame.slope * scale_x, scale_y, flame.y - foot * scale_y - middle * flame.slope * scale_x],
        ])  # fmt: skip
        corners = tilt @ np.array([[0, wide, 0, wide], [0, 0, high, high], [1, 1, 1, 1]], float)
        left, top = np.floor(corners.min(1)).astype(int)
        right, bottom = np.ceil(corners.max(1)).astype(int) + 1
        left, top, right, bottom = max(left, 0), max(top, 0), min(right, columns), min(bottom, rows)
        if right <= left or bottom <= top:
            continue
        tilt[:, 2] -= (left, top)
        placed = cv2.warpAffine(field, tilt.astype(np.float32), (right - left, bottom - top))
        part = canvas[top:bottom, left:right]
        np.maximum(part, placed, out=part)
    return canvas


def ramp(rng: Rng) -> Array:
    """Colours of heat 0 to 255 as one camera sees them, float32 [256, 3]."""
    mixed = rng.dirichlet((0.4, 0.8, 0.45, 0.6)).astype(np.float32)
    stops = np.tensordot(mixed, _RAMPS, 1)
    heat = np.linspace(0, 1, 256) ** rng.uniform(0.7, 1.5)
    return np.stack([np.interp(heat, _STOPS, stops[:, channel]) for channel in range(3)], 1).astype(np.float32)


def opacity(heat: Array) -> Array:
    """How much flames of ``heat`` hide what is behind them, [H, W] from 0 to 1."""
    return step(heat, 0.02, 0.3)


def burn(picture: Array, heat: Array, colours: Array, dense: float = 1.0) -> Array:
    """``picture`` with flames of ``heat`` over it, in ``colours`` as :func:`ramp` gives them.

    dense: how opaque the hottest flame is.
    """
    flames = np.take(colours, (heat * np.float32(255)).astype(np.uint8), 0)
    return mix(picture, flames, opacity(heat) * np.float32(dense))


def glow(picture: Array, heat: Array, strength: float) -> Array:
    """``picture`` lit by the flames' light, which spreads far beyond them."""
    rows, columns = heat.shape
    small = cv2.resize(heat, (max(2, columns // 8), max(2, rows // 8)), interpolation=cv2.INTER_AREA)
    size = max(small.shape)
    narrow = cv2.GaussianBlur(small, (0, 0), max(0.8, size * 0.03))
    wide = narrow + cv2.GaussianBlur(small, (0, 0), max(1.5, size * 0.1))
    wide = cv2.resize(wide, (columns, rows), interpolation=cv2.INTER_LINEAR)
    light = cv2.merge([wide * np.float32(strength * share) for share in (1.0, 0.42, 0.10)])
    return picture + (picture + np.float32(0.3)) * light


def lay_out(rng: Rng, rows: int, columns: int, horizon: int, base: float, upright: bool) -> list[Flame]:
    """Flames of one scene: a pile, scattered spots, a front or a wall of fire.

    horizon: first row of ground.  base: row about which they stand.  upright: seen from the
    side; from above flames are flat and lean anywhere.
    """
    flames = _places(rng, rows, columns, base, upright)
    below = float(rng.uniform(0.06, 0.2) if upright else rng.uniform(0.2, 0.5))
    highest = horizon + 0.02 * rows  # nothing burns in the sky
    return [flame._replace(below=below, y=max(flame.y, highest)) for flame in flames]


def _places(rng: Rng, rows: int, columns: int, base: float, upright: bool) -> list[Flame]:
    size = min(rows, columns)
    x = float(rng.uniform(0.12, 0.88)) * columns
    lean = float(rng.normal(0, 0.25)) if upright else float(rng.uniform(-0.8, 0.8))
    shares = (0.25, 0.25, 0.27, 0.23) if upright else (0.4, 0.3, 0.3, 0.0)
    kind = str(rng.choice(("pile", "spots", "front", "wall"), p=shares))
    seeds = iter(rng.integers(0, 2**31, 16).tolist())
    high = size * between(rng, 0.1, 0.5)
    if kind == "pile":
        return [Flame(x, base, high * between(rng, 0.5, 1.6), high, 0.0, lean, next(seeds))]
    if kind == "wall":
        high, wide = rows * between(rng, 0.35, 1.3), columns * between(rng, 0.4, 1.8)
        slope = float(rng.normal(0, 0.1))
        return [Flame(x + float(rng.normal(0, 0.3)) * wide * k, base + float(rng.normal(0, 0.1)) * rows * k, wide,
                      high * between(rng, 0.5, 1.0) ** k, slope, lean, next(seeds))
                for k in range(int(rng.integers(1, 4)))]  # fmt: skip
    if kind == "spots":
        count = int(rng.integers(3, 10))
        spread = size * between(rng, 0.12, 0.5)
        flat = 0.3 if upright else 1.0
        places = rng.normal(0, 1, (count, 2)) * (spread, spread * flat) + (x, base)
        sizes = size * 0.2 * np.exp(rng.normal(-0.5, 0.5, count))
        return [Flame(float(px), float(py), float(s * between(rng, 0.6, 2.0)), float(s), 0.0, lean, next(seeds))
                for (px, py), s in zip(places, sizes, strict=True)]  # fmt: skip
    # A front is a chain of flames along a curve, so that it bends and breaks as a real one does.
    count = int(rng.integers(4, 9))
    wide, high = columns * between(rng, 0.35, 1.4), high * 0.65
    turn = float(rng.normal(0, 0.15)) if upright else float(rng.uniform(-1.6, 1.6))
    along = (np.linspace(-0.5, 0.5, count) + rng.normal(0, 0.03, count)) * wide
    aside = line(rng, count, 3.0) * wide * (0.02 if upright else 0.06)
    px = x + along * np.cos(turn) - aside * np.sin(turn)
    py = base + along * np.sin(turn) + aside * np.cos(turn)
    part = wide / count * rng.uniform(1.0, 2.2, count) * max(abs(np.cos(turn)), 0.4)
    tall = high * np.exp(rng.normal(0, 0.3, count))
    slope = np.tan(np.clip(turn, -0.7, 0.7))
    return [Flame(float(px[k]), float(py[k]), float(part[k]), float(tall[k]), float(slope), lean, next(seeds))
            for k in range(count)]  # fmt: skip
