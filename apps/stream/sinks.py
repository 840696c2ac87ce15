"""Where answers go: a window, a video, lines of JSON, a few pictures for the report.

A sink is asked ``wants(number)`` before frame ``number`` (0, 1, ... of those handled) is
drawn, so that nothing is drawn for nobody, and then given the Shown frame.
"""

import base64
import errno
import json
import os
import sys
import tempfile
from typing import NamedTuple, Optional

import cv2
import numpy as np

from apps.stream.decode import Answer
from apps.stream.views.base import NOTHING, View
from edge_mpq.errors import UsageError

CODECS = {".mp4": "mp4v", ".m4v": "mp4v", ".mov": "mp4v", ".mkv": "mp4v", ".avi": "MJPG"}
# How long a picture stands at most where the next is late: a camera that was away for an hour is no hour of video.
STILL_S = 2.0
SAMPLE_COLUMNS, SAMPLE_QUALITY = 640, 85


class Shown(NamedTuple):
    """One frame handled.

    number: of frames handled.  position: its number in the source.  time_s: when it was
    read, since the start.  ms: from frame to answer.  picture: with overlay, BGR, or
    None where no sink wanted it.  view: what is told beside the label.  stream: the number
    of its source among several, None where there is one.
    """

    number: int
    position: int
    time_s: float
    answer: Answer
    ms: float
    picture: Optional[np.ndarray] = None
    view: View = NOTHING
    stream: Optional[int] = None


class Sink(object):
    """One way out.  ``write`` gives a reason to end the run, or None.

    ``wants`` and ``write`` are called by one thread, which is another than the one that made the sink.
    HERE: it has to be that one.  ROUNDS: of several sources it takes not each frame, but what was
    answered together, with one picture of all; ``number`` then counts those.
    """

    HERE, ROUNDS = False, False

    def wants(self, number):
        """Whether the picture of frame ``number`` is to be drawn for this sink."""
        return False

    def write(self, shown):
        """Take one frame."""

    def close(self):
        """Finish; twice is harmless."""


class Window(Sink):
    """A window; ``q``, Escape or closing it ends the run."""

    HERE, ROUNDS = True, True

    def __init__(self, title):
        self._title = title
        if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise UsageError("there is no display for a window", "use --headless, or set DISPLAY")
        try:
            cv2.namedWindow(title, cv2.WINDOW_NORMAL)
        except cv2.error as error:
            what = "this OpenCV ({}) is built without windows".format(cv2.__version__)
            raise UsageError(what, "use --headless") from error

    def wants(self, number):
        return True

    def write(self, shown):
        cv2.imshow(self._title, shown.picture)
        if cv2.waitKey(1) & 0xFF in (ord("q"), 27):
            return "stopped by key"
        if cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) < 1:
            return "window closed"
        return None

    def close(self):
        cv2.destroyAllWindows()


class VideoFile(Sink):
    """A video of the overlay, under a temporary name until it is whole.

    fps: of the video.  live: frames come unevenly, so they are repeated or left out by
    their time, and the video plays at the speed of life, but for gaps longer than STILL_S,
    of which it shows so much.  Every picture takes the size of the first.  Raises UsageError
    where this OpenCV cannot write the format.
    """

    ROUNDS = True

    def __init__(self, path, fps, live):
        self._path, self._fps, self._live = str(path), fps, live
        self._writer, self._half, self._size, self._frames = None, "", None, 0
        self._left_out = 0
        extension = os.path.splitext(self._path)[1].lower()
        if extension not in CODECS:
            raise UsageError("no video format for {}".format(path), "name it one of *" + ", *".join(sorted(CODECS)))
        self._codec = cv2.VideoWriter.fourcc(*CODECS[extension])
        handle, self._half = tempfile.mkstemp(prefix=".half-", suffix=extension, dir=_folder_for(path))
        os.close(handle)
        # Tried now: a missing codec is to be known before the engine is built.
        trial = cv2.VideoWriter(self._half, self._codec, fps, (320, 240))
        works = trial.isOpened()
        trial.release()
        if not works:
            self.close()
            raise UsageError(
                "this OpenCV has no codec {} for {}".format(CODECS[extension], path), "name it *.avi, or leave it out"
            )

    def wants(self, number):
        return True

    def write(self, shown):
        if self._writer is None:
            self._size = shown.picture.shape[1], shown.picture.shape[0]
            self._writer = cv2.VideoWriter(self._half, self._codec, self._fps, self._size)
        picture = shown.picture
        if (picture.shape[1], picture.shape[0]) != self._size:
            picture = cv2.resize(picture, self._size, interpolation=cv2.INTER_AREA)
        due = int(shown.time_s * self._fps) + 1 - self._left_out - self._frames if self._live else 1
        late = max(0, due - max(1, int(STILL_S * self._fps)))
        self._left_out += late
        for _ in range(due - late):
            self._writer.write(picture)
            self._frames += 1

    def close(self):
        """Give the video its name; OSError, and no video, where it did not become whole."""
        if not self._half:
            return
        half, self._half = self._half, ""
        if self._writer is not None:
            self._writer.release()
        # OpenCV does not say when the disk is full, but then the index is missing and nothing plays it.
        if self._frames and cv2.VideoCapture(half).isOpened():
            os.chmod(half, 0o644)
            os.replace(half, self._path)
            return
        os.unlink(half)
        if self._frames:
            raise OSError(errno.ENOSPC, "the video could not be written whole", self._path)


class JsonLines(Sink):
    """One JSON object a frame, each written at once so that it can be followed live."""

    def __init__(self, path):
        self._stream = open(os.path.join(_folder_for(path), os.path.basename(str(path))), "w", encoding="utf-8")

    def write(self, shown):
        body = {
            "frame": shown.position,
            "time_s": round(shown.time_s, 6),
            "label": shown.answer.label,
            "confidence": round(shown.answer.confidence, 6),
            "ms": round(shown.ms, 3),
        }
        if shown.stream is not None:
            body["stream"] = shown.stream
        if shown.view.facts:
            body["facts"] = shown.view.facts
        if shown.view.boxes:
            body["boxes"] = shown.view.boxes
        self._stream.write(json.dumps(body) + "\n")
        self._stream.flush()

    def close(self):
        self._stream.close()


class Sampler(Sink):
    """``count`` pictures spread evenly over a run of unknown length, as JPEG.

    Keeps every n-th frame; once there are twice as many as wanted, every second is let
    go and n doubles.
    """

    ROUNDS = True

    def __init__(self, count=4):
        self._count, self._every, self._kept = count, 1, []

    def wants(self, number):
        return number % self._every == 0

    def write(self, shown):
        if shown.number % self._every:
            return
        picture = narrowed(shown.picture, SAMPLE_COLUMNS)
        jpeg = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, SAMPLE_QUALITY])[1]
        caption = "frame {}: {}, {:.0f} %".format(shown.position, shown.answer.label, 100 * shown.answer.confidence)
        self._kept.append([caption, jpeg.tobytes()])
        if len(self._kept) == 2 * self._count:
            self._kept, self._every = self._kept[::2], 2 * self._every

    def pictures(self):
        """[[caption, JPEG in base64]], at most ``count``, first to last."""
        last = len(self._kept) - 1
        picked = sorted({int(round(last * part / max(1.0, self._count - 1.0))) for part in range(self._count)})
        return [[self._kept[at][0], base64.b64encode(self._kept[at][1]).decode("ascii")] for at in picked if last >= 0]


def narrowed(picture, most):
    """``picture``, at most ``most`` columns wide."""
    rows, columns = picture.shape[:2]
    if columns <= most:
        return picture
    return cv2.resize(picture, (most, max(1, rows * most // columns)), interpolation=cv2.INTER_AREA)


def _folder_for(path):
    """The folder of ``path``, made where it is missing."""
    folder = os.path.dirname(os.path.abspath(str(path)))
    if not os.path.isdir(folder):
        os.makedirs(folder)
    return folder
