"""A source that is opened again: a camera that vanished when it is back, a file from its start.

For a page that stays open: there a pulled cable is something to show and to wait out, and
a video's end is no reason to leave.
"""

from apps.stream.frames import Source
from edge_mpq.errors import SourceError

RETRY_S = 2.0


class Again(Source):
    """The source that ``opened()`` gives, opened again whenever it ends, until :meth:`stop`.

    lost: why a camera gives no frames at present, '' while it does.  pause: waits that many
    seconds; by default until :meth:`stop`.  A read takes as long as the camera is away, so
    it never counts as stalled.  Raises SourceError where it does not open at first.
    """

    def __init__(self, opened, pause=None):
        Source.__init__(self)
        self._opened, self._pause = opened, pause or self.stopping.wait
        self._inner = opened()
        self.name, self.live, self.fps = self._inner.name, self._inner.live, self._inner.fps
        self.lost = ""

    def read(self):
        while not self.stopping.is_set():
            frame = self._inner.read() if self._inner is not None else None
            if frame is not None:
                self.lost = ""
                return frame
            self._reopen()
        self.ended = "stopped"
        return None

    def _reopen(self):
        """Close what ended and open it once more; where that fails say why and wait."""
        if self._inner is not None:
            if self._inner.vanished:
                self.lost = self._inner.ended
            self._inner.close()
            self._inner = None
        try:
            self._inner = self._opened()
        except SourceError as error:
            self.lost = error.what
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
