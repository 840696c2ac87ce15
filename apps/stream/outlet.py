"""A thread that does one thing after another, so that the engine does not wait for it."""

import threading
from collections import deque
from typing import Any, Deque, Optional

# What waits holds frames in memory and grows old; more would only hide that it is too much work.
DEPTH = 2


class Outlet(object):
    """Calls ``show`` with each of what is put, in order, in a thread of its own; here: in the caller's, at once.

    Where DEPTH wait, :meth:`put` does.  What ``show`` raises is raised by the next :meth:`put` or
    :meth:`finish`, and nothing is shown after it.  Use it in a ``with`` block: leaving it waits for the rest.
    """

    def __init__(self, show, here=False):
        self._show, self._here = show, here
        self._error: Optional[BaseException] = None
        self._waiting: Deque[Any] = deque()
        self._busy, self._closing = False, False
        self._changed = threading.Condition()
        self._thread: Optional[threading.Thread] = None

    def put(self, one):
        """Let ``one`` be shown, now or in time; waits for a place."""
        if self._here:
            self._show(one)
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="outlet", daemon=True)
            self._thread.start()
        with self._changed:
            self._changed.wait_for(lambda: len(self._waiting) < DEPTH or self._error is not None)
            self._waiting.append(one)
            self._changed.notify_all()
        self._raise()

    def finish(self):
        """Wait until all is shown."""
        with self._changed:
            self._changed.wait_for(lambda: not (self._busy or self._waiting) or self._error is not None)
        self._raise()

    def close(self):
        """End the thread once all is shown; twice is harmless."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _raise(self):
        if self._error is not None:
            raise self._error

    def _run(self):
        try:
            while True:
                with self._changed:
                    self._busy = False
                    self._changed.notify_all()
                    self._changed.wait_for(lambda: self._waiting or self._closing)
                    if not self._waiting:
                        return
                    self._busy, one = True, self._waiting.popleft()
                    self._changed.notify_all()
                self._show(one)
        except BaseException as error:  # whatever it is, the loop's thread is to raise it
            with self._changed:
                self._error = error
                self._changed.notify_all()
