"""Where a pixel lies on the ground: laws of the geometry, over any height, heading and lens."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from apps.stream.watch.flight import Fix
from apps.stream.watch.ground import Ground

ROWS, COLUMNS, VIEW = 480, 640, 80.0
METRES_A_DEGREE = math.radians(1) * 6371008.8

fixes = st.builds(
    Fix, st.just(0.0), st.floats(-80, 80), st.floats(-180, 180), st.floats(1, 3000), st.floats(0, 360), st.just(-90.0)
)
views = st.floats(5, 120)
xs, ys = st.floats(0, COLUMNS), st.floats(0, ROWS)


def _offset(ground, x, y):
    """(metres north, metres east) of the camera, on a sphere."""
    lat, lon = ground.point(x, y)
    east = ((lon - ground.fix.lon + 180) % 360 - 180) * math.cos(math.radians(ground.fix.lat))
    return (lat - ground.fix.lat) * METRES_A_DEGREE, east * METRES_A_DEGREE


@given(fixes, views)
def test_the_middle_lies_under_the_drone(fix, view):
    assert np.allclose(_offset(Ground(fix, view, ROWS, COLUMNS), COLUMNS / 2, ROWS / 2), 0, atol=1e-3)


@given(fixes, views)
def test_with_heading_north_right_is_east_by_height_times_tan_and_up_is_north(fix, view):
    ground = Ground(fix._replace(heading=0.0), view, ROWS, COLUMNS)
    reach = fix.alt_m * math.tan(math.radians(view / 2))
    north, east = _offset(ground, COLUMNS, ROWS / 2)
    assert east == pytest.approx(reach, rel=0.01) and abs(north) < 1e-3
    north, east = _offset(ground, COLUMNS / 2, 0)
    assert north == pytest.approx(reach * ROWS / COLUMNS, rel=0.01) and abs(east) < 1e-3


@given(fixes, views, xs, ys, st.floats(-180, 180))
def test_the_heading_turns_the_ground(fix, view, x, y, turn):
    north, east = _offset(Ground(fix._replace(heading=0.0), view, ROWS, COLUMNS), x, y)
    turned = _offset(Ground(fix._replace(heading=turn % 360), view, ROWS, COLUMNS), x, y)
    cos, sin = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    slack = 0.01 * math.hypot(north, east) + 1e-3  # a sphere is no ellipsoid
    assert turned == pytest.approx((north * cos - east * sin, north * sin + east * cos), abs=slack)


def test_with_heading_east_right_is_south():
    ground = Ground(Fix(0.0, 46.0, 7.0, 100.0, 90.0), VIEW, ROWS, COLUMNS)
    north, east = _offset(ground, COLUMNS, ROWS / 2)
    assert north == pytest.approx(-100 * math.tan(math.radians(40)), rel=0.01) and abs(east) < 1e-6


@given(fixes, xs, ys, st.floats(0.1, 10))
def test_twice_as_high_is_twice_as_far(fix, x, y, times):
    near = _offset(Ground(fix, VIEW, ROWS, COLUMNS), x, y)
    far = _offset(Ground(fix._replace(alt_m=fix.alt_m * times), VIEW, ROWS, COLUMNS), x, y)
    assert far == pytest.approx([times * metres for metres in near], abs=1e-3 + 1e-6 * fix.alt_m)


@given(st.floats(1, 3000), views, st.floats(-90, -40), st.integers(0, 2**32 - 1))
def test_an_area_is_that_of_its_pixels_on_the_ground(height, view, pitch, seed):
    rows, columns = 24, 32
    ground = Ground(Fix(0.0, 10.0, 7.0, height, 30.0, pitch), view, rows, columns)
    mask = np.random.default_rng(seed).integers(0, 2, (rows, columns), np.uint8)
    whole = ground.area_m2(255 * mask)
    corners = np.array([[ground.point(x, y) or (np.nan, np.nan) for x in range(33)] for y in range(25)])
    assume(whole is not None and not np.isnan(corners).any())
    down, across = (corners[..., axis] * METRES_A_DEGREE for axis in (0, 1))
    across *= math.cos(math.radians(10.0))
    # Half of the cross product of a pixel's diagonals is the area of its quadrilateral.
    first = down[1:, 1:] - down[:-1, :-1], across[1:, 1:] - across[:-1, :-1]
    second = down[1:, :-1] - down[:-1, 1:], across[1:, :-1] - across[:-1, 1:]
    area = np.abs(first[0] * second[1] - first[1] * second[0]) / 2
    assert whole == pytest.approx((area * mask).sum(), rel=0.02)


def test_a_picture_from_straight_above_is_as_large_as_its_field_of_view():
    ground = Ground(Fix(0.0, 46.0, 7.0, 100.0, 0.0), 90.0, 100, 200)
    assert ground.area_m2(np.full((100, 200), 255, np.uint8)) == pytest.approx(200 * 100)
    assert ground.area_m2(np.zeros((100, 200), np.uint8)) == 0


def test_a_camera_that_looks_ahead_sees_ahead():
    ground = Ground(Fix(0.0, 46.0, 7.0, 100.0, 0.0, -45.0), VIEW, ROWS, COLUMNS)
    north, east = _offset(ground, COLUMNS / 2, ROWS / 2)
    assert north == pytest.approx(100, rel=0.01) and abs(east) < 1e-6


def test_the_sky_is_no_ground():
    ground = Ground(Fix(0.0, 46.0, 7.0, 100.0, 0.0, 0.0), VIEW, ROWS, COLUMNS)
    assert ground.point(COLUMNS / 2, 10) is None and ground.point(COLUMNS / 2, ROWS / 2) is None
    assert ground.point(COLUMNS / 2, ROWS) is not None
    mask = np.zeros((ROWS, COLUMNS), np.uint8)
    mask[-20:] = 255
    assert ground.area_m2(mask) > 0
    mask[:20] = 255
    assert ground.area_m2(mask) is None


def test_a_drone_on_the_ground_sees_nothing_of_it():
    ground = Ground(Fix(0.0, 46.0, 7.0, -0.4, 0.0), VIEW, ROWS, COLUMNS)
    assert ground.point(0, 0) == (46.0, 7.0) and ground.area_m2(np.full((ROWS, COLUMNS), 255, np.uint8)) == 0
