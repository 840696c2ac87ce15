"""Cameras, streams and videos opened the way this machine does it best.

On a Jetson GStreamer decodes on its engines, through OpenCV where that was built with
GStreamer and through a ``gst-launch-1.0`` process where it was not.  Everywhere else
OpenCV opens them itself.
"""

import os
import re
import shutil
import sys
from typing import NamedTuple

import cv2

from apps.stream import jetson
from apps.stream.cameras import pipelines
from apps.stream.cameras.frames import Video
from apps.stream.cameras.gst_launch import Piped
from edge_mpq.errors import SourceError

FREE_SENSOR = "is another program on the sensor? sudo systemctl restart nvargus-daemon frees it"
FREE_DEVICE = "does another program hold it, may this user read it? v4l2-ctl --list-formats-ext tells its sizes"
OLD_OPENCV = "use JetPack's own python3-opencv (one installed with pip hides it), or install gstreamer1.0-tools"


class Setup(NamedTuple):
    """What there is to open cameras with.

    jetpack: version, '' where this is no Jetson.  opencv_gstreamer: whether OpenCV has it.
    gst_launch: path of the program, '' without.
    """

    jetpack: str
    opencv_gstreamer: bool
    gst_launch: str


def setup():
    """The Setup of this machine."""
    board = jetson.read()
    built = re.search(r"GStreamer:\s+YES", cv2.getBuildInformation()) is not None
    # An L4T that is not in the table is newer than it.
    return Setup((board.jetpack or "7") if board else "", built, shutil.which("gst-launch-1.0") or "")


def way(address, here):
    """How to open ``address`` with Setup ``here``: ``opencv`` or ``process`` (GStreamer in either), or ``plain``.

    Raises SourceError where there is no way.
    """
    if address.kind == "csi":
        if not here.jetpack:
            raise SourceError("csi://{} is a camera of a Jetson, this is none".format(address.place), "use usb://0")
        if here.opencv_gstreamer:
            return "opencv"
        if here.gst_launch:
            return "process"
        raise SourceError("this OpenCV ({}) is built without GStreamer".format(cv2.__version__), OLD_OPENCV)
    if not here.jetpack or (address.kind == "file" and not pipelines.demuxer_of(address.place)):
        return "plain"
    if here.opencv_gstreamer:
        return "opencv"
    # A pipe carries no size, so that of a stream must be asked for; a USB camera needs no GStreamer.
    return "process" if here.gst_launch and address.width and address.kind != "usb" else "plain"


def opened(spec, here=None):
    """The Source of the ``csi usb rtsp file`` address ``spec``, or None where OpenCV opens it as it stands.

    Raises SourceError where it does not open.
    """
    address = pipelines.parse(spec)
    if address is None:
        return None
    here = here or setup()
    chosen = way(address, here)
    if address.kind == "usb":
        _check_device(pipelines.device_of(address))
    if address.kind == "file" and not os.path.isfile(address.place):
        raise SourceError("no file {}".format(address.place), "check the path")
    other = "is it {}? another codec is named as codec=h265".format(address.codec or "h264")
    mend = {"csi": FREE_SENSOR, "usb": FREE_DEVICE}.get(address.kind, other)
    name = pipelines.shown(spec)
    if chosen == "opencv":
        pipeline = pipelines.for_opencv(address, here.jetpack)
        return Video(name, cv2.VideoCapture(pipeline, cv2.CAP_GSTREAMER), address.live, mend)
    if chosen == "process":
        sized = address if address.width else address._replace(width=1280, height=720)
        command = [here.gst_launch] + pipelines.for_pipe(sized, here.jetpack)
        return Piped(name, command, sized.width, sized.height, address.live, mend)
    if address.kind == "usb":
        return Video(name, _plain(address), True, mend)
    if address.kind == "file":
        return Video(name, cv2.VideoCapture(address.place), False, "it is no video OpenCV reads, or was cut short")
    return None


def video(path, here=None):
    """The Source of the video file ``path`` through the decoder of a Jetson, or None where OpenCV is to read it."""
    here = here or setup()
    if not (here.jetpack and here.opencv_gstreamer and pipelines.demuxer_of(path)):
        return None
    for codec in pipelines.CODECS:
        try:
            return opened("file://{}?codec={}".format(path, codec), here)
        except SourceError:
            continue  # of another codec, or none the decoder knows
    return None


def _check_device(device):
    if sys.platform.startswith("linux") and not os.path.exists(device):
        raise SourceError("there is no {}".format(device), "edge-mpq doctor lists the cameras there are")


def _plain(address):
    device = cv2.VideoCapture(int(address.place.replace("/dev/video", "")))
    # Format before size: a driver may know a size in one of its formats only.
    if address.mjpeg:
        device.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
    for kind, wanted in (
        (cv2.CAP_PROP_FRAME_WIDTH, address.width),
        (cv2.CAP_PROP_FRAME_HEIGHT, address.height),
        (cv2.CAP_PROP_FPS, address.fps),
    ):
        if wanted:
            device.set(kind, wanted)
    device.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    return device
