"""The colours of a forest through the year, and the light that falls on it.

Colours are RGB from 0 to 1 as a camera shows them in even light.
"""

from typing import NamedTuple

import numpy as np

from apps.wildfire.noise import Array, Rng

Colour = tuple[float, float, float]


class Season(NamedTuple):
    """soil, grass: the two grounds that alternate.  crowns: colours of trees, one a tree, drawn evenly.
    snow: largest share of the ground under snow.  bare: share of trees without leaves.
    """

    soil: Colour
    grass: Colour
    crowns: tuple[Colour, ...]
    snow: float = 0.0
    bare: float = 0.0


SEASONS = {
    "spring": Season((0.42, 0.34, 0.24), (0.42, 0.52, 0.22),
                     ((0.30, 0.42, 0.15), (0.38, 0.50, 0.18), (0.18, 0.30, 0.14), (0.45, 0.45, 0.25)), bare=0.15),
    "summer": Season((0.44, 0.36, 0.25), (0.34, 0.44, 0.18),
                     ((0.15, 0.28, 0.11), (0.20, 0.35, 0.13), (0.26, 0.38, 0.14), (0.13, 0.23, 0.12))),
    "autumn": Season((0.46, 0.33, 0.20), (0.50, 0.45, 0.24),
                     ((0.72, 0.36, 0.10), (0.80, 0.55, 0.14), (0.62, 0.20, 0.08), (0.24, 0.33, 0.13),
                      (0.55, 0.42, 0.18), (0.18, 0.27, 0.13)), bare=0.1),
    "winter": Season((0.36, 0.30, 0.25), (0.50, 0.45, 0.36),
                     ((0.12, 0.19, 0.13), (0.16, 0.23, 0.15), (0.34, 0.30, 0.27), (0.40, 0.36, 0.32)),
                     snow=0.95, bare=0.4),
    "dry": Season((0.58, 0.45, 0.30), (0.72, 0.60, 0.34),
                  ((0.33, 0.36, 0.18), (0.42, 0.40, 0.22), (0.25, 0.29, 0.15), (0.55, 0.42, 0.24)), bare=0.1),
    "burnt": Season((0.16, 0.15, 0.15), (0.30, 0.28, 0.26),
                    ((0.11, 0.10, 0.10), (0.20, 0.18, 0.17), (0.45, 0.24, 0.12), (0.52, 0.30, 0.16),
                     (0.20, 0.26, 0.13)), bare=0.5),
    "needles": Season((0.55, 0.33, 0.20), (0.60, 0.44, 0.26),
                      ((0.22, 0.19, 0.16), (0.30, 0.24, 0.18), (0.50, 0.27, 0.14), (0.22, 0.32, 0.14)), bare=0.4),
}  # fmt: skip
_WEIGHTS = {"spring": 2, "summer": 4, "autumn": 2.2, "winter": 3, "dry": 3, "burnt": 2, "needles": 1.6}


class Light(NamedTuple):
    """azimuth: where the light comes from, radians in the picture.  low: 0 at noon to 1 at sunset.
    tint: RGB the light multiplies with.  haze: RGB that distance fades into.  thick: how fast it fades, 0 to 1.
    """

    azimuth: float
    low: float
    tint: Array
    haze: Array
    thick: float


def draw_season(rng: Rng) -> Season:
    """A season at random, its colours a little shifted as between one forest and another."""
    names = list(_WEIGHTS)
    share = np.array([_WEIGHTS[name] for name in names], float)
    season = SEASONS[names[int(rng.choice(len(names), p=share / share.sum()))]]
    return season._replace(
        soil=_shift(rng, season.soil),
        grass=_shift(rng, season.grass),
        crowns=tuple(_shift(rng, crown) for crown in season.crowns),
        snow=season.snow * float(rng.random()) ** 0.5,
    )


def draw_light(rng: Rng) -> Light:
    """Light at random, from cold noon to a red evening."""
    low = float(rng.random()) ** 2
    warm = np.array([1.0 + 0.18 * low, 1.0, 1.0 - 0.35 * low], np.float32)
    grey = np.float32(rng.uniform(0.62, 0.95))
    blue = np.array([0.88, 0.95, 1.05], np.float32)
    haze = np.clip(grey * (blue * (1 - low) + np.array([1.1, 0.88, 0.68], np.float32) * low), 0, 1)
    return Light(float(rng.uniform(0, 2 * np.pi)), low, warm, haze.astype(np.float32), float(rng.random()) ** 1.5)


def _shift(rng: Rng, colour: Colour) -> Colour:
    whole, parts = float(np.exp(rng.normal(0, 0.16))), np.exp(rng.normal(0, 0.07, 3))
    return tuple(float(value) for value in np.clip(np.array(colour) * whole * parts, 0.02, 0.98))  # type: ignore[return-value]
