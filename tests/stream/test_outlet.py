"""The outlet: order, who waits for whom, and how errors and the end come out.  Gates, not times."""

import threading

import numpy as np
import pytest

from apps.stream import loop
from apps.stream.capture import Capture
from apps.stream.decode import Answer
from apps.stream.outlet import DEPTH, Outlet, Round
from apps.stream.readers import Whole
from apps.stream.sinks import Shown, Sink
from apps.stream.timing import Meter
from edge_mpq.engines import replay
from edge_mpq.errors import EngineError
from tests.stream.scripted import SIZE, Clock, ListSource, bundle, picture

FIRE = Answer("fire", 0.9, np.array([0.1, 0.9]))


class Slow(Sink):
    """Draws every frame of ``drawn``, and is stuck in each write until the gate is open."""

    def __init__(self, drawn=range(1000), here=False):
        self.HERE, self._drawn = here, drawn
        self.gate, self.entered = threading.Event(), threading.Event()
        self.numbers, self.threads, self.pictures = [], [], []

    def wants(self, number):
        return number in self._drawn

    def write(self, shown):
        self.entered.set()
        assert self.gate.wait(20)
        self.numbers.append(shown.number)
        self.threads.append(threading.current_thread())
        self.pictures.append(shown.picture is not None)


def _round(number, wanted):
    meter = Meter(loop.STAGES)
    shown = Shown(number, number, 0.0, FIRE, 1.0)
    return Round(number, [shown], [picture()], wanted, "", [meter], [meter], [""])


def _put(outlet, number):
    outlet.put(_round(number, outlet.wants(number, 1, number)))


def test_the_engine_goes_on_while_a_picture_is_written_until_as_many_wait_as_may():
    sink = Slow()
    with Outlet([sink], ["scripted"], Clock()) as outlet:
        for number in range(1 + DEPTH):
            _put(outlet, number)
            assert sink.entered.wait(20), "the first is being written, others wait"
        blocked = threading.Thread(target=_put, args=(outlet, 1 + DEPTH))
        blocked.start()
        blocked.join(0.05)
        assert blocked.is_alive() and sink.numbers == []
        sink.gate.set()
        blocked.join(20)
        outlet.finish()
    assert sink.numbers == list(range(2 + DEPTH)) and all(sink.pictures)
    assert threading.main_thread() not in sink.threads


def test_what_is_not_drawn_is_written_at_once_unless_others_wait_before_it():
    sink = Slow(drawn=(1,))
    sink.gate.set()
    with Outlet([sink], ["scripted"], Clock()) as outlet:
        _put(outlet, 0)
        assert sink.threads == [threading.main_thread()]
        sink.gate.clear()
        _put(outlet, 1)
        for number in (2, 3):
            _put(outlet, number)
        assert sink.numbers == [0], "2 and 3 wait for the picture of 1"
        sink.gate.set()
        outlet.finish()
        _put(outlet, 4)
    assert sink.numbers == [0, 1, 2, 3, 4] and sink.pictures == [False, True, False, False, False]
    assert sink.threads[4] is threading.main_thread()


def test_a_window_keeps_to_the_thread_that_made_it():
    window, other = Slow(here=True), Slow()
    window.gate.set()
    other.gate.set()
    with Outlet([window, other], ["scripted"], Clock()) as outlet:
        for number in range(3):
            _put(outlet, number)
    assert set(window.threads + other.threads) == {threading.main_thread()}


class Failing(Slow):
    """Fails at frame 2."""

    def write(self, shown):
        if shown.number == 2:
            raise OSError("no space left")
        self.numbers.append(shown.number)


@pytest.mark.parametrize("drawn", [range(1000), ()])
def test_an_error_of_a_sink_is_raised_by_the_loop(tmp_path, drawn):
    replay.record(tmp_path / "model.npz", [[0.0, 3.0]], (None, 3, SIZE, SIZE))
    sink = Failing(drawn)
    with (
        replay.open(tmp_path / "model.npz") as engine,
        Capture(ListSource([picture()] * 100)) as capture,
        pytest.raises(OSError, match="no space left"),
    ):
        loop.run(capture, engine, Whole(bundle()), [sink])
    assert sink.numbers == [0, 1], "and nothing after it"


def test_all_that_was_answered_is_written_when_the_keyboard_ends_a_run(tmp_path):
    replay.record(tmp_path / "model.npz", [[0.0, 3.0]], (None, 3, SIZE, SIZE))
    sink = Slow()

    with replay.open(tmp_path / "model.npz") as engine, Capture(ListSource([picture()] * 3)) as capture:
        take = capture.take
        answered: list = []

        def interrupted(timeout_s=None):
            if len(answered) == 3:  # Ctrl-C while the next is waited for, and none is written yet
                sink.gate.set()
                raise KeyboardInterrupt
            answered.extend(take(timeout_s))
            return answered[-1:]

        capture.take = interrupted
        stream = loop.run(capture, engine, Whole(bundle()), [sink])
    assert stream.frames == 3 and stream.ended == loop.BY_KEYBOARD
    assert sink.numbers == [0, 1, 2] and all(sink.pictures)


def test_an_engine_that_fails_leaves_nothing_unwritten_that_was_answered(tmp_path):
    replay.record(tmp_path / "nan.npz", [[0.0, 3.0], [3.0, 0.0], [np.nan, 0.0]], (None, 3, SIZE, SIZE))
    sink = Slow()
    opens = threading.Timer(0.05, sink.gate.set)
    opens.start()
    with (
        replay.open(tmp_path / "nan.npz") as engine,
        Capture(ListSource([picture()] * 9)) as capture,
        pytest.raises(EngineError, match="not finite"),
    ):
        loop.run(capture, engine, Whole(bundle()), [sink])
    assert sink.numbers == [0, 1]


def test_a_sink_that_ends_the_run_in_the_thread_ends_it(tmp_path):
    class Ending(Slow):
        def write(self, shown):
            super().write(shown)
            return "enough" if shown.number == 5 else None

    replay.record(tmp_path / "model.npz", [[0.0, 3.0]], (None, 3, SIZE, SIZE))
    sink = Ending()
    sink.gate.set()
    with replay.open(tmp_path / "model.npz") as engine, Capture(ListSource([picture()] * 5000)) as capture:
        stream = loop.run(capture, engine, Whole(bundle()), [sink])
    assert stream.ended == "enough"
    # Frames that were answered meanwhile are written too, all of them.
    assert sink.numbers == list(range(stream.frames)) and 6 <= stream.frames <= 6 + DEPTH + 2


def test_drawing_and_writing_are_timed_in_the_thread():
    sink = Slow()
    sink.gate.set()
    made = _round(0, True)
    with Outlet([sink], ["scripted"], Clock(0.5)) as outlet:
        outlet.put(made)
        outlet.finish()
    assert {name: made.meters[0].stages[name].percentile(50) for name in ("draw", "write")} == {
        "draw": 500.0,
        "write": 500.0,
    }
