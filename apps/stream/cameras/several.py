"""Several sources as one: what each has is answered together, and one that goes leaves the others."""

import threading
import time
from types import SimpleNamespace

from apps.stream.cameras.capture import Capture, taken


class Several(object):
    """The Captures of ``sources``, with the face of one Capture.

    newest, clock: as Capture takes them.  parts: the Captures.  Use it in a ``with`` block.
    """

    def __init__(self, sources, newest=None, clock=time.perf_counter):
        self.changed = threading.Condition()
        self.parts = [Capture(source, newest, clock, number, self.changed) for number, source in enumerate(sources)]

    def begin(self, prepare):
        """As of one."""
        for part in self.parts:
            part.begin(prepare)

    def take(self, timeout_s=None):
        """A Frame of each source that has one, at least one; [] at the end of all, or where none comes in time."""
        return taken(self.parts, self.changed, timeout_s)

    @property
    def source(self):
        """What is told of the sources together: name, and why those that are lost are."""
        sources = [part.source for part in self.parts]
        lost = ["{}: {}".format(source.name, source.lost) for source in sources if source.lost]
        return SimpleNamespace(name=", ".join(source.name for source in sources), lost="; ".join(lost))

    @property
    def dropped(self):
        """Of all."""
        return sum(part.dropped for part in self.parts)

    @property
    def torn(self):
        """Of all."""
        return sum(part.torn for part in self.parts)

    @property
    def ended(self):
        """Why each that ended did; those that should not have first."""
        parts = sorted((part for part in self.parts if part.ended), key=lambda part: not part.vanished)
        return "; ".join("{}: {}".format(part.source.name, part.ended) for part in parts)

    @property
    def vanished(self):
        """Whether any ended that should have gone on."""
        return any(part.vanished for part in self.parts)

    def close(self):
        """Close all; twice is harmless."""
        for part in self.parts:
            part.source.stop()
        for part in self.parts:
            part.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
