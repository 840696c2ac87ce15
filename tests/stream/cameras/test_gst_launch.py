"""Frames out of a process: a script stands in for gst-launch-1.0."""

import os
import shlex
import signal
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from apps.stream.cameras import cameras, frames, gst_launch, pipelines, sources
from apps.stream.cameras.cameras import Setup
from apps.stream.cameras.capture import Capture
from apps.stream.cameras.gst_launch import Piped
from edge_mpq.errors import SourceError

PIP_OPENCV = Setup("6.2", False, "/usr/bin/gst-launch-1.0")

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
    # Fewer where what earlier tests left open was closed meanwhile.
    assert not before or len(os.listdir("/proc/self/fd")) <= before


def test_a_camera_that_goes_away_is_told_and_the_loop_ends(fake) -> None:
    body = THREE + "sys.stderr.write('ERROR: Device disconnected\\n'); sys.exit(1)"
    source = cameras.opened(CSI, PIP_OPENCV._replace(gst_launch=fake(body)))
    with Capture(source, newest=False) as capture:
        levels = [frame.pixels[0, 0, 0] for frame in iter(capture.next, None)]
    assert levels == [10, 20, 30]
    assert capture.vanished and capture.ended == "camera stopped giving frames: ERROR: Device disconnected"


@pytest.mark.skipif(signal.getsignal(signal.SIGINT) is signal.SIG_IGN, reason="a job in the background hears no Ctrl-C")
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


def test_the_command_line_takes_addresses(fake, monkeypatch: pytest.MonkeyPatch) -> None:
    here = PIP_OPENCV._replace(gst_launch=fake(THREE))
    monkeypatch.setattr(cameras, "setup", lambda: here)
    source = sources.open_source(CSI)
    assert isinstance(source, Piped) and source.read()[0, 0].tolist() == [10, 11, 12]
    source.close()
    with pytest.raises(SourceError, match="fps=999"):
        sources.open_source("csi://0?fps=999")
