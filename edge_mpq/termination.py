"""SIGTERM, by which systemd and Docker end a service, ends a verb as Ctrl-C does: what was begun is put in order."""

import contextlib
import signal
import threading


class Terminated(KeyboardInterrupt):
    """Raised in the main thread by SIGTERM."""


@contextlib.contextmanager
def heeded():
    """A block in which SIGTERM raises Terminated; not where it is ignored or handled already, or in another thread."""
    here = threading.current_thread() is threading.main_thread()
    if not here or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _raise)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _raise(*_):
    raise Terminated("stopped by SIGTERM")
