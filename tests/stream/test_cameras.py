"""Cameras: addresses and their pipelines, the way a machine opens them, and frames out of a process."""

import os
import shlex
import signal
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.stream import cameras, frames, gst_launch, pipelines, sources
from apps.stream.cameras import Setup
from apps.stream.capture import Capture
from apps.stream.gst_launch import Piped
from edge_mpq.errors import SourceError
from tests.stream.scripted import write_video

JETSON = Setup("6.2", True, "/usr/bin/gst-launch-1.0")
PIP_OPENCV = JETSON._replace(opencv_gstreamer=False)
BARE = PIP_OPENCV._replace(gst_launch="")
COMPUTER = Setup("", True, "/usr/bin/gst-launch-1.0")

BGR = "video/x-raw, format=(string)BGR"
NVMM = "nvvidconv ! video/x-raw, format=(string)BGRx ! videoconvert ! " + BGR
SINK = " ! appsink max-buffers=1 drop=true sync=false"


@pytest.mark.parametrize(
    ("spec", "pipeline"),
    [
        (
            "csi://0",
            "nvarguscamerasrc sensor-id=0 ! video/x-raw(memory:NVMM), width=(int)1280, height=(int)720, "
            "format=(string)NV12, framerate=(fraction)30/1 ! nvvidconv flip-method=0 ! "
            f"video/x-raw, format=(string)BGRx ! videoconvert ! {BGR}{SINK}",
        ),
        (
            "csi://1?width=1920&height=1080&fps=60&flip=2",
            "nvarguscamerasrc sensor-id=1 ! video/x-raw(memory:NVMM), width=(int)1920, height=(int)1080, "
            "format=(string)NV12, framerate=(fraction)60/1 ! nvvidconv flip-method=2 ! "
            f"video/x-raw, format=(string)BGRx ! videoconvert ! {BGR}{SINK}",
        ),
        ("usb://0", f"v4l2src device=/dev/video0 do-timestamp=true ! video/x-raw ! videoconvert ! {BGR}{SINK}"),
        (
            "usb:///dev/video2?width=640&height=480&fps=30",
            "v4l2src device=/dev/video2 do-timestamp=true ! video/x-raw, width=(int)640, height=(int)480, "
            f"framerate=(fraction)30/1 ! videoconvert ! {BGR}{SINK}",
        ),
        (
            "usb:///dev/video0?mjpeg=1&width=1280&height=720",
            "v4l2src device=/dev/video0 do-timestamp=true ! image/jpeg, width=(int)1280, height=(int)720 ! "
            f"jpegparse ! nvv4l2decoder mjpeg=1 ! {NVMM}{SINK}",
        ),
        (
            "rtsp://cam:554/live",
            'rtspsrc location="rtsp://cam:554/live" latency=200 ! rtph264depay ! h264parse ! '
            f"nvv4l2decoder enable-max-performance=1 ! {NVMM}{SINK}",
        ),
        (
            "rtsp://cam/live?channel=1#latency=50&codec=h265",
            'rtspsrc location="rtsp://cam/live?channel=1" latency=50 ! rtph265depay ! h265parse ! '
            f"nvv4l2decoder enable-max-performance=1 ! {NVMM}{SINK}",
        ),
        (
            "file:///a b/fire.mp4",
            'filesrc location="/a b/fire.mp4" ! qtdemux ! h264parse ! nvv4l2decoder ! '
            f"{NVMM} ! appsink max-buffers=4 sync=false",
        ),
        (
            "file://fire.MKV?codec=h265&width=640&height=360",
            'filesrc location="fire.MKV" ! matroskademux ! h265parse ! nvv4l2decoder ! nvvidconv ! video/x-raw, '
            f"width=(int)640, height=(int)360, format=(string)BGRx ! videoconvert ! {BGR} "
            "! appsink max-buffers=4 sync=false",
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("jetpack", ["4.6.1", "5.1", "6.2"])
def test_the_pipeline_of_an_address(spec: str, pipeline: str, jetpack: str) -> None:
    assert pipelines.for_opencv(pipelines.parse(spec), jetpack) == pipeline


def test_thor_decodes_mjpeg_on_its_processor() -> None:
    pipeline = pipelines.for_opencv(pipelines.parse("usb://0?mjpeg=1"), "7.0")
    assert "image/jpeg ! jpegdec ! videoconvert" in pipeline and "nvv4l2decoder" not in pipeline


def test_the_decoder_of_old_jetpacks_is_nowhere() -> None:
    for module in (pipelines, cameras, gst_launch):
        assert "omx" not in Path(str(module.__file__)).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("csi://", "the sensor is ''"),
        ("csi://10", "the sensor is '10'"),
        ("csi:///dev/video0", "not a number"),
        ("csi://0?width=1280", "width and height go together"),
        ("csi://0?width=8&height=8", "width=8 is not 16 to 8192; height=8"),
        ("csi://0?fps=0&flip=8", "fps=0 is not 1 to 240; flip=8 is not 0 to 7"),
        ("csi://0?fps=30.5", "fps=30.5 is not"),
        ("csi://0?fps=", "fps= is not"),
        ("csi://0?mjpeg=1", "mjpeg is not known.*takes flip, fps, height, width"),
        ("usb://front", "the device is 'front'"),
        ("usb:///dev/sda", "the device is '/dev/sda'"),
        ("usb://0?flip=1", "flip is not known"),
        ("file://", "names no file"),
        ("file://a.mp4?codec=vp9", "codec=vp9 is not one of h264, h265"),
        ("rtsp://cam/live#latency=99999", "latency=99999 is not 0 to 10000"),
        ('rtsp://cam/" ! filesink location="/etc/passwd', "the rtsp address holds quotes"),
        ("file://a ! b.mp4", "holds quotes, ' !'"),
        ("csi://0\n", "do not print"),
    ],
)
def test_a_fault_in_an_address_is_told(spec: str, told: str) -> None:
    with pytest.raises(SourceError, match=told) as caught:
        pipelines.parse(spec)
    assert caught.value.mend


def test_no_message_tells_a_password() -> None:
    for spec in ("rtsp://me:secret@cam/live#fps=1", "rtsp://me:secret@cam/'live'"):
        with pytest.raises(SourceError) as caught:
            pipelines.parse(spec)
        assert "secret" not in str(caught.value)


@given(st.sampled_from(["csi://", "usb://", "rtsp://", "file://"]), st.text(max_size=30))
def test_an_address_parses_or_is_refused(scheme: str, rest: str) -> None:
    try:
        address = pipelines.parse(scheme + rest)
    except SourceError:
        return
    assert address is not None and address.kind == scheme[:-3]
    if address.kind != "file" or pipelines.demuxer_of(address.place):
        pipeline = pipelines.for_opencv(address)
        # Nothing of the address becomes an element of its own, nor a second file.
        expected = {"csi": 6, "usb": 8 if address.mjpeg else 4, "rtsp": 8, "file": 8}[address.kind]
        assert pipeline.count(" ! ") == expected


@pytest.mark.parametrize("spec", ["0", "/dev/video0", "fire.mp4", "http://cam/x.mjpg", "csi:/0", "synthetic", ""])
def test_other_words_are_no_address(spec: str) -> None:
    assert pipelines.parse(spec) is None and cameras.opened(spec, JETSON) is None


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


FAKE = """#!{python}
import os, sys, time
words = sys.argv[1:]
with open({log!r}, "w") as log:
    log.write("\\n".join(words))
print("GST_ARGUS: Creating output stream", flush=True)  # as NVIDIA's elements do
out = int(words[-1][len("fd="):])
def write(data):
    while data:
        data = data[os.write(out, data):]
{body}
"""


@pytest.fixture
def fake(tmp_path: Path):
    """A gst-launch-1.0 that writes what a test tells it to: its path; words() are those it was given."""

    def make(body: str) -> str:
        path = tmp_path / "gst-launch-1.0"
        path.write_text(FAKE.format(python=sys.executable, log=str(tmp_path / "words"), body=body))
        path.chmod(0o755)
        return str(path)

    return make


WIDTH, HEIGHT = 18, 16  # 18 pixels are 54 bytes: rows are padded to 56
THREE = """
for level in (10, 20, 30):
    row = bytes([level, level + 1, level + 2]) * 18 + b"??"
    write(row * 16)
"""
CSI = f"csi://0?width={WIDTH}&height={HEIGHT}&fps=30"


def _levels(source: frames.Source) -> list:
    found: list = []
    while True:
        frame = source.read()
        if frame is None:
            return found
        found.append("torn" if frame is frames.TORN else tuple(int(value) for value in frame[0, 0]))


def test_frames_come_out_of_a_process(fake, tmp_path: Path) -> None:
    source = cameras.opened(CSI, PIP_OPENCV._replace(gst_launch=fake(THREE)))
    assert isinstance(source, Piped) and source.live and source.name == CSI
    first = source.read()
    assert first.shape == (HEIGHT, WIDTH, 3) and first.dtype == np.uint8
    # Every pixel, so that no padding has slipped in.
    assert (first == np.array([10, 11, 12], np.uint8)).all()
    assert cv2.cvtColor(first, cv2.COLOR_BGR2RGB)[0, 0].tolist() == [12, 11, 10]
    assert _levels(source) == [(20, 21, 22), (30, 31, 32)]
    assert source.vanished and source.ended.startswith("camera stopped giving frames")
    source.close()
    words = (tmp_path / "words").read_text().split("\n")
    assert words[0] == "-q" and words[-3:-1] == ["!", "fdsink"] and words[-1].startswith("fd=")
    pipeline = pipelines.of_address(pipelines.parse(CSI)) + " ! queue max-size-buffers=1 leaky=downstream ! fdsink"
    assert words[1:-1] == shlex.split(pipeline)


def test_a_video_through_a_process_ends_as_a_file_does(fake, tmp_path: Path) -> None:
    video = tmp_path / "a b.mp4"
    video.write_bytes(b"")
    spec = f"file://{video}?width={WIDTH}&height={HEIGHT}"
    source = cameras.opened(spec, PIP_OPENCV._replace(gst_launch=fake(THREE)))
    assert isinstance(source, Piped) and not source.live and source.stalled_after_s is None
    assert len(_levels(source)) == 3 and (source.ended, source.vanished) == ("end of file", False)
    source.close()
    assert f"location={video}" in (tmp_path / "words").read_text().split("\n")


def test_a_frame_that_is_cut_is_torn(fake) -> None:
    source = cameras.opened(CSI, PIP_OPENCV._replace(gst_launch=fake(THREE + "write(b'12345')")))
    assert source is not None
    assert _levels(source) == [(10, 11, 12), (20, 21, 22), (30, 31, 32), "torn"]
    source.close()


def test_the_last_error_of_the_process_is_told(fake) -> None:
    body = "sys.stderr.write('Setting pipeline\\nERROR: Failed to create CaptureSession\\nFreeing\\n'); sys.exit(1)"
    with pytest.raises(SourceError, match="gives no frame: ERROR: Failed to create CaptureSession.*nvargus-daemon"):
        cameras.opened(CSI, PIP_OPENCV._replace(gst_launch=fake(body)))
    with pytest.raises(SourceError, match="gives no frame: GST_ARGUS: Creating output stream"):
        cameras.opened(CSI, PIP_OPENCV._replace(gst_launch=fake("sys.exit(3)")))


def test_a_process_that_gives_nothing_is_given_up(fake) -> None:
    command = [fake("time.sleep(600)")]
    with pytest.raises(SourceError, match="nothing came for 0 s"):
        Piped("csi://0", command, WIDTH, HEIGHT, True, "mend", first_within_s=0.3)


def test_a_program_that_does_not_start_is_told(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    with pytest.raises(SourceError, match="does not start"):
        cameras.opened(CSI, PIP_OPENCV._replace(gst_launch=str(tmp_path / "none")))
    assert not before or len(os.listdir("/proc/self/fd")) == before


def test_a_camera_that_goes_away_is_told_and_the_loop_ends(fake) -> None:
    body = THREE + "sys.stderr.write('ERROR: Device disconnected\\n'); sys.exit(1)"
    source = cameras.opened(CSI, PIP_OPENCV._replace(gst_launch=fake(body)))
    with Capture(source, newest=False) as capture:
        levels = [frame.pixels[0, 0, 0] for frame in iter(capture.next, None)]
    assert levels == [10, 20, 30]
    assert capture.vanished and capture.ended == "camera stopped giving frames: ERROR: Device disconnected"


def test_stopping_wakes_a_read_and_ends_the_process(fake) -> None:
    source = cameras.opened(CSI, PIP_OPENCV._replace(gst_launch=fake(THREE + "time.sleep(600)")))
    assert isinstance(source, Piped)
    with Capture(source) as capture:
        assert capture.next() is not None
    assert source._process.poll() in (-signal.SIGINT, 1)
    assert source.ended in ("", "stopped") and not source.vanished


def test_a_process_that_ignores_the_interrupt_is_killed(fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gst_launch, "LEAVE_S", 0.2)
    body = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n" + THREE + "time.sleep(600)"
    source = cameras.opened(CSI, PIP_OPENCV._replace(gst_launch=fake(body)))
    assert isinstance(source, Piped)
    source.close()
    assert source._process.poll() == -signal.SIGKILL


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


def test_the_command_line_takes_addresses(fake, monkeypatch: pytest.MonkeyPatch) -> None:
    here = PIP_OPENCV._replace(gst_launch=fake(THREE))
    monkeypatch.setattr(cameras, "setup", lambda: here)
    source = sources.open_source(CSI)
    assert isinstance(source, Piped) and source.read()[0, 0].tolist() == [10, 11, 12]
    source.close()
    with pytest.raises(SourceError, match="fps=999"):
        sources.open_source("csi://0?fps=999")
