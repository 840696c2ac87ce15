"""Random fields that look like nature: sums of octaves of value noise, fast enough for thousands of pictures.

Each octave is a small grid of random numbers, enlarged by cubic interpolation; finer
grids get smaller weights (fractional Brownian motion, Mandelbrot and Van Ness 1968).

Axis letters: H rows, W columns.
"""

import cv2
import numpy as np

Array = np.ndarray
Rng = np.random.Generator


def octaves(rng: Rng, rows: int, columns: int, cell: float, count: int = 4, gain: float = 0.55,
            tall: float = 1.0) -> Array:  # fmt: skip
    """Noise of zero mean and unit deviation, float32 [H, W].

    cell: width of the coarsest feature in pixels.  gain: weight of an octave over the one
    before.  tall: height of a feature over its width.
    """
    field = None
    weight = 1.0
    for _ in range(count):
        high = min(rows, int(rows / (cell * tall)) + 2)
        wide = min(columns, int(columns / cell) + 2)
        grid = rng.random((high, wide), np.float32) - 0.5
        field = grid if field is None else enlarge(field, high, wide) + weight * grid
        weight *= gain
        cell /= 2
        if high == rows and wide == columns:
            break
    assert field is not None
    field = enlarge(field, rows, columns)
    mean, deviation = cv2.meanStdDev(field)
    return (field - np.float32(mean[0, 0])) * np.float32(1 / max(float(deviation[0, 0]), 1e-6))


def line(rng: Rng, length: int, cell: float, count: int = 3, gain: float = 0.6) -> Array:
    """Noise along one axis, zero mean and unit deviation: float32 [length]."""
    total = np.zeros(length, np.float32)
    weight, place = 1.0, np.arange(length, dtype=np.float32)
    for _ in range(count):
        knots = rng.random(int(length / cell) + 3).astype(np.float32) - 0.5
        total += weight * np.interp(place / cell + rng.random(), np.arange(len(knots)), knots).astype(np.float32)
        weight *= gain
        cell = max(cell / 2, 1.0)
    return (total - total.mean()) / max(float(total.std()), 1e-6)


def enlarge(field: Array, rows: int, columns: int) -> Array:
    """``field`` at another size, cubic."""
    if field.shape[:2] == (rows, columns):
        return field
    return cv2.resize(field, (columns, rows), interpolation=cv2.INTER_CUBIC)


def scroll(field: Array, rows: int, phase: float) -> Array:
    """The first ``rows`` rows of ``field`` moved up by ``phase`` of its height.

    The field is continued by its mirror image, so that it moves for ever without a seam.
    """
    if phase == 0:
        return field[:rows]
    double = np.concatenate([field, field[::-1]])
    start = int(phase * len(field)) % len(double)
    return np.roll(double, -start, axis=0)[:rows]


def step(field: Array, low: float, high: float) -> Array:
    """0 below ``low``, 1 above ``high``, smooth between."""
    ramp = np.clip((field - np.float32(low)) * np.float32(1 / (high - low)), 0, 1)
    return ramp * ramp * (3 - 2 * ramp)


def between(rng: Rng, low: float, high: float) -> float:
    """A number from ``low`` to ``high``, uniform in its logarithm."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
