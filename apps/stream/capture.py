"""The capture thread: reads a source while the engine works on the frame before.

From a live source it keeps only the newest frame, so that what is shown is what is there
now; frames that were overtaken are counted in ``dropped``.  From a file every frame is
handed over in order, read one ahead.  Spoilt frames are counted in ``torn``.  At the end
``ended`` says why, and ``vanished`` whether the source should have gone on.
"""

import threading
import time
from typing import NamedTuple

import numpy as np

# A source that gives nothing but spoilt frames has failed.
TORN_IN_A_ROW = 100
CLOSE_WAIT_S = 5.0


class Frame(NamedTuple):
    """position: its number in the source, from 0.  time_s: when it was read.  pixels: [H, W] or [H, W, C]."""

    position: int
    time_s: float
    pixels: np.ndarray


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
    The thread starts with the first :meth:`next`.  Use it in a ``with`` block: leaving it
    stops the thread and closes the source.
    """

    def __init__(self, source, newest=None, clock=time.perf_counter):
        self.source, self.dropped, self.torn = source, 0, 0
        self.ended, self.vanished = "", False
        self._newest = source.live if newest is None else newest
        self._clock, self._slot, self._error = clock, None, None
        self._over, self._closing = False, False
        self._changed = threading.Condition()
        # A daemon: a camera driver that never returns must not keep the program alive.
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)
        self._started = False

    def next(self):
        """The next Frame, or None at the end; waits for it.  Raises what the thread raised."""
        if not self._started:
            self._started = True
            self._thread.start()
        with self._changed:
            came = self._changed.wait_for(lambda: self._slot is not None or self._over, self.source.stalled_after_s)
            if not came:
                self._end("{} stalled: no frame for {:.0f} s".format(self.source.name, self.source.stalled_after_s))
            frame, self._slot = self._slot, None
            self._changed.notify_all()
            if frame is None and self._error is not None:
                raise self._error
            return frame

    def close(self):
        """Stop the thread and close the source; twice is harmless."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
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
            self._error = error
        finally:
            with self._changed:
                self._over = True
                self._changed.notify_all()

    def _read_on(self):
        position, in_a_row = 0, 0
        while not self._closing:
            pixels = self.source.read()
            if pixels is None:
                return self._end(self.source.ended, self.source.vanished)
            if is_whole(pixels):
                in_a_row = 0
                self._hand_over(Frame(position, self._clock(), pixels))
            else:
                self.torn += 1
                in_a_row += 1
                if in_a_row == TORN_IN_A_ROW:
                    return self._end("{} spoilt frames in a row".format(in_a_row))
            position += 1

    def _end(self, why, vanished=True):
        self.ended, self.vanished = why, vanished

    def _hand_over(self, frame):
        with self._changed:
            if self._newest:
                self.dropped += self._slot is not None
            else:
                self._changed.wait_for(lambda: self._slot is None or self._closing)
            self._slot = frame
            self._changed.notify_all()
