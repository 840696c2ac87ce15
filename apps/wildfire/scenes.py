"""Pictures of forests, with and without fire, drawn by a seed.

A scene is built from back to front: a view of a forest (from above, at a slant, among
trees), decoys, burnt ground, flames and their light, what stands before them, smoke, and
the camera.  The mask is where flames can be seen through all of it.

Axis letters: H rows, W columns.
"""

from typing import NamedTuple

import numpy as np

from apps.wildfire import camera, decoys, fire, smoke
from apps.wildfire.noise import Array, Rng, between, octaves, step
from apps.wildfire.paint import mix, spread
from apps.wildfire.seasons import Light, draw_light, draw_season
from apps.wildfire.standing import among_trees, at_a_slant
from apps.wildfire.terrain import View, from_above
from edge_mpq.errors import DataError

SMALLEST, LARGEST = 32, 8192  # rows and columns; below, a tree is no longer a pixel
_SEEN = 0.5  # share of a pixel's light that must come from flames to count as fire


class Scene(NamedTuple):
    """picture: uint8 RGB [H, W, 3].  mask: bool [H, W], true where flames are visible."""

    picture: Array
    mask: Array


def scene(seed: int, width: int, height: int, burning: bool) -> Scene:
    """The scene of ``seed``, the same bytes every time; its mask is empty unless ``burning``.

    Raises DataError for a size or seed that :func:`check` refuses.
    """
    check(seed, width, height)
    rng = np.random.default_rng([seed, int(burning)])
    light = draw_light(rng)
    view = _view(rng, height, width, light)
    size = min(height, width)
    if rng.random() < (0.45 if burning else 0.75):
        grown = size * (0.16 if view.horizon == 0 else 0.2)
        decoys.scatter(rng, view.back, light, view.horizon, grown, int(rng.integers(1, 5)))
    if rng.random() < 0.4:
        _char(rng, view, size)
    if burning:
        picture, mask = _burning(rng, view, height, width)
    else:
        picture, mask = _quiet(rng, view, height, width), np.zeros((height, width), bool)
    return Scene(camera.develop(camera.draw_camera(rng), picture, rng), mask)


def check(seed: int, width: int, height: int) -> None:
    """Raise DataError unless both sides are 32 to 8192 pixels and the seed is 0 or more."""
    if min(width, height) < SMALLEST or max(width, height) > LARGEST or seed < 0:
        raise DataError(
            f"a scene of {width}x{height} pixels from seed {seed} was asked",
            f"sides of {SMALLEST} to {LARGEST} pixels and seeds of 0 or more are drawn",
        )


def smallest_fire(width: int, height: int) -> int:
    """The fewest fire pixels a burning scene of this size has."""
    return max(6, width * height // 350)


def _view(rng: Rng, rows: int, columns: int, light: Light) -> View:
    season = draw_season(rng)
    kind = rng.random()
    if kind < 0.33:
        return from_above(rng, rows, columns, season, light)
    return (at_a_slant if kind < 0.66 else among_trees)(rng, rows, columns, season, light)


def _char(rng: Rng, view: View, size: int) -> None:
    """Blacken the ground about the place of the fire, in place."""
    ground = view.back[view.horizon :]
    rows, columns = ground.shape[:2]
    if rows < 4:
        return
    ash = octaves(rng, rows, columns, size * between(rng, 0.2, 0.8), 5, 0.7)
    alpha = step(ash, rng.uniform(-0.8, 0.8), 1.0) * np.float32(rng.uniform(0.5, 0.9))
    if view.horizon > 0:  # nothing is black above the ground
        alpha *= np.minimum(1, np.arange(rows, dtype=np.float32) * np.float32(4 / rows))[:, None]
    ground[:] = ground * spread(1 - alpha * np.float32(0.8)) + spread(alpha * np.float32(0.03))


def _burning(rng: Rng, view: View, rows: int, columns: int) -> tuple[Array, Array]:
    """The scene on fire and its mask; what hides the flames is thinned until enough of them shows."""
    least = smallest_fire(columns, rows)
    colours, strength, shade = fire.ramp(rng), between(rng, 0.15, 1.2), smoke.colour(rng)
    ahead = float(rng.random()) ** 1.5  # share of the smoke that drifts before the flames
    hide = 1.0
    while True:
        flames = [_bonfire(rows, columns)]
        if hide > 0.1:
            flames = fire.lay_out(rng, rows, columns, view.horizon, view.base, view.upright)
        heat = fire.heat_of(flames, rows, columns)
        density, shine = _smoke_field(rng, rows, columns, flames[0].x, flames[0].y, 0.8, view.upright)
        cover = view.cover * np.float32(hide)
        veiled = density * np.float32(ahead * hide)
        alpha = fire.opacity(heat)
        seen = alpha * (1 - cover) * (1 - veiled) > _SEEN
        if np.count_nonzero(seen) >= least:
            break
        hide = max(0.0, hide - 0.25)
    picture = smoke.smoke(view.back, density * np.float32(1 - 0.5 * ahead), shine, shade)
    clear = 1.0 if rng.random() < 0.5 else float(rng.uniform(0.65, 1.0))
    picture = fire.burn(fire.glow(picture, heat, strength), heat, colours, clear)
    if cover.any():
        picture = mix(picture, fire.glow(view.front, heat, strength * 0.5), cover)
    return smoke.smoke(picture, veiled, shine, shade), seen


def _bonfire(rows: int, columns: int) -> fire.Flame:
    """A flame that cannot be missed, where chance has hidden all others."""
    return fire.Flame(columns / 2, rows * 0.7, columns * 0.4, rows * 0.4, 0.0, 0.0, 0)


def _quiet(rng: Rng, view: View, rows: int, columns: int) -> Array:
    picture = mix(view.back, view.front, view.cover)
    x = float(rng.uniform(0.1, 0.9)) * columns
    density, shine = _smoke_field(rng, rows, columns, x, view.base, 0.45, view.upright)
    return smoke.smoke(picture, density, shine, smoke.colour(rng))


def _smoke_field(rng: Rng, rows: int, columns: int, x: float, y: float, share: float,
                 upright: bool) -> tuple[Array, Array]:  # fmt: skip
    """Plumes from about (x, y) in ``share`` of scenes, and sometimes a veil: density and light, [H, W]."""
    density, shine = np.zeros((rows, columns), np.float32), np.full((rows, columns), 0.5, np.float32)
    size = max(rows, columns)
    if rng.random() < share:
        angle = float(rng.normal(0, 0.45)) if upright else float(rng.uniform(-np.pi, np.pi))
        for _ in range(int(rng.integers(1, 4))):
            field, bright = smoke.plume(int(rng.integers(0, 2**31)))
            foot = x + float(rng.normal(0, 0.12)) * size, y + float(rng.normal(0, 0.03)) * size
            high, wide = size * between(rng, 0.35, 1.5), between(rng, 0.6, 1.6)
            wide *= high
            turned = angle + float(rng.normal(0, 0.15))
            part = smoke.place(field, rows, columns, *foot, high, wide, turned) * np.float32(rng.uniform(0.3, 1.0))
            bright = smoke.place(bright, rows, columns, *foot, high, wide, turned)
            shine = shine + (bright - shine) * part
            density = 1 - (1 - density) * (1 - part)
    if rng.random() < 0.25:
        density = 1 - (1 - density) * (1 - smoke.veil(rng, rows, columns))
    return density, shine
