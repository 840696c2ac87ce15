"""Drawn scenes: the same every time, flames where the mask says, and no giveaway in mere colour."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.wildfire import fire, noise, paint
from apps.wildfire.scenes import LARGEST, SMALLEST, scene, smallest_fire
from edge_mpq.errors import DataError

seeds = st.integers(0, 2**48)
sides = st.integers(SMALLEST, 160)


def digest(drawn):
    return hashlib.sha256(drawn.picture.tobytes() + drawn.mask.tobytes()).hexdigest()


@settings(max_examples=25)
@given(seeds, sides, sides, st.booleans())
def test_a_scene_has_the_size_asked_and_fire_only_where_it_burns(seed, width, height, burning):
    drawn = scene(seed, width, height, burning)
    assert drawn.picture.shape == (height, width, 3) and drawn.picture.dtype == np.uint8
    assert drawn.mask.shape == (height, width) and drawn.mask.dtype == bool
    assert (drawn.mask.sum() >= smallest_fire(width, height)) if burning else not drawn.mask.any()


@settings(max_examples=15)
@given(seeds, st.booleans())
def test_a_seed_gives_the_same_bytes_and_another_seed_others(seed, burning):
    assert digest(scene(seed, 64, 48, burning)) == digest(scene(seed, 64, 48, burning))
    assert digest(scene(seed, 64, 48, burning)) != digest(scene(seed + 1, 64, 48, burning))


@pytest.mark.parametrize(("width", "height"), [(32, 1500), (1500, 32)])
def test_fire_shows_in_narrow_pictures_too(width, height):
    for seed in range(6):
        assert scene(seed, width, height, True).mask.sum() >= smallest_fire(width, height)


def test_the_mask_lies_on_bright_orange():
    warm, brighter = [], []
    for seed in range(60):
        drawn = scene(seed, 128, 96, True)
        pixels, mask = drawn.picture.astype(float), drawn.mask
        warm.append(pixels[mask][:, 0].mean() - pixels[mask][:, 2].mean())
        brighter.append(pixels[mask][:, 0].mean() - pixels[~mask][:, 0].mean())
    assert min(warm) > 15
    assert np.mean(np.array(brighter) > 0) > 0.95
    assert np.median(brighter) > 40


def test_quiet_scenes_have_orange_too():
    """Autumn trees, roofs and evening light: at least a quarter of the pictures without fire."""
    orange = []
    for seed in range(60):
        red, green, blue = np.moveaxis(scene(seed, 96, 96, False).picture.astype(int), 2, 0)
        orange.append(((red > 150) & (red - blue > 80) & (red - green > 25)).mean())
    assert np.mean(np.array(orange) > 0.003) > 0.25


def colours_of(seeds, burning):
    """Mean RGB, and mean and largest share of red, of each scene: [N, 5]."""
    rows = []
    for seed in seeds:
        pixels = scene(seed, 64, 64, burning).picture.reshape(-1, 3) / 255.0
        red = pixels[:, 0] / (pixels.sum(1) + 0.05)
        rows.append([*pixels.mean(0), red.mean(), red.max()])
    return np.array(rows)


def fitted(inputs, labels):
    """Weights of a logistic regression by Newton's method with a light penalty."""
    weights = np.zeros(inputs.shape[1])
    for _ in range(25):
        chance = 1 / (1 + np.exp(-inputs @ weights))
        curve = (inputs * (chance * (1 - chance))[:, None]).T @ inputs + 1e-3 * np.eye(len(weights))
        weights -= np.linalg.solve(curve, inputs.T @ (chance - labels) + 1e-3 * weights)
    return weights


def test_colour_alone_does_not_tell_fire_from_no_fire():
    burning, quiet = colours_of(range(250), True), colours_of(range(1000, 1250), False)
    inputs = np.concatenate([burning, quiet])
    inputs = np.column_stack([(inputs - inputs.mean(0)) / inputs.std(0), np.ones(len(inputs))])
    labels = np.repeat([1.0, 0.0], 250)
    learn = np.arange(500) % 2 == 0
    guess = inputs[~learn] @ fitted(inputs[learn], labels[learn]) > 0
    assert np.mean(guess == labels[~learn]) < 0.85


@pytest.mark.parametrize("ask", [(0, SMALLEST - 1, 64), (0, 64, LARGEST + 1), (-1, 64, 64)])
def test_what_cannot_be_drawn_is_told(ask):
    with pytest.raises(DataError, match="sides of 32 to 8192 pixels and seeds of 0 or more"):
        scene(*ask, True)


@given(st.integers(0, 2**31), st.integers(6, 90), st.integers(6, 200), st.floats(0.05, 0.5), st.floats(0, 50))
def test_heat_is_between_nothing_and_full_at_any_moment(seed, rows, columns, below, phase):
    heat = fire.tongues(seed, rows, columns, below, phase)
    assert heat.shape == (rows, columns) and heat.dtype == np.float32
    assert np.isfinite(heat).all() and heat.min() >= 0 and heat.max() <= 1


def test_a_flame_moves_but_stays_where_it_is():
    flame = fire.Flame(60, 70, 30, 40, 0.0, 0.0, 5)
    moments = [fire.heat_of([flame], 96, 128, phase) for phase in (0.1, 0.2, 0.3)]
    assert not np.array_equal(moments[0], moments[1])
    for heat in moments:
        rows, columns = np.nonzero(heat > 0.3)
        assert 25 < rows.min() and rows.max() < 80 and 40 < columns.min() and columns.max() < 80


@given(st.integers(0, 2**31), st.integers(1, 120), st.integers(1, 120), st.floats(0.5, 200), st.floats(0.2, 5))
def test_noise_is_standardized(seed, rows, columns, cell, tall):
    field = noise.octaves(np.random.default_rng(seed), rows, columns, cell, tall=tall)
    assert field.shape == (rows, columns) and field.dtype == np.float32
    assert abs(float(field.mean())) < 1e-2
    assert field.size < 4 or abs(float(field.std()) - 1) < 1e-2


def test_scrolled_noise_has_no_seam():
    field = noise.octaves(np.random.default_rng(1), 64, 64, 32, 2)
    usual = np.abs(np.diff(field, axis=0)).max()
    for phase in np.linspace(0, 2.5, 11):
        assert np.abs(np.diff(noise.scroll(field, 64, float(phase)), axis=0)).max() <= usual + 1e-6


@given(st.floats(0, 1), st.tuples(*[st.floats(0, 1)] * 3))
def test_mixing_a_colour_is_mixing_a_picture_of_it(share, colour):
    under = np.random.default_rng(0).random((4, 5, 3), np.float32)
    alpha = np.full((4, 5), share, np.float32)
    picture = np.tile(np.array(colour, np.float32), (4, 5, 1))
    expected = under * (1 - alpha[..., None]) + picture * alpha[..., None]
    for mixed in (paint.mix(under, colour, alpha), paint.mix(under, picture, alpha), paint.fade(under, colour, share)):
        np.testing.assert_allclose(mixed, expected, atol=1e-5)
