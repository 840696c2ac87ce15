"""A source that is opened again: a camera that vanished when it is back, and for a page a file from its start.

A pulled cable or a camera that restarts is something to tell and to wait out, and where a
page stays open, a video's end is no reason to leave.
"""

import time

from apps.stream.cameras.capture import is_whole
from apps.stream.cameras.frames import Source
from edge_mpq.errors import SourceError

RETRY_S = 2.0
# Where nobody may be watching, whoever started the run is to know at last that it cannot do its work; and a call
# of the driver that has not returned by then holds the thread for ever, which only another process can mend.
GIVE_UP_S = 300.0


class Again(Source):
    """The source that ``opened()`` gives, opened again whenever it vanishes, until :meth:`stop`.

    replay: also when it ends as it should.  give_up_s: how long it may be away; None for ever, but for a
    driver that does not return.
    say: told in one line when it is lost and when it is back.  lost: why it gives no frames at
    present, '' while it does.  clock: seconds.  pause: waits that many seconds; by default until
    :meth:`stop`.  Raises SourceError where it does not open at first.
    """

    def __init__(self, opened, pause=None, replay=True, give_up_s=None, say=lambda line: None, clock=time.monotonic):
        Source.__init__(self)
        self._opened, self._pause = opened, pause or self.stopping.wait
        self._replay, self._give_up_s, self._say, self._clock = replay, give_up_s, say, clock
        self._inner = opened()
        self.name, self.live, self.fps = self._inner.name, self._inner.live, self._inner.fps
        self.recorded_fps = self._inner.recorded_fps
        self.stalled_after_s = self._inner.stalled_after_s
        self._lost_s, self._called_s, self._anew, self._reads = 0.0, clock(), False, 0

    def read(self):
        while not self.stopping.is_set():
            inner, self._called_s = self._inner, self._clock()
            frame = inner.read() if inner is not None else None
            if frame is not None and not self._anew:
                if self.lost and is_whole(frame):
                    self._say("{} is back after {:.0f} s".format(self.name, self._clock() - self._lost_s))
                    self.lost = ""
                self._reads += 1
                return frame
            if inner is not None and not self._anew:
                if inner.vanished:
                    self._lose(inner.ended)
                elif not self._replay:
                    self.ended = inner.ended
                    return None
                else:
                    self.length = self.length or self._reads
            if self.lost and self._given_up():
                self.ended, self.vanished = self.lost, True
                return None
            self._reopen()
        self.ended = "stopped"
        return None

    def recover(self, why):
        """Open anew what gives no whole frame; False once it was away, or its driver did not return, for too long."""
        if not self.lost:
            self._lose(why)
        inner = self._inner
        # What is being opened just now needs no second time.
        if inner is not None:
            self._anew = True
            inner.stop()
        return not (self._given_up() or self._clock() - self._called_s >= GIVE_UP_S)

    def _lose(self, why):
        if not self.lost and not self.stopping.is_set():
            self.losses += 1
            self._lost_s = self._clock()
            self._say("{} is lost ({}); it is tried again every {:.0f} s".format(self.name, why, RETRY_S))
        self.lost = why

    def _given_up(self):
        return self._give_up_s is not None and self._clock() - self._lost_s >= self._give_up_s

    def _reopen(self):
        """Close what ended and open it once more; where that fails say why and wait."""
        if self._inner is not None:
            self._inner.close()
            self._inner = None
        self._anew, self._called_s = False, self._clock()
        try:
            self._inner = self._opened()
        except SourceError as error:
            self._lose(error.what)
            self._pause(RETRY_S)

    def stop(self):
        Source.stop(self)
        inner = self._inner
        if inner is not None:
            inner.stop()

    def close(self):
        if self._inner is not None:
            self._inner.close()
            self._inner = None
