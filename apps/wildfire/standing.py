"""Forest seen at a slant: sky, ridges, ground in perspective, and rows of standing trees.

Trees stand in rows from far to near; each row is drawn column by column from the trees'
outlines, so a row costs the same for three trees as for three hundred.

Axis letters: H rows, W columns.
"""

import cv2
import numpy as np

from apps.wildfire.noise import Array, Rng, between, line, octaves, step
from apps.wildfire.paint import clip, fade, mix, put, spread, tint
from apps.wildfire.seasons import Light, Season
from apps.wildfire.terrain import View, paint_forest, paint_ground

_SHAPES = ("cone", "round", "bush", "trunk", "snag")


def at_a_slant(rng: Rng, rows: int, columns: int, season: Season, light: Light) -> View:
    """A wooded slope below a flying camera, with or without a horizon."""
    horizon = int(rows * max(0.0, rng.uniform(-0.25, 0.55)))
    tallest = rows * between(rng, 0.1, 0.6)
    mixed = rng.dirichlet((1.2, 1.0, 0.4, 0.0001, 0.2 + season.bare))
    wooded = rng.random() < 0.6
    count = int(rng.integers(2, 7) if wooded else rng.integers(5, 14))
    return _compose(rng, rows, columns, season, light, horizon, tallest, mixed, count, wooded)


def among_trees(rng: Rng, rows: int, columns: int, season: Season, light: Light) -> View:
    """Below the canopy or at its edge: trunks higher than the picture, bushes, the floor."""
    horizon = int(rows * rng.uniform(0.25, 0.65))
    tallest = rows * between(rng, 1.0, 4.0)
    mixed = rng.dirichlet((0.2, 0.2, 0.9, 3.0, 0.3 + season.bare))
    return _compose(rng, rows, columns, season, light, horizon, tallest, mixed, int(rng.integers(4, 10)), False)


def _compose(rng: Rng, rows: int, columns: int, season: Season, light: Light, horizon: int, tallest: float,
             mixed: Array, count: int, wooded: bool) -> View:  # fmt: skip
    picture = _sky(rng, rows, columns, horizon, light)
    if tallest > rows * 0.8 and rng.random() < 0.75:
        _thicket(rng, picture, horizon, season, light)
    else:
        _ridges(rng, picture, horizon, season, light)
    picture[horizon:] = _ground_plane(rng, rows, columns, horizon, season, light, wooded)
    leaf = octaves(rng, rows, columns, max(3.0, min(rows, columns) * between(rng, 0.02, 0.09)), 4, 0.85)
    nearness = np.geomspace(0.06, rng.uniform(0.5, 1.1), count)
    fire_row = int(rng.integers(count // 3, count))
    density = rng.uniform(0.3, 1.0)
    cover = np.zeros((rows, columns), np.float32)
    front = picture
    for number, near in enumerate(nearness):
        if number == fire_row:
            front, cover = picture.copy(), np.zeros((rows, columns), np.float32)
        shape = _SHAPES[int(rng.choice(len(_SHAPES), p=mixed))]
        hidden = _row(rng, front if number >= fire_row else picture, leaf, horizon, float(near), tallest, shape,
                      season, light, density * (0.5 if number >= fire_row else 1.0))  # fmt: skip
        if number >= fire_row and hidden is not None:
            top, mask = hidden
            part = cover[top : top + len(mask)]
            np.maximum(part, mask, out=part)
    standing = float(nearness[max(fire_row - 1, 0)] * 0.5 + nearness[fire_row] * 0.5)
    base = horizon + standing * (rows - horizon)
    return View(picture, front, cover, horizon, base, True)


def _sky(rng: Rng, rows: int, columns: int, horizon: int, light: Light) -> Array:
    """The whole picture as sky; ground is laid over it."""
    high = np.array([0.30, 0.50, 0.80], np.float32) * np.exp(rng.normal(0, 0.2, 3)).astype(np.float32)
    if rng.random() < 0.5:
        high = light.haze * np.float32(rng.uniform(0.75, 1.05))
    up = np.linspace(0, 1, max(horizon, 1), dtype=np.float32) ** np.float32(rng.uniform(0.5, 2))
    sky = np.tile(light.haze, (rows, columns, 1))
    if horizon > 0:
        sky[:horizon] = (high + (light.haze - high) * up[:, None])[:, None]
        if rng.random() < 0.5:
            puffs = octaves(rng, horizon, columns, columns * 0.3, 5, 0.6, 0.5)
            sky[:horizon] = mix(sky[:horizon], (0.93, 0.93, 0.94), step(puffs, 0.2, 1.6) * np.float32(0.8))
    return clip(tint(sky, light.tint))


def _ridges(rng: Rng, picture: Array, horizon: int, season: Season, light: Light) -> None:
    """Far hills between the sky and ``horizon``, paler with distance."""
    if horizon < 8 or rng.random() < 0.3:
        return
    rows, columns = picture.shape[:2]
    count = int(rng.integers(1, 4))
    for number in range(count):
        top = horizon - (rng.uniform(0.05, 0.5) * horizon * (count - number) / count)
        outline = top + line(rng, columns, columns * 0.4, 5, 0.5) * horizon * 0.08
        outline += line(rng, columns, 3.0, 1) * horizon * 0.012
        colour = np.array(season.crowns[0], np.float32) * light.tint
        pale = np.float32(0.75 - 0.5 * (number + 1) / count + 0.25 * light.thick)
        colour = colour + (light.haze - colour) * pale
        below = np.arange(horizon, dtype=np.float32)[:, None] > outline[None].astype(np.float32)
        texture = 1 + np.float32(0.12 * (1 - pale)) * octaves(rng, horizon, columns, columns * 0.06, 4, 0.8)
        put(picture[:horizon], cv2.merge([texture * value for value in colour]), below)


def _thicket(rng: Rng, picture: Array, horizon: int, season: Season, light: Light) -> None:
    """A wall of leaves and shade behind the trunks, with bright gaps, above ``horizon``."""
    rows, columns = horizon + 1, picture.shape[1]
    leaves = octaves(rng, rows, columns, columns * between(rng, 0.08, 0.4), 5, 0.8)
    tone = octaves(rng, rows, columns, columns * between(rng, 0.05, 0.3), 4, 0.7, 2.5)
    one, two = (np.array(season.crowns[int(k)], np.float32) for k in rng.integers(0, len(season.crowns), 2))
    blend = step(tone, -0.8, 0.8)
    wall = cv2.merge([a + (b - a) * blend for a, b in zip(one, two, strict=True)])
    wall = tint(wall * spread(clip(0.8 + 0.4 * leaves, 0.1, 1.6)), light.tint)
    wall = fade(wall, light.haze, 0.1 + 0.6 * light.thick)
    up = np.linspace(1, 0, rows, dtype=np.float32)[:, None]
    gaps = step(leaves * np.float32(0.6) + tone * np.float32(0.5) - up + np.float32(rng.uniform(0.0, 1.8)), 0.0, 0.5)
    picture[:rows] = mix(picture[:rows], wall, gaps)


def _ground_plane(rng: Rng, rows: int, columns: int, horizon: int, season: Season, light: Light,
                  wooded: bool) -> Array:  # fmt: skip
    """The ground below ``horizon`` as a plane that recedes, [H - horizon, W, 3]; ``wooded``: under crowns."""
    high = rows - horizon
    grain = min(rows, columns) * between(rng, 0.06, 0.25)
    if wooded:
        flat, _ = paint_forest(rng, rows, columns, season, light, grain * 0.8)
    else:
        flat = tint(paint_ground(rng, rows, columns, season, grain), light.tint)
    flattest = np.float32(rng.uniform(0.12, 0.5))
    depth = np.linspace(flattest, 1, high, dtype=np.float32)
    far = 1 / depth
    across = (np.arange(columns, dtype=np.float32) - columns / 2)[None] * far[:, None] + columns / 2
    along = np.repeat((rows - (far - 1) * rows * np.float32(rng.uniform(0.3, 0.7)))[:, None], columns, 1)
    plane = cv2.remap(flat, across, along, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    # Far ground averages many features into one pixel; the map alone would alias.
    if high >= 12:
        plane[: high // 6] = cv2.blur(plane[: high // 6], (7, 1))
    fine = octaves(rng, high, columns, max(4.0, grain * 0.3), 4, 0.9, 0.5)
    plane *= spread(1 + np.float32(rng.uniform(0.05, 0.22)) * fine)
    if not wooded and rng.random() < 0.3:  # light that falls through leaves
        spots = octaves(rng, high, columns, grain * 2, 5, 0.8, 0.3)
        dark = np.float32(rng.uniform(0.35, 0.8))
        plane *= spread(dark + (np.float32(1.25) - dark) * step(spots, -0.2, 1.2))
    near = np.linspace(0, 1, high, dtype=np.float32)
    pale = np.exp(-near * np.float32(3 / (0.1 + light.thick))) * np.float32(0.8)
    return clip(mix(plane, light.haze * light.tint, np.repeat(pale[:, None], columns, 1)))


def _row(rng: Rng, picture: Array, leaf: Array, horizon: int, near: float, tallest: float, shape: str,
         season: Season, light: Light, density: float) -> tuple[int, Array] | None:  # fmt: skip
    """Draw one row of trees of ``shape`` into ``picture``; the first row touched and the mask below it."""
    rows, columns = picture.shape[:2]
    high = tallest * near * (0.25 if shape == "bush" else 1.0)
    slim = {"cone": 0.42, "round": 0.75, "bush": 2.2, "trunk": 0.06, "snag": 0.07}[shape]
    wide = max(2.5, high * slim * float(rng.uniform(0.7, 1.3)))
    gap = wide * (rng.uniform(0.6, 2.0) if slim > 0.1 else rng.uniform(1.5, 7.0)) / max(density, 0.2)
    foot = horizon + near * (rows - horizon)
    top = int(max(0, foot - high * 1.35))
    bottom = int(min(rows, foot + high * 0.06 + 2))
    if bottom - top < 2:
        return None
    place = np.arange(columns, dtype=np.float32)
    count = int(columns / gap) + 3
    centres = ((np.arange(count) - 0.5 + rng.uniform(-0.4, 0.4, count)) * gap).astype(np.float32)
    owner = np.searchsorted((centres[1:] + centres[:-1]) / 2, place)
    stature = rng.uniform(0.6, 1.3, count).astype(np.float32) * (rng.random(count) < 0.35 + 0.65 * density)
    sag = (foot + rng.normal(0, 0.04 * high, count)).astype(np.float32)
    above = sag[owner][None] - np.arange(top, bottom, dtype=np.float32)[:, None]
    part = leaf[top:bottom]
    aside = (place - centres[owner])[None] / np.float32(wide / 2)
    if shape in ("trunk", "snag"):
        lean = rng.normal(0, 0.04, count).astype(np.float32)[owner][None]
        taper = 1 - np.float32(0.5) * above / np.float32(high * 1.3)
        body = np.abs(aside - lean * above / np.float32(wide / 2)) < taper * (1 + np.float32(0.08) * part)
        mask = body & (above > 0) & (above < (high * stature)[owner][None])
    else:
        side = np.minimum(np.abs(aside), 1)
        outline = 1 - side if shape == "cone" else np.sqrt(1 - side * side)
        reach = (high * stature)[owner][None] * outline * (1 + np.float32(0.18) * part)
        mask = (above > 0) & (above < reach)
        if shape == "round":  # a stem below the crown
            mask &= (above > np.float32(0.3 * high)) | (np.abs(aside) < np.float32(0.14))
    if not mask.any():
        return None
    bark = np.array([0.25, 0.21, 0.18]) * np.exp(rng.normal(0, 0.35)) * np.exp(rng.normal(0, 0.1, 3))
    palette = np.array([bark]) if shape in ("trunk", "snag") else np.array(season.crowns)
    colours = palette[rng.integers(0, len(palette), count)] * np.exp(rng.normal(0, 0.14, (count, 1)))
    lit = np.float32(0.3 * np.cos(light.azimuth)) * np.clip(aside, -1, 1)
    shade = (np.float32(0.62) + lit + np.float32(0.35) * above / np.float32(high)) * (1 + np.float32(0.32) * part)
    shade = clip(shade, 0.1, 1.6)
    colours = (colours * light.tint).astype(np.float32)[owner]
    painted = cv2.merge([shade * colours[:, channel] for channel in range(3)])
    pale = float(np.exp(-near * 3 / (0.1 + light.thick)) * 0.9)
    put(picture[top:bottom], clip(fade(painted, light.haze, pale)), mask)
    return top, mask.astype(np.float32)
