"""What gives frames: pictures, a video or camera, a test scene, and any of them at a pace.

Every source has one face: ``read()`` gives the next frame, TORN where one was spoilt, and
None once it has ended; ``ended`` then says why, and ``vanished`` whether it should not have.
"""

import threading
import time
from typing import Optional

import cv2
import numpy as np

from apps.stream.cameras import testcard
from edge_mpq.errors import SourceError

TORN = np.empty((0, 0, 3), np.uint8)
# A camera is given a second of failing reads before it counts as gone: USB resets take
# about half of one.  A file needs no time, but a spoilt frame is not its end.
CAMERA_TRIES, CAMERA_PAUSE_S, FILE_TRIES = 10, 0.1, 3
# Drivers give up on their own after 10 s, GStreamer pipelines never.
STALLED_S = 20.0


class Source(object):
    """name: for reports.  live: frames not taken in time are lost.  fps: nominal, 0 unknown.

    recorded_fps: of what was recorded before, its own rate, however fast it is played; 0 of a camera, or unknown.
    stalled_after_s: how long a read may take before the source counts as gone; None for ever.
    lost: why it gives no frames at present, where it may come back.  losses: how often it was lost.
    length: frames from start to end, of what was through once and plays again; else 0.
    """

    name, live, fps, recorded_fps = "", False, 0.0, 0.0
    lost, losses, length = "", 0, 0
    stalled_after_s: Optional[float] = None
    ended, vanished = "", False

    def __init__(self):
        self.stopping = threading.Event()

    def read(self):
        """The next frame, TORN, or None at the end."""
        raise SourceError("{} cannot read".format(type(self).__name__), "use open_source")

    def recover(self, why):
        """Ask a source that gives no whole frame, ``why``, to begin anew; whether it will.  From any thread."""
        return False

    def stop(self):
        """Ask a read that waits to return soon; from any thread."""
        self.stopping.set()

    def close(self):
        """Free the device or file; only from the thread that reads."""


class Pictures(Source):
    """Picture files as a camera, in the order given."""

    def __init__(self, name, paths):
        Source.__init__(self)
        self.name, self._paths = name, iter(paths)

    def read(self):
        for path in self._paths:
            try:
                picture = cv2.imread(path, cv2.IMREAD_COLOR)
            except cv2.error:  # a header that promises gigapixels
                return TORN
            return TORN if picture is None else picture
        self.ended = "end of folder"
        return None


class Synthetic(Source):
    """The test scene, without end."""

    name, fps, recorded_fps = "synthetic", 30.0, 30.0

    def __init__(self):
        Source.__init__(self)
        self._scene, self._index = testcard.Scene(), -1

    def read(self):
        self._index += 1
        return self._scene.picture(self._index)


class Video(Source):
    """What cv2.VideoCapture opens: a video file, a camera or a network stream.

    The first frame is read at once, so that what is no video is refused here.  A failed
    read is TORN where a later one succeeds, and the end where none does.  pause: waits that
    many seconds between reads of a camera; whether to give up.
    """

    def __init__(self, name, device, live, mend, pause=None):
        Source.__init__(self)
        self.name, self.live, self._device = name, live, device
        self._pause = pause or self.stopping.wait
        self._tries, self.stalled_after_s = (CAMERA_TRIES, STALLED_S) if live else (FILE_TRIES, None)
        self._given, self._ahead = 0, []
        what = "camera" if live else "video"
        if not device.isOpened():
            raise SourceError("the {} {} does not open".format(what, name), mend)
        self.fps = _finite(device.get(cv2.CAP_PROP_FPS))
        self.recorded_fps = 0.0 if live else self.fps
        self._promised = 0 if live else int(_finite(device.get(cv2.CAP_PROP_FRAME_COUNT)))
        first = self._take()
        if first is None:
            device.release()
            raise SourceError("the {} {} opens but gives no frame".format(what, name), mend)
        self._ahead.append(first)

    def read(self):
        frame = self._ahead.pop() if self._ahead else self._take()
        if frame is None:
            self._say_why()
        else:
            self._given += 1
        return frame

    def _take(self):
        for attempt in range(self._tries):
            try:
                whole, frame = self._device.read()
            except cv2.error:
                whole, frame = False, None
            if whole and frame is not None:
                if attempt:
                    self._ahead.append(frame)
                return TORN if attempt else frame
            if self.live and self._pause(CAMERA_PAUSE_S):
                return None
        return None

    def _say_why(self):
        if self.live:
            self.ended, self.vanished = "camera stopped giving frames", not self.stopping.is_set()
        # Containers without an index only estimate their length, hence the slack.
        elif self._given < 0.95 * self._promised - 2:
            self.ended = "video ended early, after {} of {} frames".format(self._given, self._promised)
            self.vanished = True
        else:
            self.ended = "end of file"

    def close(self):
        self._device.release()


class Paced(Source):
    """Another source played as a camera of ``fps`` frames a second.

    clock: seconds.  pause: waits that many seconds; by default until :meth:`stop`.
    """

    live = True

    def __init__(self, source, fps, clock=time.perf_counter, pause=None):
        Source.__init__(self)
        self.name, self.fps, self._source = source.name, fps, source
        # Pictures have no rate but this one.
        self.recorded_fps = source.recorded_fps or fps
        self._clock, self._pause, self._due = clock, pause or self.stopping.wait, None

    def read(self):
        now, period = self._clock(), 1.0 / self.fps
        due = now if self._due is None else self._due
        if now < due:
            self._pause(due - now)
        # A camera does not make up for frames it was a whole period late for.
        self._due = (due if now - due < period else now) + period
        frame = self._source.read()
        self.ended, self.vanished = self._source.ended, self._source.vanished
        return frame

    def stop(self):
        self._source.stop()
        Source.stop(self)

    def close(self):
        self._source.close()


def _finite(value):
    return float(value) if 0 < value < 1e9 else 0.0
