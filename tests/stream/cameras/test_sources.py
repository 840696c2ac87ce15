"""Sources: what opens, what is refused and how, and how each one ends."""

import contextlib
import struct

import cv2
import numpy as np
import pytest

from apps.stream.cameras import testcard
from apps.stream.cameras.frames import TORN, Paced, Video
from apps.stream.cameras.sources import open_source, shown
from edge_mpq.errors import SourceError
from tests.stream.scripted import Clock, ListSource, picture, write_video


def _all(source):
    frames: list[np.ndarray] = []
    while True:
        frame = source.read()
        if frame is None:
            source.close()
            return frames
        frames.append(frame)


def _folder(tmp_path, levels):
    for name, level in levels.items():
        cv2.imwrite(str(tmp_path / name), picture(level=level))
    return tmp_path


def test_a_folder_plays_in_counting_order(tmp_path):
    folder = _folder(tmp_path, {"f10.png": 30, "f2.png": 20, "F1.PNG": 10, "f2b.png": 25})
    (folder / "notes.txt").write_text("no picture")
    (folder / ".hidden.png").write_text("no picture either")
    source = open_source(str(folder))
    frames = _all(source)
    assert [int(frame[-1, -1, 0]) for frame in frames] == [10, 20, 25, 30]
    assert not source.live and source.ended == "end of folder" and not source.vanished


def test_spoilt_pictures_of_a_folder_are_torn(tmp_path):
    folder = _folder(tmp_path, {"a.png": 10, "c.png": 30})
    whole = (folder / "a.png").read_bytes()
    (folder / "b.png").write_bytes(whole[:40])
    (folder / "d.png").write_bytes(b"")
    frames = _all(open_source(str(folder)))
    assert [frame.size > 0 for frame in frames] == [True, False, True, False]
    assert frames[1] is TORN


def test_one_picture_is_a_short_folder(tmp_path):
    cv2.imwrite(str(tmp_path / "one.jpg"), picture())
    assert len(_all(open_source(str(tmp_path / "one.jpg")))) == 1


@pytest.mark.parametrize(("name", "codec"), [("v.avi", "MJPG"), ("v.mp4", "mp4v")])
def test_a_video_plays_whole(tmp_path, name, codec):
    source = open_source(str(write_video(tmp_path / name, codec=codec)))
    assert not source.live and source.fps == 10
    frames = _all(source)
    assert [round(float(frame.mean()) / 10) for frame in frames] == list(range(12))
    assert source.ended == "end of file" and not source.vanished


def test_a_video_cut_short_says_so(tmp_path):
    path = write_video(tmp_path / "v.avi", frames=40)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    source = open_source(str(path))
    frames = _all(source)
    assert 5 < len(frames) < 30
    assert source.vanished and source.ended == f"video ended early, after {len(frames)} of 40 frames"


def _index_first(mp4: bytes) -> bytes:
    """The same mp4 with its index (moov) before the frames (mdat), as streaming services write it."""
    boxes, at = {}, 0
    while at < len(mp4):
        length, name = struct.unpack(">I4s", mp4[at : at + 8])
        boxes[name], at = mp4[at : at + length], at + length
    moov, shift = bytearray(boxes.pop(b"moov")), len(mp4)
    table = moov.index(b"stco") + 8
    (count,) = struct.unpack(">I", moov[table : table + 4])
    shift = len(moov)
    for entry in range(table + 4, table + 4 + 4 * count, 4):
        moov[entry : entry + 4] = struct.pack(">I", struct.unpack(">I", moov[entry : entry + 4])[0] + shift)
    return boxes.pop(b"ftyp") + bytes(moov) + b"".join(boxes.values())


def test_an_mp4_with_its_index_first_cut_short_says_so(tmp_path):
    path = write_video(tmp_path / "v.mp4", frames=40, codec="mp4v")
    whole = _index_first(path.read_bytes())
    path.write_bytes(whole)
    assert len(_all(open_source(str(path)))) == 40
    path.write_bytes(whole[: len(whole) * 3 // 4])
    source = open_source(str(path))
    assert 0 < len(_all(source)) < 40
    assert source.vanished and "of 40 frames" in source.ended


@pytest.mark.parametrize("kind", ["text", "empty", "truncated"])
def test_what_is_no_video_is_refused(tmp_path, kind):
    path = tmp_path / "v.mp4"
    if kind == "truncated":
        write_video(path, codec="mp4v")
        path.write_bytes(path.read_bytes()[:-200])
    else:
        path.write_text("not a video\n" * 99 if kind == "text" else "")
    with pytest.raises(SourceError, match="does not open; it is no video OpenCV reads, or was cut short"):
        open_source(str(path))


def test_what_is_not_there_is_refused(tmp_path):
    with pytest.raises(SourceError, match="no file, folder or camera.*check the path"):
        open_source(str(tmp_path / "nowhere.mp4"))
    with pytest.raises(SourceError, match="no camera 987; found"):
        open_source("987")
    with pytest.raises(SourceError, match="no camera 987"):
        open_source("/dev/video987")


def test_a_folder_without_pictures_names_what_it_has(tmp_path):
    with pytest.raises(SourceError, match="it wants .jpg"):
        open_source(str(tmp_path))
    (tmp_path / "Fire").mkdir()
    (tmp_path / "No_Fire").mkdir()
    with pytest.raises(SourceError, match="name one of its folders: Fire, No_Fire"):
        open_source(str(tmp_path))


def test_a_pipeline_needs_gstreamer_and_an_appsink():
    pipeline = "videotestsrc num-buffers=3 ! videoconvert"
    if "GStreamer:                   YES" in cv2.getBuildInformation():
        with pytest.raises(SourceError, match="appsink"):
            open_source(pipeline)
    else:
        with pytest.raises(SourceError, match="without GStreamer; use JetPack's own"):
            open_source(pipeline + " ! appsink")


def test_a_stream_that_does_not_answer_hides_its_password():
    with pytest.raises(SourceError) as told:
        open_source("rtsp://user:secret@127.0.0.1:1/none")
    assert "secret" not in str(told.value) and "rtsp://***@127.0.0.1:1/none" in str(told.value)
    assert shown("rtspsrc location=rtsp://a:b@c/d ! appsink") == "rtspsrc location=rtsp://***@c/d ! appsink"


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("rtsp://admin:P@ssw0rd@cam/1", "rtsp://***@cam/1"),
        ("rtsp://cam/1?at=a@b", "rtsp://cam/1?at=a@b"),
        ("rtspsrc user-id=admin user-pw=secret ! appsink", "rtspsrc user-id=admin user-pw=*** ! appsink"),
        ('rtspsrc user-pw="my secret" ! appsink', "rtspsrc user-pw=*** ! appsink"),
        ("http://cam/mjpg?user=a&pwd=sec!ret&width=64", "http://cam/mjpg?user=a&pwd=***"),
        ("http://cam/mjpg?loginpas=secret", "http://cam/mjpg?loginpas=***"),
        ("http://cam/mjpg?Access_Token=secret", "http://cam/mjpg?Access_Token=***"),
        ("csi://0?width=1280&flip=2", "csi://0?width=1280&flip=2"),
    ],
)
def test_a_source_is_shown_without_its_secrets(spec, told):
    assert shown(spec) == told


def test_synthetic_moves_flickers_and_repeats():
    source, again = open_source("synthetic"), open_source("synthetic")
    frames = [source.read() for _ in range(testcard.LIT_FRAMES + 1)]
    assert frames[0].shape == (480, 640, 3) and frames[0].dtype == np.uint8
    np.testing.assert_array_equal(frames[0], again.read())
    lit = [int(frame[:, :, 2].max()) for frame in frames]
    assert min(lit[:-1]) > 150 and lit[-1] < 100
    hottest = {np.unravel_index(int(frame[:, :, 2].argmax()), frame.shape[:2]) for frame in frames[:-1]}
    assert len(hottest) > 20


@pytest.mark.parametrize(("columns", "rows"), [(1, 1), (7, 300), (64, 64), (1921, 33)])
def test_the_test_scene_has_any_size(columns, rows):
    assert testcard.Scene(columns, rows).picture(3).shape == (rows, columns, 3)


def test_a_file_is_decoded_in_as_many_threads_as_opencv_may_take(tmp_path):
    if not hasattr(cv2, "CAP_PROP_N_THREADS"):
        pytest.skip("this OpenCV cannot be told")
    path, before = write_video(tmp_path / "in.avi", codec="mp4v"), cv2.getNumThreads()
    try:
        cv2.setNumThreads(1)
        with contextlib.closing(open_source(str(path))) as source:
            assert source._device.get(cv2.CAP_PROP_N_THREADS) == 1
            assert len(_all(source)) == 12
    finally:
        cv2.setNumThreads(before)


class Device:
    """A cv2.VideoCapture that follows a script: True is a frame, False a failed read."""

    def __init__(self, script, promised=0):
        self.script, self.promised, self.released = list(script), promised, False

    def isOpened(self):
        return bool(self.script)

    def get(self, prop):
        return float(self.promised) if prop == cv2.CAP_PROP_FRAME_COUNT else float("nan")

    def read(self):
        step = self.script.pop(0) if self.script else False
        if isinstance(step, Exception):
            raise step
        return step, picture() if step else None

    def release(self):
        self.released = True


def test_a_failed_read_in_the_middle_is_torn_not_the_end():
    source = Video("v", Device([True, False, True, cv2.error("bad"), True], promised=5), False, "")
    assert [frame.size > 0 for frame in _all(source)] == [True, False, True, False, True]
    assert source.ended == "end of file" and source.fps == 0.0


def test_a_camera_that_stops_has_vanished():
    waits: list[float] = []
    source = Video("camera 0", Device([True, True]), True, "", pause=waits.append)
    assert len(_all(source)) == 2
    assert sum(waits) == pytest.approx(1.0)
    assert source.vanished and source.ended == "camera stopped giving frames"


def test_a_camera_without_frames_is_refused_and_freed():
    device = Device([False] * 50)
    with pytest.raises(SourceError, match="opens but gives no frame; mend"):
        Video("camera 0", device, False, "mend")
    assert device.released


def test_pacing_keeps_the_rate_and_does_not_catch_up():
    clock, waits = Clock(), []

    def pause(seconds):
        waits.append(round(seconds, 6))
        clock.now += seconds

    source = Paced(ListSource([picture()] * 6), 10, clock, pause)
    assert source.live and source.fps == 10
    source.read()
    source.read()
    clock.now += 0.04
    source.read()
    assert waits == [0.1, 0.06]
    clock.now += 5.0  # the reader was away: no burst afterwards
    source.read()
    source.read()
    assert waits == [0.1, 0.06, 0.1]


def test_fps_makes_a_camera_of_a_folder(tmp_path):
    folder = _folder(tmp_path, {"a.png": 10})
    source = open_source(str(folder), Clock(1.0), fps=1000)
    assert source.live and len(_all(source)) == 1
    assert source.ended == "end of folder"
