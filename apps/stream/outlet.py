"""The way out of the loop: draws and writes in a thread of its own, so that the engine does not wait for it."""

import threading
from collections import deque
from typing import Deque, Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from apps.stream import overlay
from apps.stream.mosaic import Mosaic
from apps.stream.sinks import Shown
from apps.stream.timing import Meter

# What waits holds its frames in memory; more would only hide that writing is slower than the engine.
DEPTH = 4


class Round(NamedTuple):
    """Frames answered together, at most one of each source.

    number: of the rounds so far.  shown: without pictures.  pixels: the frame of each.  wanted:
    whether it is to be drawn.  named: what is written before the figures.  figures: the Meter each
    is written from.  meters: told what drawing and writing took.  lost: why each source gives no frames, or ''.
    """

    number: int
    shown: List[Shown]
    pixels: List[np.ndarray]
    wanted: bool
    named: str
    figures: List[Meter]
    meters: List[Meter]
    lost: List[str]


class Outlet(object):
    """Rounds of the sources called ``names`` to ``sinks``, all of them and in order.  clock: seconds.

    A thread draws and writes them; where DEPTH wait, :meth:`put` does.  What is not to be drawn and
    has nothing before it is written at once: to hand it over would take longer.  So is everything where
    a sink is a window, which belongs to the thread that opened it.  ended: why a sink wants the run to
    end, or None.  Use it in a ``with`` block; an error of a sink is raised by the next :meth:`put` or
    :meth:`finish`, and nothing is written after it.
    """

    def __init__(self, sinks, names, clock):
        self._sinks, self._clock = list(sinks), clock
        self._here = any(sink.HERE for sink in self._sinks)
        self._mosaic = Mosaic(names) if len(names) > 1 and any(sink.ROUNDS for sink in self._sinks) else None
        # The last of each stream, as far as it is not drawn.
        self._undrawn: Dict[Optional[int], Tuple[Shown, np.ndarray, str]] = {}
        self.ended: Optional[str] = None
        self._error: Optional[BaseException] = None
        self._waiting: Deque[Round] = deque()
        self._busy, self._closing = False, False
        self._changed = threading.Condition()
        self._thread: Optional[threading.Thread] = None

    @property
    def shows_all(self):
        """Whether any frame may be drawn later, beside that of another stream."""
        return self._mosaic is not None

    def wants(self, number, count, round_number):
        """Whether a sink wants pictures of ``count`` frames from ``number`` on, or of the round they are."""
        numbers = range(number, number + count)
        return any(
            sink.wants(round_number) if sink.ROUNDS else any(sink.wants(one) for one in numbers) for sink in self._sinks
        )

    def put(self, made):
        """Draw and write a Round, now or in time; waits for a place."""
        if self._here or not (made.wanted or self._busy or self._waiting):
            self._raise()
            return self._show(made)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="outlet", daemon=True)
            self._thread.start()
        with self._changed:
            self._changed.wait_for(lambda: len(self._waiting) < DEPTH or self._error is not None)
            self._waiting.append(made)
            self._changed.notify_all()
        return self._raise()

    def finish(self):
        """Wait until all is written."""
        with self._changed:
            self._changed.wait_for(lambda: not (self._busy or self._waiting) or self._error is not None)
        self._raise()

    def close(self):
        """End the thread once all is written; twice is harmless."""
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
                    # Busy before it waits no longer: between the two nothing may be written at once.
                    self._busy, made = True, self._waiting.popleft()
                    self._changed.notify_all()
                self._show(made)
        except BaseException as error:  # whatever it is, the loop's thread is to raise it
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _show(self, made):
        begun = self._clock()
        shown, whole = self._drawn(made)
        drawn = self._clock()
        for sink in self._sinks:
            for one in [whole] if sink.ROUNDS else shown:
                self.ended = sink.write(one) or self.ended
        written = self._clock()
        for meter in made.meters:
            meter.took("draw", begun, drawn)
            meter.took("write", drawn, written)

    def _drawn(self, made):
        """(``made.shown`` with pictures where they are wanted, the Shown of the round)."""
        if self._mosaic is None:
            shown = [self._picture(*one) if made.wanted else one[0] for one in self._each(made)]
            return shown, shown[-1]
        self._undrawn.update((one[0].stream, one) for one in self._each(made))
        shown, whole = made.shown, made.shown[-1]._replace(number=made.number)
        if made.wanted:
            drawn = {stream: self._picture(*one) for stream, one in self._undrawn.items()}
            self._undrawn.clear()
            for stream, one in drawn.items():
                self._mosaic.show(stream, one.picture)
            for stream, why in enumerate(made.lost):
                self._mosaic.tell(stream, why)
            shown = [drawn[one.stream] for one in shown]
            whole = whole._replace(picture=self._mosaic.picture())
        return shown, whole

    def _each(self, made):
        for shown, pixels, meter in zip(made.shown, made.pixels, made.figures):
            rate, latency = meter.rate, meter.latency
            figures = overlay.figures_line(rate.per_second(), latency.percentile(50), latency.percentile(99))
            yield shown, pixels, made.named + figures

    def _picture(self, shown, pixels, figures):
        return shown._replace(picture=overlay.draw(pixels, shown.answer, figures, shown.view))
