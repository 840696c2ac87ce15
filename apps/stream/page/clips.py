"""Clips of what a page shows: of the last seconds, kept as JPEG, and from one moment to another.

Every file lies in one folder of this run's own, under a name of its own, and goes with it.
"""

import contextlib
import os
import shutil
import tempfile
import threading
from collections import deque
from typing import Deque, Optional, Tuple

import cv2
import numpy as np

from apps.stream.decode import Answer
from apps.stream.sinks import Shown, VideoFile
from edge_mpq.errors import UsageError

KEPT_S, KEPT_BYTES = 10.0, 32 << 20
FRAMES_A_SECOND, LONGEST_S = 20.0, 600.0
# What players know best first; the second needs no library.
EXTENSIONS = (".mp4", ".avi")


class Kept(object):
    """The JPEGs of the last ``seconds``, as far as ``most_bytes`` hold them."""

    def __init__(self, seconds=KEPT_S, most_bytes=KEPT_BYTES):
        self._seconds, self._most_bytes = seconds, most_bytes
        self._pictures: Deque[Tuple[float, bytes]] = deque()
        self._bytes, self._lock = 0, threading.Lock()

    def add(self, time_s, jpeg):
        """Keep one picture; the oldest go."""
        with self._lock:
            self._pictures.append((time_s, jpeg))
            self._bytes += len(jpeg)
            while self._pictures and (self._bytes > self._most_bytes or time_s - self._pictures[0][0] > self._seconds):
                self._bytes -= len(self._pictures.popleft()[1])

    def pictures(self):
        """[(time_s, JPEG)], oldest first."""
        with self._lock:
            return list(self._pictures)


class Clips(object):
    """The clips of one run.  live: gives pictures, as Live does.  kept: the Kept of the pages it feeds.

    seconds: of the recording that runs, or None.  Use it in a ``with`` block.
    """

    def __init__(self, live, kept):
        self._live, self._kept = live, kept
        self._folder: Optional[str] = None  # made for the first clip: most runs have none
        self._lock, self._stopping = threading.Lock(), threading.Event()
        self._thread: Optional[threading.Thread] = None
        self._recorded: Optional[str] = None
        self.seconds: Optional[float] = None

    def last(self):
        """A video of the last seconds: an open file, or None where no page has seen any or the disk is full."""
        pictures = self._kept.pictures()
        if not pictures:
            return None
        # One at a time: it takes a processor for about a second.
        with self._lock:
            out, path = self._video("last")
            for time_s, jpeg in pictures:
                out.write(shown(time_s - pictures[0][0], decoded(jpeg)))
            try:
                out.close()
            except OSError:  # the disk is full
                return None
            stream = open(path, "rb")
            os.unlink(path)
        return stream

    def start(self):
        """Begin to record, unless it is under way; the recording before is let go."""
        with self._lock:
            if self._thread is None:
                out, self._recorded = self._video("recording")
                self._stopping.clear()
                self.seconds = 0.0
                self._thread = threading.Thread(target=self._record, args=(out,), name="recording", daemon=True)
                self._thread.start()

    def stop(self):
        """End the recording."""
        with self._lock:
            if self._thread is not None:
                self._stopping.set()
                self._thread.join()
                self._thread, self.seconds = None, None

    def recorded(self):
        """The last recording, once it is whole: an open file, or None."""
        with self._lock:
            path = self._recorded if self._thread is None else None
            return open(path, "rb") if path is not None and os.path.isfile(path) else None

    def close(self):
        """Stop, and remove every file; twice is harmless."""
        self.stop()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _video(self, stem):
        if self._folder is None:
            self._folder = tempfile.mkdtemp(prefix="edge-mpq-clips-")
        return video(os.path.join(self._folder, stem))

    def _record(self, out):
        begun, number = None, 0
        try:
            while not self._stopping.is_set():
                seen = self._live.picture(number, 0.5)
                if seen is None:
                    continue
                number, begun = seen.number, seen.time_s if begun is None else begun
                out.write(shown(seen.time_s - begun, seen.pixels))
                self.seconds = seen.time_s - begun
                if self.seconds > LONGEST_S:
                    break
        finally:
            with contextlib.suppress(OSError):  # the disk is full: there is no recording
                out.close()


def video(stem):
    """(VideoFile, its path), ``stem`` with the first extension whose format this OpenCV writes."""
    for extension in EXTENSIONS:
        try:
            return VideoFile(stem + extension, FRAMES_A_SECOND, True), stem + extension
        except UsageError:
            if extension == EXTENSIONS[-1]:
                raise


def decoded(jpeg):
    """The BGR pixels of a JPEG."""
    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)


def shown(time_s, pixels):
    """What a VideoFile takes: ``pixels``, to be seen from ``time_s`` on."""
    return Shown(0, 0, time_s, Answer("", 0.0, np.empty(0)), 0.0, pixels)
