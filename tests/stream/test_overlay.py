"""The overlay: it leaves the frame alone, and can be read on any ground at any size."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.stream import overlay
from apps.stream.decode import Answer
from apps.stream.overlay import LEAST_SIDE, draw, figures_line
from apps.stream.views.base import View
from tests.stream.scripted import picture

FIRE = Answer("fire", 0.973, np.array([0.027, 0.973]))
FIGURES = figures_line(28.44, 3.1, 4.25)


def test_the_line_of_figures():
    assert FIGURES == "28.4 FPS  p50 3.1  p99 4.2 ms"
    assert figures_line(0.0, 3.1, 3.1) == "p50 3.1  p99 3.1 ms"


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 700),
    st.integers(1, 700),
    st.sampled_from([(), (1,), (3,), (4,)]),
    st.sampled_from([np.uint8, np.uint16]),
)
def test_any_frame_gives_a_bgr_picture_and_stays_as_it_was(rows, columns, channels, dtype):
    frame = np.full((rows, columns, *channels), np.iinfo(dtype).max, dtype)
    before = frame.copy()
    drawn = draw(frame, FIRE._replace(mask=np.ones((rows, columns), np.uint8)), FIGURES)
    assert drawn.dtype == np.uint8 and drawn.ndim == 3 and drawn.shape[2] == 3
    assert drawn.shape[0] % rows == 0 and drawn.shape[0] // rows == drawn.shape[1] // columns
    np.testing.assert_array_equal(frame, before)


@pytest.mark.parametrize("level", [0, 128, 255])
@pytest.mark.parametrize(("rows", "columns"), [(64, 64), (32, 48), (480, 640), (720, 1280), (2160, 3840), (900, 120)])
def test_text_stands_light_on_dark(rows, columns, level):
    drawn = draw(np.full((rows, columns, 3), level, np.uint8), FIRE, FIGURES).astype(int).sum(axis=2) // 3
    bare = draw(np.full((rows, columns, 3), level, np.uint8), FIRE._replace(label="", confidence=0.0), "")
    assert bare.shape[:2] == drawn.shape
    band = np.argwhere((drawn < 100).mean(axis=1) > 0.3).ravel() if level > 100 else np.arange(drawn.shape[0])
    text = np.argwhere(drawn[band] > 180)
    assert len(text) > 100, "too few light pixels to be text"
    dark = np.median(drawn[band])
    assert dark <= 70, "the ground of the text is not dark"
    # The text keeps inside the picture's width, and is at least 6 rows high.
    assert text[:, 1].max() < drawn.shape[1] - 1
    assert np.ptp(text[:, 0]) >= 6


def test_small_frames_are_enlarged_by_a_whole_factor():
    assert draw(picture(64, 64), FIRE).shape == (256, 256, 3)
    assert draw(picture(LEAST_SIDE, LEAST_SIDE), FIRE).shape[0] == LEAST_SIDE
    assert draw(picture(100, 1000), FIRE).shape[:2] == (100, 1000)


def test_the_mask_tints_where_it_is_and_nowhere_else():
    frame = np.full((480, 640, 3), 100, np.uint8)
    mask = np.zeros((480, 640), np.uint8)
    mask[200:300, 100:200] = 1
    mask[200:300, 400:500] = 2
    drawn = draw(frame, FIRE._replace(mask=mask))
    blue, green, red = (int(level) for level in drawn[250, 150])
    assert red > 150 and max(blue, green) < 80
    assert tuple(drawn[250, 450]) != tuple(drawn[250, 150]) != (100, 100, 100)
    assert (drawn[310:] == 100).all() and (drawn[210:290, 210:390] == 100).all()
    # The edge is drawn in full colour, so that a large mask shows its outline.
    assert int(drawn[200, 150, 2]) == 255


def test_every_class_has_a_colour():
    mask = np.repeat(np.arange(250, dtype=np.uint8), 2)[None].repeat(300, axis=0)
    assert draw(np.zeros((300, 500, 3), np.uint8), FIRE._replace(mask=mask)).any(axis=2)[200, 2:].all()


def test_boxes_lie_where_they_are_in_the_frame_and_facts_have_lines():
    frame = np.full((480, 640, 3), 100, np.uint8)
    drawn = draw(frame, FIRE, "", View({}, [(200, 250, 100, 80, "")]))
    assert (drawn[250, 200:300] == 255).all() and (drawn[329, 200:300] == 255).all()
    assert (drawn[260:320, 210:290] == 100).all() and (drawn[340:] == 100).all()
    small = draw(frame[:100, :120], FIRE, "", View({}, [(50, 70, 10, 10, "")]))
    assert (small[210, 150:180] == 255).all(), "enlarged as the picture is"
    told = draw(frame, FIRE, "", View({"area %": 12.3456, "where": "left"}))
    band = [int((picture[:, 0] < 50).all(axis=1).sum()) for picture in (draw(frame, FIRE), told)]
    assert band[1] > 1.5 * band[0]


def test_facts_share_lines_and_keep_the_places_of_a_degree():
    facts = {"fire_share": 0.0123, "hot_spots": 3, "lat": -46.123456, "lon": 179.987654, "where": "left"}
    assert overlay._lines(facts) == ["fire_share 0.0123  hot_spots 3", "lat -46.123456  lon 179.987654  where left"]
    assert overlay._lines({"a": "x" * 60, "b": 1 / 3}) == ["a " + "x" * 60, "b 0.333333"]


@pytest.mark.parametrize("box", [(0, 0, 40, 20), (600, 300, 40, 60), (600, 460, 40, 20), (0, 0, 640, 480)])
def test_the_text_of_a_box_stays_in_the_picture(box):
    frame = np.full((480, 640, 3), 100, np.uint8)
    told = [draw(frame, FIRE, "", View({}, [(*box, text)])) for text in ("", "45.91372, 6.12895")]
    changed = np.argwhere((told[0] != told[1]).any(axis=2))
    # All of the band, wherever the box is, and light letters in it.
    high, wide = np.ptp(changed, axis=0) + 1
    assert 12 <= high <= 30 and 120 <= wide <= 200
    top, left = changed.min(axis=0)
    part = told[1][top : top + high, left : left + wide]
    assert (part > 180).sum() > 500 and np.median(part) <= 64
