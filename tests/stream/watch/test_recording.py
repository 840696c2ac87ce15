"""Video around an alarm: what is in it, what lies beside it, and a disk that cannot take it."""

import json
import os
import shutil
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from apps.stream.page.clips import FRAMES_A_SECOND, decoded
from apps.stream.watch import recording
from apps.stream.watch.recording import Recorder, check
from edge_mpq.errors import UsageError

RAISED, LOWERED = {"event": "raised", "time_s": 20.0, "facts": {"lat": 46.5}}, {"event": "lowered", "time_s": 25.0}


def _picture(time_s):
    return np.full((48, 64, 3), int(5 * time_s) % 250, np.uint8)


def _fly(recorder, marks, seconds=50.0, fps=10.0):
    """Show ``recorder`` a flight in which the events ``marks`` happen; the snapshots' paths."""
    paths = []
    for number in range(int(seconds * fps)):
        time_s = number / fps
        recorder.add(time_s, _picture(time_s))
        paths += [recorder.mark(event, time_s, _picture(time_s)) for event in marks if event["time_s"] == time_s]
    recorder.close()
    return paths


def _levels(path):
    video = cv2.VideoCapture(str(path))
    assert video.get(cv2.CAP_PROP_FPS) == pytest.approx(FRAMES_A_SECOND)
    levels = []
    while True:
        whole, frame = video.read()
        if not whole:
            return levels
        levels.append(float(frame.mean()))


def test_a_clip_is_from_some_seconds_before_to_some_seconds_after(tmp_path):
    said: list[str] = []
    snapshot, none = _fly(Recorder(tmp_path, said.append), [RAISED, LOWERED])
    assert said == [] and none is None
    (side_car,) = tmp_path.glob("*.json")
    body = json.loads(side_car.read_text())
    assert body["events"] == [RAISED, LOWERED] and body["snapshots"] == [os.path.basename(snapshot)]
    assert (body["from_s"], body["to_s"], body["left_out"]) == (10.0, 35.0, 0)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".jpg", ".json", os.path.splitext(body["video"])[1]]
    levels = _levels(tmp_path / body["video"])
    assert len(levels) == pytest.approx(25 * FRAMES_A_SECOND, abs=2)
    # It plays at the speed of life: level 5 a second.
    for second in (0, 10, 24):
        assert levels[int(second * FRAMES_A_SECOND)] == pytest.approx(5 * (10 + second), abs=4)
    assert cv2.imread(snapshot).mean() == pytest.approx(100, abs=3)


def test_an_alarm_that_comes_again_meanwhile_goes_on_in_the_same_clip(tmp_path):
    again = {"event": "raised", "time_s": 30.0}, {"event": "lowered", "time_s": 32.0}
    paths = _fly(Recorder(tmp_path, print), [RAISED, LOWERED, *again])
    body = json.loads(next(tmp_path.glob("*.json")).read_text())
    assert [event["time_s"] for event in body["events"]] == [20.0, 25.0, 30.0, 32.0]
    assert body["to_s"] == 42.0 and len({path for path in paths if path}) == 2
    assert sorted(body["snapshots"]) == sorted(path.name for path in tmp_path.glob("*.jpg"))


def test_an_alarm_later_has_a_clip_of_its_own_even_in_the_same_second(tmp_path):
    later = {"event": "raised", "time_s": 40.0}
    _fly(Recorder(tmp_path, print), [RAISED, LOWERED, later])
    bodies = sorted((json.loads(path.read_text()) for path in tmp_path.glob("*.json")), key=lambda body: body["from_s"])
    assert [body["from_s"] for body in bodies] == [10.0, 30.0] and bodies[1]["to_s"] == 49.9
    assert len({body["video"] for body in bodies}) == 2


def test_an_alarm_without_end_has_a_clip_with_one(tmp_path, monkeypatch):
    monkeypatch.setattr(recording, "LONGEST_S", 5.0)
    _fly(Recorder(tmp_path, print), [RAISED])
    assert json.loads(next(tmp_path.glob("*.json")).read_text())["to_s"] == 25.0
    assert len(list(tmp_path.glob("*.json"))) == 1


def test_a_gap_longer_than_a_clip_ends_it_before_the_picture_after_it(tmp_path):
    recorder = Recorder(tmp_path, print)
    for time_s in (19.9, 20.0, 20.1, 3620.0, 3620.1):
        recorder.add(time_s, _picture(time_s))
        if time_s == 20.0:
            recorder.mark(RAISED, time_s, _picture(time_s))
    recorder.close()
    body = json.loads(next(tmp_path.glob("*.json")).read_text())
    assert (body["to_s"], body["pictures"]) == (20.1, 3)


def test_a_video_that_plays_again_begins_anew(tmp_path):
    recorder = Recorder(tmp_path, print)
    for number in range(3 * 300):
        time_s = number % 300 / 10
        recorder.add(time_s, _picture(time_s))
        # Raised early in the second pass, lowered so late in it that the clip would end after it.
        for at, event in ((345, "raised"), (550, "lowered")):
            if number == at:
                recorder.mark({"event": event, "time_s": time_s}, time_s, _picture(time_s))
    assert recorder._clip is None, "it ended with the pass"
    recorder.close()
    body = json.loads(next(tmp_path.glob("*.json")).read_text())
    assert (body["from_s"], body["to_s"], body["pictures"]) == (0.0, 29.9, 300)
    assert len(_levels(tmp_path / body["video"])) == pytest.approx(30 * FRAMES_A_SECOND, abs=2)


def test_no_more_pictures_are_kept_than_a_video_shows(tmp_path):
    recorder = Recorder(tmp_path, print)
    _fly(recorder, [], 5.0, 100.0)
    times = [time_s for time_s, _ in recorder._kept.pictures()]
    assert len(times) == pytest.approx(5 * FRAMES_A_SECOND, abs=2)
    assert np.diff(times).min() >= 1 / FRAMES_A_SECOND - 1e-6


def test_pictures_are_bounded_in_width_and_what_waits_in_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(recording, "WAITING_BYTES", 2000)
    recorder = Recorder(tmp_path, print)
    for number in range(30):
        wide = np.random.default_rng(0).integers(0, 256, (30, 2600, 3), np.uint8)
        recorder.add(number / 10, wide)
    assert decoded(recorder._kept.pictures()[0][1]).shape[1] == 1280
    path = recorder.mark(dict(RAISED, time_s=2.9), 2.9, wide)
    recorder.close()
    assert cv2.imread(path).shape[1] == 2600
    assert json.loads(next(tmp_path.glob("*.json")).read_text())["left_out"] == 30


def test_a_folder_that_cannot_be_written_is_refused_at_the_start(tmp_path, monkeypatch):
    check(str(tmp_path / "new" / "folder"))
    assert (tmp_path / "new" / "folder").is_dir() and not list((tmp_path / "new" / "folder").iterdir())
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below", "/proc/nothing"):
        with pytest.raises(UsageError, match="--record cannot write to .*; name another folder, or make room"):
            check(str(folder))
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1 << 20))
    with pytest.raises(UsageError, match="1 MiB are free, 64 are kept so"):
        check(str(tmp_path))


def test_a_disk_that_fills_ends_the_clip_keeps_what_came_and_is_told_once(tmp_path, monkeypatch):
    said: list[str] = []
    left = iter([1 << 40] * 40)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=next(left, 0)))
    _fly(Recorder(tmp_path, said.append), [RAISED, LOWERED])
    assert len(said) == 1 and "ends early (0 MiB are free, 64 are kept so)" in said[0]
    body = json.loads(next(tmp_path.glob("*.json")).read_text())
    assert body["pictures"] == 41 and _levels(tmp_path / body["video"])


def test_a_video_that_did_not_become_whole_is_told_and_its_events_are_kept(tmp_path, monkeypatch):
    class Cut(recording.clips.VideoFile):
        def close(self):
            os.unlink(self._half)
            raise OSError("the video could not be written whole")

    monkeypatch.setattr(recording.clips, "VideoFile", Cut)
    said: list[str] = []
    _fly(Recorder(tmp_path, said.append), [RAISED, LOWERED])
    assert len(said) == 1 and "ends early (the video could not be written whole)" in said[0]
    body = json.loads(next(tmp_path.glob("*.json")).read_text())
    assert body["events"] == [RAISED, LOWERED] and body["video"] == ""


def test_a_folder_that_vanishes_is_told_and_the_stream_goes_on(tmp_path):
    said: list[str] = []
    folder = tmp_path / "gone"
    folder.mkdir()
    recorder = Recorder(folder, said.append)
    recorder.add(19.9, _picture(19.9))
    folder.rmdir()
    assert recorder.mark(RAISED, 20.0, _picture(20.0)) is None
    recorder.close()
    assert len(said) == 1 and said[0].startswith(f"the alarm is not recorded in {folder} (")


def test_no_codec_is_told_and_leaves_nothing_half(tmp_path, monkeypatch):
    def none(stem):
        raise UsageError("this OpenCV has no codec", "leave it out")

    monkeypatch.setattr(recording.clips, "video", none)
    said: list[str] = []
    assert _fly(Recorder(tmp_path, said.append), [RAISED, LOWERED]) == [None, None]
    assert "no codec" in said[0] and len(said) == 1
