"""Cameras: the way a machine opens them."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from apps.stream.cameras import cameras, pipelines
from apps.stream.cameras.cameras import Setup
from edge_mpq.errors import SourceError
from tests.stream.scripted import write_video

JETSON = Setup("6.2", True, "/usr/bin/gst-launch-1.0")
PIP_OPENCV = JETSON._replace(opencv_gstreamer=False)
BARE = PIP_OPENCV._replace(gst_launch="")
COMPUTER = Setup("", True, "/usr/bin/gst-launch-1.0")


@pytest.mark.parametrize(
    ("spec", "here", "way"),
    [
        ("csi://0", JETSON, "opencv"),
        ("csi://0", PIP_OPENCV, "process"),
        ("usb://0", JETSON, "opencv"),
        ("usb://0?width=640&height=480", PIP_OPENCV, "plain"),
        ("usb://0", COMPUTER, "plain"),
        ("rtsp://cam/live", JETSON, "opencv"),
        ("rtsp://cam/live", PIP_OPENCV, "plain"),
        ("rtsp://cam/live#width=640&height=360", PIP_OPENCV, "process"),
        ("rtsp://cam/live#width=640&height=360", BARE, "plain"),
        ("rtsp://cam/live", COMPUTER, "plain"),
        ("file://fire.mp4", JETSON, "opencv"),
        ("file://fire.avi", JETSON, "plain"),
        ("file://fire.mp4", COMPUTER, "plain"),
    ],
)
def test_the_way_to_open(spec: str, here: Setup, way: str) -> None:
    assert cameras.way(pipelines.parse(spec), here) == way


@pytest.mark.parametrize(
    ("here", "told"), [(COMPUTER, "this is none; use usb://0"), (BARE, "built without GStreamer; use JetPack's own")]
)
def test_a_csi_camera_that_cannot_be_opened_says_why(here: Setup, told: str) -> None:
    with pytest.raises(SourceError, match=told):
        cameras.opened("csi://0", here)


def test_this_machine_has_a_setup() -> None:
    here = cameras.setup()
    assert isinstance(here.opencv_gstreamer, bool) and (not here.gst_launch or os.path.exists(here.gst_launch))


@pytest.mark.parametrize("spec", ["0", "fire.mp4", "http://cam/x.mjpg", "synthetic"])
def test_other_words_are_left_to_others(spec: str) -> None:
    assert cameras.opened(spec, JETSON) is None


class Device:
    """A cv2.VideoCapture that gives two frames."""

    def __init__(self, asked: list, opens: bool = True) -> None:
        self.asked, self.opens, self.left = asked, opens, 2

    def isOpened(self) -> bool:
        return self.opens

    def get(self, kind: int) -> float:
        return 0.0

    def set(self, kind: int, value: float) -> None:
        self.asked.append((kind, value))

    def read(self):
        self.left -= 1
        return (True, np.zeros((4, 4, 3), np.uint8)) if self.left >= 0 else (False, None)

    def release(self) -> None:
        pass


@pytest.fixture
def opencv(monkeypatch: pytest.MonkeyPatch) -> list:
    """What cv2.VideoCapture is asked for."""
    asked: list = []

    def capture(*words):
        asked.append(words)
        return Device(asked)

    monkeypatch.setattr(cameras.cv2, "VideoCapture", capture)
    return asked


def test_with_gstreamer_opencv_gets_the_pipeline(opencv: list) -> None:
    source = cameras.opened("rtsp://me:secret@cam/live", JETSON)
    assert source is not None and source.live and source.name == "rtsp://***@cam/live"
    pipeline = pipelines.for_opencv(pipelines.parse("rtsp://me:secret@cam/live"), "6.2")
    assert opencv == [(pipeline, cv2.CAP_GSTREAMER)]


def test_a_usb_camera_on_a_computer_is_asked_for_its_format(opencv: list, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cameras.os.path, "exists", lambda path: path == "/dev/video3")
    source = cameras.opened("usb://3?mjpeg=1&width=640&height=480&fps=30", COMPUTER)
    assert source is not None and source.live
    assert opencv == [
        (3,),
        (cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG")),
        (cv2.CAP_PROP_FRAME_WIDTH, 640),
        (cv2.CAP_PROP_FRAME_HEIGHT, 480),
        (cv2.CAP_PROP_FPS, 30),
        (cv2.CAP_PROP_BUFFERSIZE, 1),
    ]
    with pytest.raises(SourceError, match="there is no /dev/video4; edge-mpq doctor"):
        cameras.opened("usb://4", COMPUTER)


def test_a_stream_on_a_computer_is_left_to_opencv(opencv: list) -> None:
    assert cameras.opened("rtsp://cam/live", COMPUTER) is None and opencv == []


def test_a_video_by_address(tmp_path: Path) -> None:
    video = write_video(tmp_path / "in.avi")
    source = cameras.opened(f"file://{video}", JETSON)
    assert source is not None and not source.live and source.read().shape == (64, 96, 3)
    source.close()
    with pytest.raises(SourceError, match="no file"):
        cameras.opened(f"file://{tmp_path}/none.mp4", JETSON)


def test_a_video_by_path_takes_the_decoder_of_a_jetson(opencv: list, tmp_path: Path) -> None:
    (tmp_path / "fire.mp4").write_bytes(b"")
    source = cameras.video(str(tmp_path / "fire.mp4"), JETSON)
    assert source is not None and not source.live
    assert ["h264parse" in words[0] for words in opencv] == [True]
    for here, name in ((COMPUTER, "fire.mp4"), (PIP_OPENCV, "fire.mp4"), (JETSON, "fire.avi"), (JETSON, "fire's.mp4")):
        (tmp_path / name).write_bytes(b"")
        assert cameras.video(str(tmp_path / name), here) is None


def test_a_video_of_the_other_codec_is_tried_and_of_none_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "fire.mp4").write_bytes(b"")
    asked = []

    def only(codec: str):
        def capture(pipeline, _):
            asked.append(pipeline)
            return Device([], codec + "parse" in pipeline)

        return capture

    monkeypatch.setattr(cameras.cv2, "VideoCapture", only("h265"))
    assert cameras.video(str(tmp_path / "fire.mp4"), JETSON) is not None and len(asked) == 2
    monkeypatch.setattr(cameras.cv2, "VideoCapture", only("vp9"))
    assert cameras.video(str(tmp_path / "fire.mp4"), JETSON) is None
