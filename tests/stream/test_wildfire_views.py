"""What the two wildfire views say, on masks and boxes whose answer is known."""

import numpy as np
import pytest

from apps.stream.cameras.capture import Frame
from apps.stream.decode import Answer
from apps.stream.views import wildfire_classify, wildfire_segment
from apps.stream.views.base import Scene, View
from apps.stream.watch.flight import Fix
from apps.stream.watch.ground import Ground

ROWS, COLUMNS = 300, 400
FRAME = Frame(0, 0.0, np.zeros((ROWS, COLUMNS, 3), np.uint8))
# 100 m up, 90 degrees wide: a pixel is half a metre.
GROUND = Ground(Fix(0.0, 46.0, 7.0, 100.0, 0.0), 90.0, ROWS, COLUMNS)
BLIND = Scene(["background", "fire"], 1)
PLACED = BLIND._replace(ground=lambda frame: GROUND)


def _segmented(*parts, number=1):
    mask = np.zeros((ROWS, COLUMNS), np.uint8)
    for left, top, wide, high in parts:
        mask[top : top + high, left : left + wide] = number
    return Answer("fire", 0.9, np.array([0.5, 0.5]), mask)


def test_a_hot_spot_in_the_middle_lies_under_the_drone():
    seen = wildfire_segment.look(FRAME, _segmented((190, 140, 20, 20)), PLACED)
    assert seen.facts == {"fire_share": 0.00333, "fire_m2": 100.0, "hot_spots": 1, "lat": 46.0, "lon": 7.0}
    assert seen.boxes == [(190, 140, 20, 20, "46.00000, 7.00000")]


def test_without_a_log_there_are_shares_but_no_places():
    seen = wildfire_segment.look(FRAME, _segmented((190, 140, 20, 20)), BLIND)
    assert seen == View({"fire_share": 0.00333, "hot_spots": 1}, [(190, 140, 20, 20, "0.33 %")])
    assert wildfire_segment.look(FRAME, _segmented(), PLACED).facts == {
        "fire_share": 0.0, "fire_m2": 0.0, "hot_spots": 0}  # fmt: skip


def test_spots_come_largest_first_small_ones_left_out_and_no_more_than_most():
    sizes = [3, 9, 30, 4, 20, 5, 11, 6, 7, 8, 10]
    parts = [(10 + 35 * number, 10, size, size) for number, size in enumerate(sizes)]
    seen = wildfire_segment.look(FRAME, _segmented(*parts), BLIND)
    # 12 pixels are a ten-thousandth: 3 x 3 stays out, but burns.
    assert seen.facts["hot_spots"] == 10
    assert seen.facts["fire_share"] == round(sum(size**2 for size in sizes) / (ROWS * COLUMNS), 5)
    assert [box[2] for box in seen.boxes] == [30, 20, 11, 10, 9, 8, 7, 6]


def test_parts_that_touch_at_a_corner_are_one_and_the_place_is_the_largest_ones():
    touching = _segmented((100, 100, 10, 10), (110, 110, 10, 10), (390, 0, 10, 10))
    seen = wildfire_segment.look(FRAME, touching, PLACED)
    assert [box[:4] for box in seen.boxes] == [(100, 100, 20, 20), (390, 0, 10, 10)]
    assert (seen.facts["lat"], seen.facts["lon"]) == pytest.approx(GROUND.point(110, 110), abs=1e-6)


def test_only_the_watched_class_burns():
    assert wildfire_segment.look(FRAME, _segmented((0, 0, 50, 50), number=2), PLACED).facts["hot_spots"] == 0


def test_the_classifier_tells_where_it_looks():
    fire = Answer("fire", 0.8, np.array([0.2, 0.8]))
    assert wildfire_classify.look(FRAME, fire, PLACED) == View({"lat": 46.0, "lon": 7.0}, [])
    assert wildfire_classify.look(FRAME, fire, BLIND) == View({}, [])


def test_the_classifier_frames_the_tile_that_burns_and_no_other():
    tile = (300, 0, 100, 100)
    seen = wildfire_classify.look(FRAME, Answer("fire", 0.8, np.array([0.2, 0.8]), None, tile), PLACED)
    assert seen.boxes == [(*tile, "80 %")]
    assert (seen.facts["lat"], seen.facts["lon"]) == pytest.approx(GROUND.point(350, 50), abs=1e-6)
    quiet = wildfire_classify.look(FRAME, Answer("background", 0.8, np.array([0.8, 0.2]), None, tile), PLACED)
    assert quiet == View({"lat": 46.0, "lon": 7.0}, [])


def test_in_a_large_frame_spots_are_where_they_are_to_a_few_pixels():
    rows, columns = 2160, 3480
    mask, parts = np.zeros((rows, columns), np.uint8), [(100, 200, 90, 60), (3400, 2100, 80, 60), (1500, 7, 40, 40)]
    for left, top, wide, high in parts:
        mask[top : top + high, left : left + wide] = 255
    found = wildfire_segment.spots(mask)
    assert [pixels for _, pixels, _ in found] == pytest.approx([5400, 4800, 1600], rel=0.05)
    for (box, _, centre), (left, top, wide, high) in zip(found, parts, strict=True):
        assert box == pytest.approx((left, top, wide, high), abs=6)
        assert centre == pytest.approx((left + wide / 2, top + high / 2), abs=3)
