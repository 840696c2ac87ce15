"""Messages that a thread of its own delivers, in order, again and again until they arrive."""

import threading
from collections import deque
from typing import Any, Deque

# What waits is bounded; a message that nobody takes for TRIES times is given up, which is after a quarter of an hour.
WAITING, TRIES = 64, 20
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 60.0
# At the end of a run.
CLOSE_S = 5.0


class Failed(Exception):
    """A message that was not delivered, and why; again: whether to try it once more."""

    def __init__(self, why, again=True):
        super(Failed, self).__init__(why)
        self.again = again


class Outbox(object):
    """Messages to ``name``.  deliver: takes one, raises Failed; it must return in a few seconds.

    say: told in one line when a message is not delivered, when they are again, and what was
    given up.  pause: waits that many seconds; by default until :meth:`close`, which has the
    message at hand tried once more.
    """

    def __init__(self, name, deliver, say, pause=None):
        self._name, self._deliver, self._say = name, deliver, say
        self._waiting: Deque[Any] = deque()
        self._changed, self._closing = threading.Condition(), threading.Event()
        self._pause = pause or self._closing.wait
        # A daemon: a server that never answers must not keep the program alive.
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)
        self._thread.start()

    def put(self, message):
        """Take a message; never waits.  The oldest goes where too many wait."""
        with self._changed:
            if len(self._waiting) == WAITING:
                self._waiting.popleft()
                self._say("an alarm to {} was given up: {} others wait".format(self._name, WAITING))
            self._waiting.append(message)
            self._changed.notify_all()

    def close(self):
        """Deliver what is left, while it arrives and for CLOSE_S at most; twice is harmless."""
        with self._changed:
            self._closing.set()
            self._changed.notify_all()
        self._thread.join(CLOSE_S)
        with self._changed:
            if self._waiting:
                self._say("alarms to {} that were not delivered: {}".format(self._name, len(self._waiting)))
            # What the thread is still at is no longer of interest to anyone.
            self._waiting.clear()
            self._say = lambda line: None

    def _run(self):
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closing.is_set())
                if not self._waiting:
                    return
                message = self._waiting[0]
            arrived = self._tried(message)
            if not arrived and self._closing.is_set():
                return
            with self._changed:
                # It may have been given up meanwhile, for too many waited.
                if self._waiting and self._waiting[0] is message:
                    self._waiting.popleft()

    def _tried(self, message):
        """Whether ``message`` arrived in the end; says so where it took more than one try, or was given up."""
        wait_s = FIRST_WAIT_S
        for number in range(TRIES):
            last = self._closing.is_set()
            try:
                self._deliver(message)
            except Failed as error:
                if not error.again:
                    self._say("an alarm to {} was refused: {}".format(self._name, error))
                    return False
                if number == 0:
                    self._say("an alarm to {} was not delivered ({}); it is tried again".format(self._name, error))
                if last:
                    return False
                self._pause(wait_s)
                wait_s = min(2 * wait_s, LONGEST_WAIT_S)
            except Exception as error:  # of this message alone: those after it are to be sent
                self._say("an alarm to {} cannot be sent ({})".format(self._name, error))
                return False
            else:
                if number:
                    self._say("the alarm to {} was delivered".format(self._name))
                return True
        self._say("an alarm to {} was given up after {} tries".format(self._name, TRIES))
        return False
