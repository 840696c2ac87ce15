"""The capture thread: what it drops, what it keeps, and how it ends.  No test waits for time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.stream.cameras.capture import TORN_IN_A_ROW, Capture, Frame, is_whole
from apps.stream.cameras.frames import TORN
from tests.stream.scripted import Clock, GatedSource, ListSource, picture


def _levels(count):
    return [picture(level=level) for level in range(count)]


def _drain(capture):
    frames: list[Frame] = []
    while True:
        frame = capture.next()
        if frame is None:
            return frames
        frames.append(frame)


def test_a_slow_consumer_of_a_camera_sees_the_newest_frame():
    source = GatedSource(_levels(10))
    with Capture(source, clock=Clock()) as capture:
        source.open_gate(1)
        first = capture.next()
        source.let(4)  # while the consumer works, frames 1 to 4 arrive
        newest = capture.next()
        source.open_gate(1)
        after = capture.next()
    assert [first.position, newest.position, after.position] == [0, 4, 5]
    assert newest.pixels[-1, -1, 0] == 4
    assert capture.dropped == 3


def test_a_slow_consumer_of_a_file_sees_every_frame():
    with Capture(ListSource(_levels(50))) as capture:
        frames = _drain(capture)
    assert [frame.position for frame in frames] == list(range(50))
    assert [int(frame.pixels[-1, -1, 0]) for frame in frames] == list(range(50))
    assert capture.dropped == 0 and capture.ended == "the script ends"


def test_a_file_read_faster_than_asked_loses_nothing():
    source = GatedSource(_levels(5), live=False)
    with Capture(source) as capture:
        source.open_gate(9)
        assert capture.next().position == 0
        assert [frame.position for frame in _drain(capture)] == [1, 2, 3, 4]
    assert capture.dropped == 0


def test_newest_can_be_asked_of_a_file():
    source = GatedSource(_levels(4), live=False)
    with Capture(source, newest=True) as capture:
        source.open_gate(1)
        assert capture.next().position == 0
        source.let(3)
        assert capture.next().position == 3
    assert capture.dropped == 2


@pytest.mark.parametrize(
    "frame",
    [
        TORN,
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((4, 0), np.uint8),
        np.zeros(9, np.uint8),
        np.zeros((1, 4, 4, 3), np.uint8),
        np.zeros((4, 4), np.int32),
        "no array",
    ],
)
def test_what_is_torn(frame):
    assert not is_whole(frame)
    with Capture(ListSource([picture(), frame, picture()])) as capture:
        assert [got.position for got in _drain(capture)] == [0, 2]
    assert capture.torn == 1 and capture.dropped == 0


@given(
    st.sampled_from([np.uint8, np.uint16]),
    st.sampled_from([(), (1,), (3,), (4,)]),
    st.integers(1, 9),
    st.integers(1, 9),
)
def test_grey_alpha_and_deep_frames_are_whole(dtype, channels, rows, columns):
    assert is_whole(np.zeros((rows, columns, *channels), dtype))


def test_a_torn_frame_does_not_displace_a_whole_one():
    source = GatedSource([*_levels(2), TORN, TORN])
    with Capture(source) as capture:
        source.open_gate(1)
        assert capture.next().position == 0
        source.let(3)
        assert capture.next().position == 1
    assert (capture.torn, capture.dropped) == (2, 0)


def test_nothing_but_torn_frames_ends_the_run():
    with Capture(ListSource([picture()] + [TORN] * (TORN_IN_A_ROW + 5))) as capture:
        assert len(_drain(capture)) == 1
    assert capture.vanished and capture.ended == f"{TORN_IN_A_ROW} spoilt frames in a row"


def test_an_error_of_the_thread_comes_out_of_next():
    source = ListSource([picture(), OSError("the cable is out")])
    with Capture(source) as capture:
        assert capture.next().position == 0
        with pytest.raises(OSError, match="cable"):
            capture.next()
    assert source.closed


def test_an_error_of_closing_does_not_hang_the_loop():
    class Stuck(ListSource):
        def close(self):
            raise OSError("the device does not let go")

    with Capture(Stuck([])) as capture, pytest.raises(OSError, match="let go"):
        capture.next()


def test_a_source_that_vanishes_says_so():
    with Capture(ListSource(_levels(3), vanished=True)) as capture:
        assert len(_drain(capture)) == 3
    assert capture.vanished and capture.ended == "the script ends"


def test_a_camera_that_stalls_is_given_up():
    source = GatedSource([])
    source.stalled_after_s = 0.0
    with Capture(source) as capture:
        assert capture.next() is None
    assert capture.vanished and capture.ended == "scripted stalled: no frame for 0 s", "also once it was stopped"


@pytest.mark.parametrize("taken", [0, 1])
def test_leaving_stops_the_thread_and_closes_the_source(taken):
    source = GatedSource(_levels(9), live=False)
    with Capture(source) as capture:
        source.open_gate(taken)
        for _ in range(taken):
            capture.next()
    assert source.closed
    capture.close()


def test_times_are_of_the_clock():
    with Capture(ListSource(_levels(3)), clock=Clock(0.5)) as capture:
        assert [(frame.time_s, frame.ready_s) for frame in _drain(capture)] == [(0.5, 1.0), (1.5, 2.0), (2.5, 3.0)]
