"""The loop of the camera demo: grab, preprocess, infer, decode, draw, write."""

import time

from apps.stream import overlay, readers
from apps.stream.sinks import Shown
from apps.stream.timing import Meter
from apps.stream.views import plain
from edge_mpq.errors import SourceError
from edge_mpq.records.report import Stream

STAGES = ("grab", "preprocess", "infer", "decode", "draw", "write")


def run(capture, engine, reader, sinks, clock=time.perf_counter, frames=None, seconds=None, live=None, view=plain):
    """Show every frame of ``capture`` to ``engine`` and its answer to ``sinks``; the Stream.

    reader: as in readers.py.  view: as in views/.  frames, seconds: where to stop.  A frame's
    ms are those from having it to having the answer; percentiles are of the last 1000 frames,
    ``grab`` is the wait for a frame, ``decode`` counts the view.  live: the Live that is asked between two frames which
    engine to go on with, and from which threshold on; what that takes is in no figure but
    ``seconds``.  Ctrl-C ends a run as the end of a source does.  Raises SourceError where the
    source gives no whole frame, EngineError as the engine and decoding do.
    """
    whole, shift = Meter(STAGES), None
    meters, named = [whole], ""
    number, ended = 0, None
    start = now = clock()
    try:
        while ended is None:
            if live is not None:
                engine, shift = live.turn()
                meters, named = [whole, live.meter], live.engine_name + "  "
                now = clock()
            frame = capture.next()
            if frame is None:
                break
            wanted = any(sink.wants(number) for sink in sinks)
            marks = [now, clock()]
            batch = reader.prepare(frame.pixels)
            marks.append(clock())
            outputs = readers.infer(engine, batch)
            marks.append(clock())
            shape = frame.pixels.shape[:2] if wanted or view.MASK else None
            answer = reader.decode(engine, outputs, shape, shift)
            seen = view.look(frame, answer)
            marks.append(clock())
            ms = 1e3 * (marks[4] - marks[1])
            for meter in meters:
                meter.answered(ms, marks[4])
            picture = None
            if wanted:
                rate, latency = meters[-1].rate, meters[-1].latency
                figures = overlay.figures_line(rate.per_second(), latency.percentile(50), latency.percentile(99))
                picture = overlay.draw(frame.pixels, answer, named + figures, seen)
            marks.append(clock())
            shown = Shown(number, frame.position, max(0.0, frame.time_s - start), answer, ms, picture, seen)
            for sink in sinks:
                ended = sink.write(shown) or ended
            now = clock()
            marks.append(now)
            for meter in meters:
                meter.done(marks)
            number += 1
            ended = ended or _enough(number, now - start, frames, seconds)
    except KeyboardInterrupt:
        ended = "stopped by keyboard"
    if not number and ended is None:
        why = " ({})".format(capture.ended) if capture.ended else ""
        raise SourceError("{} gave no whole frame{}".format(capture.source.name, why), "check the camera or the files")
    elapsed = clock() - start
    return Stream(
        source=capture.source.name,
        frames=number,
        dropped=capture.dropped,
        torn=capture.torn,
        seconds=elapsed,
        fps=number / elapsed if elapsed > 0 else 0.0,
        p50_ms=whole.latency.percentile(50),
        p99_ms=whole.latency.percentile(99),
        stages_p50_ms=whole.stages_p50_ms(),
        ended=ended or capture.ended,
    )


def _enough(number, elapsed_s, frames, seconds):
    if frames is not None and number >= frames:
        return "the frames asked for"
    return "the time asked for" if seconds is not None and elapsed_s >= seconds else None
