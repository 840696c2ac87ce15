"""Sinks: what they write, and that nothing half-written stays."""

import base64
import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from apps.stream.decode import Answer
from apps.stream.sinks import STILL_S, JsonLines, Sampler, Shown, VideoFile, Window
from apps.stream.views.base import View
from edge_mpq.errors import UsageError

FIRE = Answer("fire", 0.9731234567, np.array([0.03, 0.97]))


def _shown(number, level=0, size=(96, 64), time_s=None):
    frame = np.full((size[1], size[0], 3), level, np.uint8)
    return Shown(number, 2 * number, number / 10 if time_s is None else time_s, FIRE, 1.23456, frame)


def _levels(path: Path):
    video = cv2.VideoCapture(str(path))
    levels: list[int] = []
    while True:
        whole, frame = video.read()
        if not whole:
            return levels
        levels.append(round(float(frame.mean()) / 10))


@pytest.mark.parametrize("extension", [".mp4", ".avi", ".mkv", ".MP4"])
def test_a_video_comes_back(tmp_path, extension):
    path = tmp_path / "new" / ("out" + extension)
    sink = VideoFile(path, 10, live=False)
    for number in range(12):
        assert sink.wants(number)
        assert sink.write(_shown(number, 20 * number)) is None
    assert not path.exists()
    sink.close()
    sink.close()
    assert _levels(path) == [2 * number for number in range(12)]
    assert os.listdir(path.parent) == [path.name]
    assert cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FPS) == pytest.approx(10)


def test_frames_of_other_sizes_take_the_first_ones(tmp_path):
    sink = VideoFile(tmp_path / "out.avi", 10, live=False)
    for number, size in enumerate([(96, 64), (33, 47), (640, 480)]):
        sink.write(_shown(number, 100, size))
    sink.close()
    video = cv2.VideoCapture(str(tmp_path / "out.avi"))
    assert [video.read()[1].shape for _ in range(3)] == [(64, 96, 3)] * 3


def test_odd_sizes_are_written(tmp_path):
    sink = VideoFile(tmp_path / "out.mp4", 10, live=False)
    for number in range(3):
        sink.write(_shown(number, 100, (97, 65)))
    sink.close()
    assert _levels(tmp_path / "out.mp4") == [10, 10, 10]


def test_a_camera_that_stutters_plays_at_the_speed_of_life(tmp_path):
    sink = VideoFile(tmp_path / "out.avi", 10, live=True)
    for number, time_s in enumerate([0.0, 0.1, 0.55, 0.56, 0.6]):
        sink.write(_shown(number, 50 * number, time_s=time_s))
    sink.close()
    assert _levels(tmp_path / "out.avi") == [0, 5, 10, 10, 10, 10, 20]


def test_a_gap_is_shown_for_no_longer_than_a_still_picture(tmp_path):
    sink = VideoFile(tmp_path / "out.avi", 10, live=True)
    for number, time_s in enumerate([0.0, 0.1, 3600.0, 3600.1, 3600.3]):
        sink.write(_shown(number, 50 * number, time_s=time_s))
    sink.close()
    assert _levels(tmp_path / "out.avi") == [0, 5] + [10] * int(10 * STILL_S) + [15, 20, 20]


def test_a_disk_that_is_full_leaves_the_file_that_was_there_and_is_told(tmp_path):
    resource = pytest.importorskip("resource")
    path, noise = tmp_path / "out.mp4", np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    path.write_text("of yesterday")
    sink = VideoFile(path, 10, live=False)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20000, before[1]))
    try:
        for number in range(40):
            sink.write(_shown(number)._replace(picture=noise))
        with pytest.raises(OSError, match="could not be written whole") as told:
            sink.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert told.value.filename == str(path)
    assert path.read_text() == "of yesterday" and os.listdir(tmp_path) == [path.name]
    sink.close()


def test_a_video_without_frames_leaves_nothing(tmp_path):
    VideoFile(tmp_path / "out.mp4", 10, live=False).close()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["out", "out.txt", "out.png"])
def test_a_video_of_no_known_format_is_refused(tmp_path, name):
    with pytest.raises(UsageError, match=r"name it one of \*\.avi"):
        VideoFile(tmp_path / name, 10, live=False)
    assert not list(tmp_path.iterdir())


def test_lines_of_json_are_there_at_once(tmp_path):
    path = tmp_path / "new" / "out.jsonl"
    sink = JsonLines(path)
    for number in range(3):
        assert not sink.wants(number)
        sink.write(_shown(number))
        assert len(path.read_text().splitlines()) == number + 1
    sink.close()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines[2] == {"frame": 4, "time_s": 0.2, "label": "fire", "confidence": 0.973123, "ms": 1.235}


def test_a_file_that_cannot_be_written_is_an_os_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        JsonLines(tmp_path / "file" / "out.jsonl")
    with pytest.raises(OSError):
        VideoFile(tmp_path / "file" / "out.mp4", 10, live=False)


@pytest.mark.parametrize("frames", [0, 1, 2, 4, 7, 8, 9, 63, 1000])
def test_samples_are_few_and_evenly_spread(frames):
    sampler, drawn = Sampler(4), 0
    for number in range(frames):
        wanted = sampler.wants(number)
        drawn += wanted
        sampler.write(_shown(number)._replace(position=number) if wanted else _shown(number)._replace(picture=None))
    pictures = sampler.pictures()
    assert len(pictures) == min(frames, 4)
    at = [int(caption.split(":")[0].split()[1]) for caption, _ in pictures]
    assert at == sorted(set(at))
    if frames > 4:
        steps = np.diff(at)
        assert at[0] == 0 and at[-1] >= frames // 2 and steps.max() <= 2 * steps.min() + 1
    assert drawn <= 8 * (1 + np.log2(max(1, frames / 4)))


def test_samples_are_jpegs_of_a_bounded_size():
    sampler = Sampler()
    sampler.write(_shown(0, 100, (1920, 1080)))
    ((caption, coded),) = sampler.pictures()
    decoded = cv2.imdecode(np.frombuffer(base64.b64decode(coded), np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None and decoded.shape == (360, 640, 3) and abs(int(decoded.mean()) - 100) < 3
    assert caption == "frame 0: fire, 97 %"


def test_a_window_that_cannot_open_says_use_headless(monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UsageError, match="no display for a window; use --headless"):
        Window("title")
    if "GUI:                           NONE" in cv2.getBuildInformation():
        monkeypatch.setenv("DISPLAY", ":0")
        with pytest.raises(UsageError, match="built without windows; use --headless"):
            Window("title")


def test_the_facts_of_a_view_are_in_the_line(tmp_path):
    sink = JsonLines(tmp_path / "out.jsonl")
    sink.write(_shown(0)._replace(view=View({"area": 0.25, "where": "left"})))
    sink.close()
    assert json.loads((tmp_path / "out.jsonl").read_text())["facts"] == {"area": 0.25, "where": "left"}
