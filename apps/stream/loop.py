"""The loop of a stream: frames from the capture threads, the answers of the engine, both to the outlet."""

import time

import numpy as np

from apps.stream import readers
from apps.stream.outlet import Outlet, Round
from apps.stream.sinks import Shown
from apps.stream.timing import Meter
from apps.stream.views import plain
from edge_mpq.errors import SourceError
from edge_mpq.records.report import Stream

# grab: the loop's wait for a frame.  preprocess: in the capture's thread, beside the engine's work.
# wait: from there to the engine's being free.  infer, decode: in the loop's thread, of all frames that
# are answered together; decode counts the view.  draw, write: in the outlet's thread what is drawn.
STAGES = ("grab", "preprocess", "wait", "infer", "decode", "draw", "write")
BY_KEYBOARD = "stopped by keyboard"


def run(capture, engine, reader, sinks, clock=time.perf_counter, frames=None, seconds=None, live=None, view=plain):
    """Show every frame of ``capture`` to ``engine`` and its answer to ``sinks``; the Stream.

    capture: a Capture, or Several.  reader: as in readers.py.  view: as in views/.  frames,
    seconds: where to stop.  A frame's ms are those from having read it to having its answer, which
    is preprocess, wait, infer and decode of STAGES; percentiles are of the last 1000.  The stages of
    one frame lie beside those of others, so they do not add up to the time from frame to frame.
    live: the Live that is asked between two rounds which engine to go on with, and from which
    threshold on; what that takes is in no figure but ``seconds``.  Ctrl-C ends a run as the end
    of a source does.  Raises SourceError where the source gives no whole frame, EngineError as
    the engine and decoding do, and what a sink raises.
    """
    capture.begin(reader.prepare)
    work, ended = _Work(capture, engine, reader, view, live, clock), None
    try:
        with Outlet(sinks, [part.source.name for part in capture.parts], clock) as outlet:
            try:
                while ended is None:
                    ended = work.enough(frames, seconds) or work.round(outlet, frames, seconds)
            except KeyboardInterrupt:
                ended = BY_KEYBOARD
            outlet.finish()
    except KeyboardInterrupt:  # once more, while the last frames are written
        ended = BY_KEYBOARD
    if not work.number and ended == capture.ended:
        why = " ({})".format(ended) if ended else ""
        raise SourceError("{} gave no whole frame{}".format(capture.source.name, why), "check the camera or the files")
    return work.stream(ended)


class _Work(object):
    """A run as far as it has come.  number: of frames answered."""

    def __init__(self, capture, engine, reader, view, live, clock):
        self._capture, self._engine, self._reader, self._view, self._live = capture, engine, reader, view, live
        self._clock, self._shift, self._named = clock, None, ""
        self._whole, self._each = Meter(STAGES), [Meter() for _ in capture.parts]
        self._meters = [self._whole]
        self.number, self._rounds = 0, 0
        self._start = self._now = clock()

    def enough(self, frames, seconds):
        """Why to stop, or None."""
        if frames is not None and self.number >= frames:
            return "the frames asked for"
        return "the time asked for" if seconds is not None and self._now - self._start >= seconds else None

    def round(self, outlet, frames, seconds):
        """Answer the frames that come next, and hand them on; why to stop, or None."""
        self._take_turn(outlet)
        begun = self._clock()
        taken = self._capture.take(None if seconds is None else seconds - (begun - self._start))
        came = self._now = self._clock()
        if not taken:
            return self.enough(frames, seconds) or self._capture.ended
        if frames is not None:
            taken = taken[: frames - self.number]
        wanted = outlet.wants(self.number, len(taken), self._rounds)
        batches = [frame.batch for frame in taken]
        outputs = readers.infer(self._engine, batches[0] if len(batches) == 1 else np.concatenate(batches))
        inferred = self._clock()
        answers = self._answers(taken, outputs, wanted or self._view.MASK or outlet.shows_all)
        answered = self._now = self._clock()
        for meter in self._meters:
            meter.took("grab", begun, came)
            meter.took("infer", came, inferred)
            meter.took("decode", inferred, answered)
        shown = [self._shown(at, frame, answers[at], came, answered) for at, frame in enumerate(taken)]
        outlet.put(self._round(taken, shown, wanted))
        self.number, self._rounds = self.number + len(taken), self._rounds + 1
        return outlet.ended

    def _take_turn(self, outlet):
        """Ask which engine is to answer."""
        if self._live is not None:
            if self._live.changes:
                outlet.finish()  # the figures that are written next are the other engine's
            self._engine, self._shift = self._live.turn()
            self._meters, self._named = [self._whole, self._live.meter], self._live.engine_name + "  "

    def _answers(self, taken, outputs, masked):
        """[(Answer, View)] of the frames ``taken``, whose pictures lie in ``outputs`` one after another."""
        answers, first = [], 0
        for frame in taken:
            last = first + len(frame.batch)
            part, shape = [one[first:last] for one in outputs], frame.pixels.shape[:2]
            answer = self._reader.decode(self._engine, part, shape, self._shift, masked)
            answers.append((answer, self._view.look(frame, answer)))
            first = last
        return answers

    def _shown(self, at, frame, told, came, answered):
        """The Shown of the frame at ``at`` of a round, noted in all figures."""
        ms = 1e3 * (answered - frame.time_s)
        for meter in self._meters + [self._each[frame.stream]]:
            meter.answered(ms, 1e3 * (came - frame.ready_s), answered)
        for meter in self._meters:
            meter.took("preprocess", frame.time_s, frame.ready_s)
            meter.took("wait", frame.ready_s, came)
        stream = frame.stream if len(self._each) > 1 else None
        time_s = max(0.0, frame.time_s - self._start)
        return Shown(self.number + at, frame.position, time_s, told[0], ms, view=told[1], stream=stream)

    def _round(self, taken, shown, wanted):
        several, here = len(self._each) > 1, [frame.stream for frame in taken]
        numbered = enumerate(self._capture.parts)
        return Round(
            number=self._rounds,
            shown=shown,
            pixels=[frame.pixels for frame in taken],
            wanted=wanted,
            named=self._named,
            figures=[self._each[number] for number in here] if several else self._meters[-1:],
            meters=self._meters,
            lost=["" if number in here else part.source.lost or part.ended for number, part in numbered],
        )

    def stream(self, ended):
        """The Stream of what was answered."""
        elapsed = self._clock() - self._start
        latency = self._whole.latency
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
            losses=sum(part.source.losses for part in self._capture.parts),
            parts=[self._part(*one) for one in zip(self._capture.parts, self._each)] if len(self._each) > 1 else [],
        )

    def _part(self, part, meter):
        """The figures of one source of several, for Stream."""
        elapsed = self._clock() - self._start
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
