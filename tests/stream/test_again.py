"""Sources that are opened again: what is told, what is waited for, and when it is given up.  No test waits for time."""

import pytest

from apps.stream.again import RETRY_S, Again
from apps.stream.capture import TORN_IN_A_ROW, Capture
from apps.stream.frames import TORN
from edge_mpq.errors import SourceError
from tests.stream.scripted import Clock, GatedSource, ListSource, picture


def test_a_source_is_opened_again_until_it_is_stopped():
    ones, pauses, sources = picture(), [], []
    script = [
        ListSource([ones, TORN]),
        ListSource([ones], vanished=True),
        SourceError("the camera 0 does not open", "look"),
        SourceError("there is no camera 0", "look"),
        ListSource([ones, ones]),
    ]

    def opened():
        made = script.pop(0)
        if isinstance(made, Exception):
            raise made
        sources.append(made)
        return made

    def pause(seconds):
        pauses.append((seconds, again.lost))

    again = Again(opened, pause)
    assert [again.read() is TORN for _ in range(3)] == [False, True, False]
    assert again.lost == "" and sources[0].closed
    assert again.read() is ones and again.lost == ""
    assert pauses == [(RETRY_S, "the camera 0 does not open"), (RETRY_S, "there is no camera 0")]
    assert again.read() is ones
    again.stop()
    assert sources[-1].stopping.is_set() and again.read() is None and not again.vanished
    again.close()
    assert all(source.closed for source in sources)


def _again(script, **more):
    """(An Again over ``script``, what it said, its Clock); it waits by moving the clock."""
    clock, said = Clock(), []

    def opened():
        made = script.pop(0)
        if isinstance(made, Exception):
            raise made
        return made

    def pause(seconds):
        clock.now += seconds

    return Again(opened, pause, say=said.append, clock=clock, **more), said, clock


def test_a_camera_that_is_lost_is_told_of_once_and_again_when_it_is_back():
    gone = SourceError("there is no camera 0", "look")
    script = [ListSource([picture()], True, vanished=True), gone, gone, ListSource([TORN, picture(), picture()], True)]
    again, said, _ = _again(script, replay=False, give_up_s=60.0)
    assert again.read() is not None and said == []
    assert again.read() is TORN and again.lost, "a spoilt frame is not yet back"
    assert again.read() is not None and again.lost == ""
    assert again.read() is not None
    assert said == [
        "scripted is lost (the script ends); it is tried again every 2 s",
        "scripted is back after 4 s",
    ] and again.losses == 1  # fmt: skip
    assert again.read() is None and again.ended == "the script ends" and not again.vanished, "and its end is its end"


def test_a_camera_that_stays_away_is_given_up():
    script = [ListSource([picture()], True, vanished=True)] + [SourceError("there is no camera 0", "look")] * 99
    again, said, clock = _again(script, replay=False, give_up_s=60.0)
    assert again.read() is not None and again.read() is None
    assert again.vanished and again.ended == "there is no camera 0" and clock.now == pytest.approx(60.0)
    assert len(said) == 1


def test_a_camera_that_gives_nothing_but_spoilt_frames_is_opened_again():
    script = [ListSource([picture()] + [TORN] * 500, True), ListSource([picture()] * 3, True)]
    again, said, _ = _again(script, replay=False)
    with Capture(again) as capture:
        frames = []
        while True:
            frame = capture.next()
            if frame is None:
                break
            frames.append(frame)
    assert capture.torn == TORN_IN_A_ROW and not capture.vanished and again.losses == 1
    assert said[0].startswith("scripted is lost (100 spoilt frames in a row)") and len(said) == 2


def test_a_camera_whose_read_hangs_is_opened_again():
    stuck, whole = GatedSource([picture()] * 9), ListSource([picture()], True)
    stuck.stalled_after_s = 0.05
    again, said, _ = _again([stuck, whole], replay=False)
    with Capture(again) as capture:
        assert capture.next() is not None, "from the second: the first never gives one"
        assert capture.next() is None
    assert stuck.stopping.is_set() and again.losses == 1 and "no frame for 0 s" in said[0]


def test_a_source_that_does_not_open_at_first_is_an_error():
    def opened():
        raise SourceError("there is no camera 7", "found: none")

    with pytest.raises(SourceError, match="no camera 7"):
        Again(opened)
