"""The outlet: order, who waits for whom, and how errors and the end come out."""

import threading

import numpy as np
import pytest

from apps.stream import loop
from apps.stream.cameras.capture import Capture
from apps.stream.outlet import DEPTH, Outlet
from apps.stream.readers import Whole
from apps.stream.sinks import Sink
from edge_mpq.engines import replay
from edge_mpq.errors import EngineError
from tests.stream.scripted import SIZE, ListSource, bundle, picture


class Slow(Sink):
    """Wants pictures of the frames in ``drawn``, and is stuck in each write until the gate is open."""

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


def test_the_caller_goes_on_until_as_many_wait_as_may():
    gate, entered, shown = threading.Event(), threading.Event(), []

    def show(one):
        entered.set()
        assert gate.wait(20)
        shown.append((one, threading.current_thread()))

    with Outlet(show) as outlet:
        for number in range(1 + DEPTH):
            outlet.put(number)
            assert entered.wait(20), "the first is being shown, others wait"
        blocked = threading.Thread(target=outlet.put, args=(1 + DEPTH,))
        blocked.start()
        blocked.join(0.05)
        assert blocked.is_alive() and shown == []
        gate.set()
        blocked.join(20)
        outlet.finish()
        assert [one for one, _ in shown] == list(range(2 + DEPTH))
    assert threading.main_thread() not in [thread for _, thread in shown]


def test_leaving_waits_for_the_rest():
    shown: list = []
    with Outlet(shown.append) as outlet:
        for number in range(50):
            outlet.put(number)
    assert shown == list(range(50))


def test_an_error_is_raised_once_for_each_who_asks_and_nothing_is_shown_after_it():
    shown: list = []

    def show(one):
        if one == 1:
            raise OSError("no space left")
        shown.append(one)

    with Outlet(show) as outlet:
        with pytest.raises(OSError, match="no space left"):
            for number in range(50):
                outlet.put(number)
        with pytest.raises(OSError, match="no space left"):
            outlet.finish()
    assert shown == [0]


def test_a_window_keeps_to_the_thread_that_made_it(tmp_path):
    replay.record(tmp_path / "model.npz", [[0.0, 3.0]], (None, 3, SIZE, SIZE))
    for here in (True, False):
        window, other = Slow(here=here), Slow()
        window.gate.set()
        other.gate.set()
        with replay.open(tmp_path / "model.npz") as engine, Capture(ListSource([picture()] * 3)) as capture:
            loop.run(capture, engine, Whole(bundle()), [window, other])
        assert window.numbers == other.numbers == [0, 1, 2]
        threads = set(window.threads + other.threads)
        assert len(threads) == 1 and (threads == {threading.main_thread()}) is here


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
    threading.Timer(0.05, sink.gate.set).start()
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
    assert sink.numbers == list(range(6)) and stream.frames == 6, "nothing after it"
