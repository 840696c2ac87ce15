"""The sink that raises an alarm: what it tells, and that each source has its own."""

import contextlib
import functools
import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from apps.stream.cameras.again import Again
from apps.stream.cameras.moments import Moments
from apps.stream.cameras.sources import open_source
from apps.stream.decode import Answer
from apps.stream.sinks import Shown
from apps.stream.views.base import View
from apps.stream.watch.alarm import Condition, When
from apps.stream.watch.watch import Watch
from tests.stream.scripted import ListSource, picture, write_video

SOURCE = SimpleNamespace(name="scripted", recorded_fps=10.0, length=0)


class Way:
    def __init__(self):
        self.told, self.closed = [], False

    def tell(self, event):
        self.told.append(json.loads(json.dumps(event)))

    def close(self):
        self.closed = True


def _shown(number, label, stream=None, picture=None, time_s=None):
    view = View({"hot_spots": 2, "lat": 46.5}, [(1, 2, 3, 4, "here")])
    return Shown(number, number, number if time_s is None else time_s, Answer(label, 0.98765, np.array([0.0, 1.0])),
                 1.0, picture, view, stream)  # fmt: skip


def _watch(ways, recorder=None, sources=(SOURCE,)):
    when = When(2, 3, 0)
    return Watch(
        Condition("Fire"), when, ways, "test", ["scripted", "second"], Moments(sources), recorder, lambda: 1784635200.25
    )


def test_an_event_says_when_where_and_what():
    ways = [Way(), Way()]
    watch = _watch(ways)
    for number, label in enumerate(["No_Fire", "Fire", "Fire", "Fire", "No_Fire", "No_Fire", "No_Fire", "No_Fire"]):
        assert watch.write(_shown(number, label)) is None
    watch.close()
    assert ways[0].told == ways[1].told and ways[0].closed and ways[1].closed
    raised, lowered = ways[0].told
    assert raised == {
        "title": "test", "source": "scripted", "event": "raised", "time": "2026-07-21T12:00:00.250Z",
        "time_s": 0.2, "frame": 2, "label": "Fire", "confidence": 0.9877, "facts": {"hot_spots": 2, "lat": 46.5},
        "boxes": [[1, 2, 3, 4, "here"]], "snapshot": None,
    }  # fmt: skip
    assert (lowered["event"], lowered["frame"], lowered["label"]) == ("lowered", 6, "No_Fire")


def test_every_source_has_an_alarm_of_its_own():
    way = Way()
    watch = _watch([way], sources=[SOURCE, SOURCE])
    for number in range(6):
        watch.write(_shown(number, "Fire", 0))
        watch.write(_shown(number, "No_Fire" if number % 2 else "Fire", 1))
    told = [(event["stream"], event["source"], event["frame"]) for event in way.told]
    assert told == [(0, "scripted", 1), (1, "second", 2)]


def test_pictures_are_wanted_for_recording_alone_and_the_event_names_the_snapshot():
    assert not _watch([]).wants(0)
    marks, way = [], Way()
    recorder = SimpleNamespace(
        add=lambda time_s, picture: marks.append((time_s, picture)),
        mark=lambda event, time_s, picture: marks.append((event["event"], picture)) or "snap.jpg",
        close=lambda: marks.append("closed"),
    )
    watch = _watch([way], lambda: recorder)
    assert watch.wants(0)
    for number in range(2):
        watch.write(_shown(number, "Fire", picture=number))
    watch.close()
    assert marks == [(0.0, 0), (0.1, 1), ("raised", 1), "closed"] and way.told[0]["snapshot"] == "snap.jpg"


def test_the_time_of_a_video_is_its_own_and_that_of_a_camera_begins_with_its_first_frame():
    moments = Moments([SOURCE, ListSource([], live=True)])
    assert [moments(_shown(number, "", 0, time_s=99 * number)) for number in (0, 7)] == [0.0, 0.7]
    seen = [moments(_shown(number, "", 1, time_s=time_s)) for number, time_s in ((4, 100.5), (9, 103.0))]
    assert seen == pytest.approx([0.0, 2.5])


@pytest.mark.parametrize("web", [False, True])
def test_the_time_of_a_video_is_its_own_at_any_pace(tmp_path, web):
    video, folder = write_video(tmp_path / "in.avi"), tmp_path / "pictures"
    folder.mkdir()
    cv2.imwrite(str(folder / "a.png"), picture())
    for spec, fps, time_s in ((video, 5.0, 0.7), (video, None, 0.7), (folder, 5.0, 1.4)):
        opened = functools.partial(open_source, str(spec), fps=fps)
        with contextlib.closing(Again(opened) if web else opened()) as source:
            assert Moments([source])(_shown(7, "", time_s=99.0)) == pytest.approx(time_s)


def test_the_time_of_a_video_that_plays_again_begins_again():
    def opened():
        source = ListSource([picture()] * 3)
        source.recorded_fps = 10.0
        return source

    source = Again(opened)
    moments = Moments([source])
    times = []
    for position in range(8):
        assert source.read() is not None
        times.append(moments(_shown(position, "")))
    assert times == [0.0, 0.1, 0.2] * 2 + [0.0, 0.1]
