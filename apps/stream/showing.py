"""From the engine's outputs to the sinks: decoded, looked at, drawn and written, and all of it measured."""

from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from apps.stream import overlay
from apps.stream.cameras.capture import Frame
from apps.stream.mosaic import Mosaic
from apps.stream.sinks import Shown
from apps.stream.timing import Meter
from edge_mpq.records.report import Stream

# grab: the engine's wait for a frame.  preprocess: in the capture's thread.  wait: from there to the
# engine's being free.  infer: of all frames that are answered together, as are decode, which counts the
# view, draw and write, in the outlet's thread.
STAGES = ("grab", "preprocess", "wait", "infer", "decode", "draw", "write")


class Round(NamedTuple):
    """Frames answered together, at most one of each source.

    outputs: of ``engine``, their pictures one after another.  shift: of decode.decode.  times: in s, when
    the engine was free for a frame, had one, and had answered.  meter: of the engine among several, or
    None.  named: what is written before the figures.
    """

    frames: List[Frame]
    outputs: List[np.ndarray]
    engine: Any
    shift: Optional[np.ndarray]
    times: Tuple[float, float, float]
    meter: Optional[Meter]
    named: str


class Showing(object):
    """What ``reader`` and ``view`` make of each Round of ``capture``, to ``sinks``, all of them and in order.

    clock: seconds.  ended: why a sink wants the run to end, or None; nothing is shown after it.  All
    methods but :meth:`stream` are for one thread.
    """

    def __init__(self, capture, reader, view, sinks, clock):
        self._capture, self._reader, self._view, self._sinks, self._clock = capture, reader, view, list(sinks), clock
        names = [part.source.name for part in capture.parts]
        self._several = len(names) > 1
        self._mosaic = Mosaic(names) if self._several and any(sink.ROUNDS for sink in self._sinks) else None
        # The last of each stream, as far as it is not drawn.
        self._undrawn: Dict[Optional[int], Tuple[Shown, np.ndarray, str]] = {}
        self._whole, self._each = Meter(STAGES), [Meter() for _ in names]
        self.number, self._rounds = 0, 0
        self.ended: Optional[str] = None
        self._start = clock()

    def show(self, made):
        """Decode, look at, draw and write a Round."""
        if self.ended is not None:
            return
        frames, (free, came, inferred) = made.frames, made.times
        wanted = self._wanted(len(frames))
        answers = self._answers(made, wanted or self._view.MASK or self._mosaic is not None)
        answered = self._clock()
        meters = [self._whole] + ([made.meter] if made.meter is not None else [])
        shown: List[Shown] = []
        for frame, (answer, seen) in zip(frames, answers):
            ms, waited_ms = 1e3 * (answered - frame.time_s), 1e3 * (came - frame.ready_s)
            for meter in meters + [self._each[frame.stream]]:
                meter.answered(ms, waited_ms, answered)
            stream, time_s = frame.stream if self._several else None, max(0.0, frame.time_s - self._start)
            shown.append(Shown(self.number + len(shown), frame.position, time_s, answer, ms, None, seen, stream))
        figures = [self._each[frame.stream] if self._several else meters[-1] for frame in frames]
        shown, whole = self._drawn(made, shown, figures, wanted)
        drawn = self._clock()
        for sink in self._sinks:
            for one in [whole] if sink.ROUNDS else shown:
                self.ended = sink.write(one) or self.ended
        written = self._clock()
        self.number, self._rounds = self.number + len(frames), self._rounds + 1
        for meter in meters:
            for frame in frames:
                meter.took("preprocess", frame.time_s, frame.ready_s)
                meter.took("wait", frame.ready_s, came)
            times = (free, came), (came, inferred), (inferred, answered), (answered, drawn), (drawn, written)
            for stage, (begun, ended) in zip(("grab", "infer", "decode", "draw", "write"), times):
                meter.took(stage, begun, ended)

    def stream(self, ended):
        """The Stream of what was shown."""
        elapsed, parts, latency = self._clock() - self._start, self._capture.parts, self._whole.latency
        return Stream(
            source=self._capture.source.name,
            frames=self.number,
            dropped=self._capture.dropped,
            torn=self._capture.torn,
            seconds=elapsed,
            fps=self.number / elapsed if elapsed > 0 else 0.0,
            p50_ms=latency.percentile(50),
            p99_ms=latency.percentile(99),
            stages_p50_ms=self._whole.stages_p50_ms(),
            ended=ended,
            losses=sum(part.source.losses for part in parts),
            parts=[_part(*one, elapsed) for one in zip(parts, self._each)] if self._several else [],
        )

    def _wanted(self, count):
        """Whether a sink wants pictures of the next ``count`` frames, or of the round they are."""
        numbers = range(self.number, self.number + count)
        return any(
            sink.wants(self._rounds) if sink.ROUNDS else any(sink.wants(number) for number in numbers)
            for sink in self._sinks
        )

    def _answers(self, made, masked):
        """[(Answer, View)] of the frames of ``made``."""
        answers, first = [], 0
        for frame in made.frames:
            last = first + len(frame.batch)
            part, shape = [one[first:last] for one in made.outputs], frame.pixels.shape[:2]
            answer = self._reader.decode(made.engine, part, shape, made.shift, masked)
            answers.append((answer, self._view.look(frame, answer)))
            first = last
        return answers

    def _drawn(self, made, shown, meters, wanted):
        """(``shown`` with pictures where they are wanted, the Shown of the round)."""
        undrawn = [
            (one, frame.pixels, made.named + _figures(meter)) for one, frame, meter in zip(shown, made.frames, meters)
        ]
        if self._mosaic is None:
            shown = [_picture(*one) for one in undrawn] if wanted else shown
            return shown, shown[-1]
        self._undrawn.update((one[0].stream, one) for one in undrawn)
        whole = shown[-1]._replace(number=self._rounds)
        if wanted:
            drawn = {stream: _picture(*one) for stream, one in self._undrawn.items()}
            self._undrawn.clear()
            for stream, one in drawn.items():
                self._mosaic.show(stream, one.picture)
            for stream, part in enumerate(self._capture.parts):
                if stream not in drawn:
                    self._mosaic.tell(stream, part.source.lost or part.ended)
            shown = [drawn[one.stream] for one in shown]
            whole = whole._replace(picture=self._mosaic.picture())
        return shown, whole


def _figures(meter):
    rate, latency = meter.rate, meter.latency
    return overlay.figures_line(rate.per_second(), latency.percentile(50), latency.percentile(99))


def _picture(shown, pixels, figures):
    return shown._replace(picture=overlay.draw(pixels, shown.answer, figures, shown.view))


def _part(part, meter, elapsed):
    """The figures of one source of several."""
    return {
        "source": part.source.name,
        "frames": meter.frames,
        "dropped": part.dropped,
        "torn": part.torn,
        "losses": part.source.losses,
        "fps": meter.frames / elapsed if elapsed > 0 else 0.0,
        "p50_ms": meter.latency.percentile(50),
        "p99_ms": meter.latency.percentile(99),
        "ended": part.ended,
    }
