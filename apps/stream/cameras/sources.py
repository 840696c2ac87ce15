"""Which source a word on the command line names, and what to do where it does not open."""

import glob
import os
import re
import sys
import time

import cv2

from apps.stream.cameras import cameras
from apps.stream.cameras.frames import Paced, Pictures, Synthetic, Video
from apps.stream.cameras.pipelines import shown as shown  # of this module too, for its callers
from edge_mpq.errors import SourceError

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
# For a stream's address to answer; left alone, FFmpeg takes half a minute.
ANSWER_WITHIN_MS = 10000


def open_source(spec, clock=time.perf_counter, fps=None):
    """The Source that ``spec`` names; SourceError where it is not there or not readable.

    spec: ``0`` or ``/dev/video0``, a video, a picture, a folder of pictures, ``rtsp://...``,
    ``csi://0`` or ``usb://0`` with options (apps/stream/cameras/pipelines.py), a GStreamer pipeline
    (with `` ! ``), or ``synthetic``.  fps: play what is no camera as
    one of that rate.
    """
    source = _open(spec)
    return source if fps is None or source.live else Paced(source, fps, clock)


def _open(spec):
    camera = re.match(r"^(?:/dev/video)?(\d+)$", spec)
    if spec == "synthetic":
        return Synthetic()
    if camera:
        return _camera(int(camera.group(1)))
    if " ! " in spec:
        return _pipeline(spec)
    if "://" in spec:
        source = cameras.opened(spec)
        if source is not None:
            return source
        mend = "check address, password and network"
        return Video(shown(spec), _stream(spec), True, mend)
    if os.path.isdir(spec):
        return Pictures(spec, _pictures_in(spec))
    if not os.path.isfile(spec):
        raise SourceError("no file, folder or camera {!r}".format(spec), "check the path, or use --source synthetic")
    if spec.lower().endswith(PICTURES):
        return Pictures(spec, [spec])
    mend = "it is no video OpenCV reads, or was cut short"
    return cameras.video(spec) or Video(spec, _file(spec), False, mend)


def _camera(index):
    there = sorted(glob.glob("/dev/video*"))
    if sys.platform.startswith("linux") and "/dev/video{}".format(index) not in there:
        raise SourceError("there is no camera {}".format(index), "found: " + (", ".join(there) or "none"))
    device = cv2.VideoCapture(index)
    # One frame of buffer: what waits in a longer queue is old when it is shown.
    device.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    return Video("camera {}".format(index), device, True, "does another program hold it, may this user read it?")


def _pipeline(spec):
    if not re.search(r"GStreamer:\s+YES", cv2.getBuildInformation()):
        raise SourceError(
            "this OpenCV ({}) is built without GStreamer".format(cv2.__version__),
            "use JetPack's own python3-opencv; one installed with pip hides it",
        )
    if "appsink" not in spec:
        raise SourceError("the pipeline {!r} has no appsink".format(shown(spec)), "end it with ' ! appsink'")
    # A pipeline that reads a file waits for its reader; any other drops what is late.
    live = "filesrc" not in spec
    return Video(shown(spec), cv2.VideoCapture(spec, cv2.CAP_GSTREAMER), live, "try it with gst-launch-1.0")


def _threads():
    """What tells FFmpeg to decode in as many threads as OpenCV may take; it takes all cores, the engine's too."""
    return [cv2.CAP_PROP_N_THREADS, cv2.getNumThreads()] if hasattr(cv2, "CAP_PROP_N_THREADS") else []


def _file(path):
    device = cv2.VideoCapture(path, cv2.CAP_FFMPEG, _threads()) if _threads() else cv2.VideoCapture(path)
    # What FFmpeg does not open another reader may.
    return device if device.isOpened() else cv2.VideoCapture(path)


def _stream(address):
    # What stands behind # is for apps/stream/cameras/pipelines.py, no server is sent it.
    address = address.partition("#")[0]
    # OpenCV below 4.5.4 cannot be told.
    if hasattr(cv2, "CAP_PROP_OPEN_TIMEOUT_MSEC"):
        names = (cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, cv2.CAP_PROP_READ_TIMEOUT_MSEC)
        limits = [part for name in names for part in (name, ANSWER_WITHIN_MS)] + _threads()
        return cv2.VideoCapture(address, cv2.CAP_FFMPEG, limits)
    return cv2.VideoCapture(address)


def _pictures_in(folder):
    names = [name for name in os.listdir(folder) if name.lower().endswith(PICTURES) and not name.startswith(".")]
    if not names:
        inside = sorted(name for name in os.listdir(folder) if os.path.isdir(os.path.join(folder, name)))
        mend = "name one of its folders: " + ", ".join(inside[:5]) if inside else "it wants " + ", ".join(PICTURES)
        raise SourceError("no pictures in {}".format(folder), mend)
    # As a person counts: frame_2 comes before frame_10.
    names.sort(key=lambda name: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)])
    return [os.path.join(folder, name) for name in names]
