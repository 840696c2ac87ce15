"""Addresses of cameras, streams and videos, and the GStreamer pipelines they stand for."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.stream.cameras import cameras, gst_launch, pipelines
from edge_mpq.errors import SourceError

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
    assert pipelines.parse(spec) is None
