"""The loop of a stream: a frame from the capture's thread, the engine's answer, both to the outlet's thread."""

import sys
import time

import numpy as np

from apps.stream.calls import Calls
from apps.stream.outlet import Outlet
from apps.stream.showing import Round, Showing
from apps.stream.views import plain
from edge_mpq.errors import SourceError

BY_KEYBOARD = "stopped by keyboard"
# An engine's answer waits for the interpreter while another thread computes in Python: by default up to 5 ms.
SWITCH_S = 0.0005


def run(capture, engine, reader, sinks, clock=time.perf_counter, frames=None, seconds=None, live=None, view=plain):
    """Show every frame of ``capture`` to ``engine`` and its answer to ``sinks``; the Stream.

    capture: a Capture, or Several.  reader: as in readers.py.  view: as in views/.  frames,
    seconds: where to stop.  A frame's ms are those from having read it to having its answer, which
    is preprocess, wait, infer and decode of STAGES; percentiles are of the last 1000.  The stages of
    one frame lie beside those of others, so they do not add up to the time from frame to frame.
    live: the Live that is asked between two rounds which engine to go on with, and from which
    threshold on; what that takes is in no figure but ``seconds``.  Ctrl-C and SIGTERM end a run as the
    end of a source does: what was answered is written.  Raises SourceError where the source gives no
    whole frame, EngineError as the engine and decoding do, and what a sink raises.
    """
    capture.begin(reader.prepare)
    showing = Showing(capture, reader, view, sinks, clock)
    ended, before = None, sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_S)
    try:
        # A window belongs to the thread that made it.
        with Outlet(showing.show, any(sink.HERE for sink in sinks)) as outlet:
            try:
                ended = _go_on(capture, engine, showing, outlet, clock, frames, seconds, live)
            except KeyboardInterrupt as stop:
                ended = str(stop) or BY_KEYBOARD
            outlet.finish()
    except KeyboardInterrupt as stop:  # once more, while the last frames are written
        ended = str(stop) or BY_KEYBOARD
    finally:
        sys.setswitchinterval(before)
    if not showing.number and ended == capture.ended:
        why = " ({})".format(ended) if ended else ""
        raise SourceError("{} gave no whole frame{}".format(capture.source.name, why), "check the camera or the files")
    return showing.stream(ended)


def _go_on(capture, engine, showing, outlet, clock, frames, seconds, live):
    """Answer frames until there is a reason to stop; the reason."""
    number, start, calls, shift, meter, named = 0, clock(), Calls(), None, None, ""
    while showing.ended is None:
        if live is not None:
            if live.changes:
                outlet.finish()  # what is written beside it is the other engine's
            engine, shift = live.turn()
            meter, named = live.meter, live.engine_name + "  "
        free = clock()
        left = None if seconds is None else seconds - (free - start)
        if frames is not None and number >= frames:
            return "the frames asked for"
        if left is not None and left <= 0:
            return "the time asked for"
        taken = capture.take(left)
        came = clock()
        if not taken:
            return "the time asked for" if left is not None and came - free >= left else capture.ended
        if frames is not None:
            taken = taken[: frames - number]
        batches = [frame.batch for frame in taken]
        outputs = calls.infer(engine, batches[0] if len(batches) == 1 else np.concatenate(batches))
        outlet.put(Round(taken, outputs, engine, shift, (free, came, clock()), meter, named))
        number += len(taken)
    return showing.ended
