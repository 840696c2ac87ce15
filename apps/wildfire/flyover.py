"""A drone's flight over one large forest in which fires come into view and leave it again.

The forest is painted once from above; every frame is a window of it, turned and sized by
the drone's motion, with flames and smoke drawn at their moment.

Axis letters: H rows, W columns of a frame.
"""

from collections.abc import Iterator

import cv2
import numpy as np

from apps.wildfire import camera, decoys, fire, smoke
from apps.wildfire.noise import Array, Rng, between
from apps.wildfire.scenes import Scene, check
from apps.wildfire.seasons import draw_light, draw_season
from apps.wildfire.terrain import from_above

_LENGTH = 6.0  # of the forest, in frame heights; the drone flies from its foot to its head
_BREADTH = 1.8  # of the forest, in frame widths
_FIRES = (0.28, 0.66)  # of the flight: when the drone is over a fire
_BURN_S = 3.0  # seconds in which a tongue of flame rises through its own height


def fly_over(frames: int, width: int, height: int, seed: int, fps: float) -> Iterator[Scene]:
    """The ``frames`` scenes of a flight, in order; DataError for a size that cannot be drawn."""
    check(seed, width, height)
    rng = np.random.default_rng([seed, 7])
    rows, columns = int(height * _LENGTH), int(width * _BREADTH)
    light = draw_light(rng)
    size = min(width, height)
    view = from_above(rng, rows, columns, draw_season(rng), light, size * between(rng, 0.05, 0.12))
    decoys.scatter(rng, view.back, light, 0, size * 0.12, 14)
    places = [place for share in _FIRES for place in _piles(rng, share, width, height)]
    wind = float(rng.uniform(-np.pi, np.pi))
    colours, shade = fire.ramp(rng), smoke.colour(rng)
    lens = camera.draw_camera(rng)._replace(blur=0.0)
    sway = rng.uniform(0, 2 * np.pi, 3)
    for number in range(frames):
        window, turn = _window(number / max(frames - 1, 1), width, height, sway)
        ground = cv2.warpAffine(view.back, window, (width, height), borderMode=cv2.BORDER_REFLECT)
        moment = number / (fps * _BURN_S)
        yield _burn(rng, ground, _seen_from(window, places), moment, wind + turn, lens, colours, shade)


def _piles(rng: Rng, share: float, width: int, height: int) -> list[fire.Flame]:
    """A group of burning piles under the drone at ``share`` of its flight, in pixels of the forest."""
    size = min(width, height)
    x, y = width * _BREADTH / 2, _course(share, height)
    piles = []
    for _ in range(int(rng.integers(2, 6))):
        high = size * between(rng, 0.08, 0.3)
        piles.append(fire.Flame(
            x + float(rng.normal(0, 0.18)) * width, y + float(rng.normal(0, 0.12)) * height,
            high * between(rng, 0.6, 1.8), high, 0.0, float(rng.normal(0, 0.3)), int(rng.integers(0, 2**31)), 0.3,
        ))  # fmt: skip
    return piles


def _course(share: float, height: int) -> float:
    """The row of the forest the drone is over."""
    return height * (_LENGTH - 0.7 - share * (_LENGTH - 1.4))


def _window(share: float, width: int, height: int, sway: Array) -> tuple[Array, float]:
    """The map [2, 3] from forest to frame at ``share`` of the flight, and how far it turns, radians."""
    wave = np.sin(sway + share * np.array([7.0, 5.0, 4.0]))
    turn, zoom = 0.12 * wave[0], 1 + 0.08 * wave[1]
    centre = np.array([width * (_BREADTH / 2 + 0.15 * wave[2]), _course(share, height)])
    turned = zoom * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return np.column_stack([turned, np.array([width, height]) / 2 - turned @ centre]), float(turn)


def _seen_from(window: Array, places: list[fire.Flame]) -> list[fire.Flame]:
    zoom = float(np.hypot(window[0, 0], window[1, 0]))
    feet = [window @ np.array([flame.x, flame.y, 1.0]) for flame in places]
    return [
        flame._replace(x=float(x), y=float(y), wide=flame.wide * zoom, high=flame.high * zoom)
        for flame, (x, y) in zip(places, feet, strict=True)
    ]


def _burn(rng: Rng, ground: Array, flames: list[fire.Flame], moment: float, wind: float, lens: camera.Camera,
          colours: Array, shade: Array) -> Scene:  # fmt: skip
    rows, columns = ground.shape[:2]
    heat = fire.heat_of(flames, rows, columns, moment)
    picture = fire.burn(fire.glow(ground, heat, 0.5), heat, colours)
    veil = np.ones((rows, columns), np.float32)
    for flame in flames:
        reach = flame.high * 5
        if not (-reach < flame.x < columns + reach and -reach < flame.y < rows + reach):
            continue
        density, shine = smoke.plume(flame.seed, moment * 0.4)
        where = rows, columns, flame.x, flame.y, reach, flame.high * 3.5, wind
        density = smoke.place(density, *where) * np.float32(0.6)
        picture = smoke.smoke(picture, density, smoke.place(shine, *where), shade)
        veil *= 1 - density
    return Scene(camera.develop(lens, picture, rng), fire.opacity(heat) * veil > 0.5)
