"""The capture thread: reads a source, and prepares its frames, while the engine works on the frame before.

Latency mode, of live sources: only the newest frame is kept, so that what is shown is what
is there now; frames that were overtaken are counted in ``dropped``.  Throughput mode, of
files: every frame is handed over in order.  Spoilt frames are counted in ``torn``.  At the
end ``ended`` says why, and ``vanished`` whether the source should have gone on.
"""

import threading
import time
from collections import deque
from typing import Deque, NamedTuple, Optional

import numpy as np

# A source that gives nothing but spoilt frames has failed.
TORN_IN_A_ROW = 100
CLOSE_WAIT_S = 5.0
# In throughput mode: a camera goes on while the engine is held up for a moment, and the frames of a
# video do not all take the same time to decode.
AHEAD_OF_LIVE, AHEAD_OF_FILE = 16, 3
# How often a wait looks whether a source has stalled.
LOOK_S = 0.25


class Frame(NamedTuple):
    """position: its number in the source, from 0.  time_s: when it was read.  pixels: [H, W] or [H, W, C].

    batch: float32 [N, 3, h, w], what the engine is shown of it, from ready_s on.  stream: the
    number of its source among several.
    """

    position: int
    time_s: float
    pixels: np.ndarray
    batch: Optional[np.ndarray] = None
    ready_s: float = 0.0
    stream: int = 0


def is_whole(frame):
    """Whether ``frame`` is a picture that preprocessing understands."""
    return (
        isinstance(frame, np.ndarray)
        and frame.size > 0
        and frame.dtype in (np.uint8, np.uint16)
        and (frame.ndim == 2 or (frame.ndim == 3 and frame.shape[2] in (1, 3, 4)))
    )


class Capture(object):
    """Frames of ``source``, read by a thread of its own.

    newest: keep only the newest frame; None does so for live sources.  clock: seconds.
    stream: the number of the source, and changed: a Condition, where several are taken from
    together.  The thread starts with :meth:`begin` or the first :meth:`next`.  Use it in a
    ``with`` block: leaving it stops the thread and closes the source.
    """

    def __init__(self, source, newest=None, clock=time.perf_counter, stream=0, changed=None):
        self.source, self.dropped, self.torn = source, 0, 0
        self.ended, self.vanished = "", False
        self.parts = [self]
        self._newest = source.live if newest is None else newest
        self._ahead = 1 if self._newest else AHEAD_OF_LIVE if source.live else AHEAD_OF_FILE
        self._clock, self._stream, self._prepare = clock, stream, lambda pixels: None
        self._frames: Deque[Frame] = deque()
        self.error: Optional[BaseException] = None
        self._over, self._closing, self._started = False, False, False
        self._reading_since: Optional[float] = None
        self.changed = changed or threading.Condition()
        # A daemon: a camera driver that never returns must not keep the program alive.
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)

    def begin(self, prepare):
        """Start to read; ``prepare(pixels)`` gives the batch of each frame, in the capture thread."""
        self._prepare = prepare
        if not self._started:
            self._started = True
            self._thread.start()

    def next(self):
        """The next Frame, or None at the end; waits for it.  Raises what the thread raised."""
        if not self._started:
            self.begin(self._prepare)
        frames = self.take()
        return frames[0] if frames else None

    def take(self, timeout_s=None):
        """[the next Frame], or [] at the end or where none comes in time.  Raises what the thread raised."""
        frames = taken(self.parts, self.changed, timeout_s)
        if not frames and self.error is not None:
            raise self.error
        return frames

    # What ``taken`` asks while it holds ``changed``.

    @property
    def ready(self):
        """Whether there is a frame."""
        return bool(self._frames)

    @property
    def over(self):
        """Whether there is no frame, and none will come."""
        return self._over and not self._frames

    @property
    def late(self):
        """Whether the frames of others wait for one of this: a file always has the next one soon."""
        return not (self._frames or self._over or self.source.live)

    def poll(self):
        """The next Frame, or None."""
        return self._frames.popleft() if self._frames else None

    def check(self):
        """Give up a source whose read does not return."""
        limit, since = self.source.stalled_after_s, self._reading_since
        if limit is None or since is None or self._over or time.monotonic() - since < limit:
            return
        why = "no frame for {:.0f} s".format(limit)
        if self.source.recover(why):
            self._reading_since = time.monotonic()
        else:
            self._end("{} stalled: {}".format(self.source.name, why))
            self._over = True

    def close(self):
        """Stop the thread and close the source; twice is harmless."""
        with self.changed:
            self._closing = True
            self.changed.notify_all()
        self.source.stop()
        if self._started:
            self._thread.join(CLOSE_WAIT_S)
        else:
            self.source.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _run(self):
        try:
            try:
                self._read_on()
            finally:
                # Only here is it certain that no read is under way in the driver.
                self.source.close()
        except BaseException as error:  # whatever it is, the main loop is to raise it
            self.error = error
            self._end(str(error) or type(error).__name__)
        finally:
            with self.changed:
                self._over = True
                self.changed.notify_all()

    def _read_on(self):
        position, in_a_row = 0, 0
        while self._has_room():
            self._reading_since = time.monotonic()
            pixels = self.source.read()
            self._reading_since = None
            if pixels is None:
                return self._end(self.source.ended, self.source.vanished)
            if is_whole(pixels):
                in_a_row, read_s = 0, self._clock()
                batch = self._prepare(pixels)
                self._hand_over(Frame(position, read_s, pixels, batch, self._clock(), self._stream))
            else:
                self.torn += 1
                in_a_row += 1
                if in_a_row == TORN_IN_A_ROW:
                    why, in_a_row = "{} spoilt frames in a row".format(in_a_row), 0
                    if not self.source.recover(why):
                        return self._end(why)
            position += 1

    def _end(self, why, vanished=True):
        # What a stalled read says when it returns at last, for it was stopped, is not why.
        if not self._over:
            self.ended, self.vanished = why, vanished

    def _has_room(self):
        """Whether to read on.  Where every frame counts, one is read when it has a place: it would only age."""
        with self.changed:
            if not self._newest:
                self.changed.wait_for(lambda: len(self._frames) < self._ahead or self._closing)
            return not self._closing

    def _hand_over(self, frame):
        with self.changed:
            if self._newest and self._frames:
                self._frames.clear()
                self.dropped += 1
            self._frames.append(frame)
            self.changed.notify_all()


def taken(captures, changed, timeout_s=None):
    """The next Frames of ``captures``, at most one of each: those that are there, at least one.

    Of files the next ones are waited for, so that they go in step.  [] at the end of all, or
    where none comes within ``timeout_s``.  changed: the Condition that the captures share.
    """
    until = float("inf") if timeout_s is None else time.monotonic() + timeout_s
    limits = [capture.source.stalled_after_s for capture in captures]
    look_s = min([LOOK_S] + [limit for limit in limits if limit is not None])
    with changed:
        while _is_to_wait(captures):
            left = until - time.monotonic()
            if left <= 0 or all(capture.over for capture in captures):
                return []
            changed.wait(min(look_s, left))
        frames = [capture.poll() for capture in captures]
        changed.notify_all()
        return [frame for frame in frames if frame is not None]


def _is_to_wait(captures):
    # Looked after each time: one that always has a frame leaves no wait in which another's stall would show.
    for capture in captures:
        capture.check()
    return not any(capture.ready for capture in captures) or any(capture.late for capture in captures)
