"""What lies behind the page: sources opened again, engines that change, what is drawn and kept for whom."""

import threading
from types import SimpleNamespace

import numpy as np
import pytest

from apps.stream import loop, power, run
from apps.stream.page.clips import Clips, Kept
from apps.stream.page.live import BOARD_EVERY_S, FRESH_S, Live, encoded, first_of_note
from apps.stream.readers import Whole
from apps.stream.showing import STAGES
from apps.stream.sinks import Shown, Sink, VideoFile
from apps.stream.switch import Switch
from edge_mpq.engines import replay
from edge_mpq.errors import EngineError
from tests.stream.scripted import SIZE, Clock, bundle, capture_of, picture


@pytest.fixture
def engines(tmp_path):
    """role -> Engine: fp32 and int8 answer, model's answers are not finite."""
    outputs = {"fp32": [[0.0, 3.0]], "int8": [[3.0, 0.0]], "model": [[np.nan, 0.0]]}
    for role, answers in outputs.items():
        replay.record(tmp_path / role, answers, (None, 3, SIZE, SIZE))
    return {role: replay.open(tmp_path / role) for role in outputs}


def _switch(engines, opened=None, first="fp32"):
    def open_role(role, say):
        say(f"building {role}")
        if opened is not None:
            opened.append(role)
        return engines[role]

    return Switch(open_role, bundle()._replace(files=dict.fromkeys(engines, "file")), first)


def test_engines_are_opened_when_asked_for_and_once(engines):
    opened: list[str] = []
    with _switch(engines, opened) as switch:
        assert switch.names == {"fp32": "fp32", "int8": "int8", "model": "mixed"} and opened == []
        assert switch.turn() is engines["fp32"] and switch.opened("int8") is None
        assert not switch.ask("plan") and switch.ask("int8")
        assert switch.role == "fp32", "not before the next frame"
        assert switch.turn() is engines["int8"] and switch.told == "building int8"
        switch.ask("fp32")
        assert switch.turn() is engines["fp32"] and opened == ["fp32", "int8"]


def test_an_engine_that_cannot_answer_is_refused_and_asked_again_when_wished(engines):
    opened: list[str] = []
    with _switch(engines, opened) as switch:
        switch.turn()
        for _ in range(2):
            switch.ask("model")
            assert switch.turn() is engines["fp32"]
            assert "not finite" in switch.faults["model"] and switch.asked == "fp32" and switch.opening is None
        assert opened == ["fp32", "model", "model"]


def test_without_another_engine_the_fault_is_raised():
    def open_role(role, say):
        raise EngineError("no memory", "close what is open")

    with pytest.raises(EngineError, match="no memory"):
        Switch(open_role, bundle(), "model").turn()


def test_faults_of_any_kind_leave_the_camera_running(engines, capsys):
    with _switch(engines) as switch:
        switch.turn()
        del engines["int8"]
        switch.ask("int8")
        assert switch.turn() is engines["fp32"] and switch.faults["int8"] == "'int8'"
        assert "KeyError" in capsys.readouterr().err


def _live(engines, clock, **more):
    capture = SimpleNamespace(source=SimpleNamespace(name="scripted", lost=""), dropped=0, torn=0)
    live = Live(bundle(), _switch(engines), capture, clock=clock, **more)
    live.turn()
    return live


def _shown(pixels):
    answer = SimpleNamespace(label="fire", confidence=0.9, scores=np.array([0.1, 0.9], np.float32))
    return Shown(0, 0, 0.0, answer, 1.0, pixels)


def test_a_picture_is_drawn_when_someone_looks_and_once_for_all(engines):
    clock, kept = Clock(), []
    live = _live(engines, clock, keep=lambda time_s, jpeg: kept.append(jpeg))
    assert not live.wants(0), "nobody looks"
    given: list = []
    lookers = [threading.Thread(target=lambda: given.append(live.picture(0, 10))) for _ in range(2)]
    for looker in lookers:
        looker.start()
    while not live.wants(0):
        pass
    live.write(_shown(picture()))
    for looker in lookers:
        looker.join()
    assert [seen.number for seen in given] == [1, 1]
    assert live.jpeg(given[0]) is live.jpeg(given[1]) and len(kept) == 1
    clock.now += 0.01
    assert live.picture(1, 0) is None and not live.wants(1), "too early for another"
    clock.now += 0.05
    assert live.wants(1)


def test_who_comes_later_is_given_no_old_picture(engines):
    clock = Clock()
    live = _live(engines, clock)
    live.picture(0, 0)
    live.write(_shown(picture()))
    clock.now += FRESH_S / 2
    assert live.picture(0, 0) is not None
    clock.now += FRESH_S
    assert live.picture(0, 0) is None
    assert live.snapshot() is not None, "but a camera that is gone still leaves its last"


@pytest.mark.parametrize(
    ("classes", "index"),
    [(["Fire", "No_Fire"], 0), (["no fire", "fire"], 1), (["background", "smoke", "fire"], 1), (["normal"], 0), ([], 1)]
    + [(["north", "south"], 0), (["NOTHING", "nothing"], 0)],
)
def test_what_is_watched_at_first(classes, index):
    assert first_of_note(classes) == index


def test_figures_are_those_of_the_engine_that_answers(engines):
    live = _live(engines, Clock(0.001))
    kept: list[Shown] = []

    class Asking(Sink):
        HERE = True

        def write(self, shown):
            kept.append(shown)
            if shown.number == 3:
                live.switch.ask("int8")

    clock = Clock(0.001)
    capture = capture_of([picture()] * 10, clock)
    stream = loop.run(capture, engines["fp32"], Whole(bundle()), [Asking()], clock, live=live)
    assert [shown.answer.label for shown in kept] == ["fire"] * 4 + ["no fire"] * 6
    assert stream.frames == 10 and live.meter.frames == 6 and live.engine_name == "int8"
    # What opening takes is in no stage: one tick for each as without a page.
    assert stream.stages_p50_ms == pytest.approx(dict(dict.fromkeys(STAGES, 1.0), grab=3.0))


def test_power_and_temperature_where_the_board_tells(engines, monkeypatch):
    monkeypatch.setattr(power, "rails", list)
    assert _live(engines, Clock()).figures()["watts"] is None, "without rails"
    clock, readings = Clock(), iter([(7.5, 61.0), (8.0, 62.0)])
    monkeypatch.setattr(power, "now", lambda rails: next(readings))
    live = _live(engines, clock)
    told = [live.figures() for _ in range(3)]
    clock.now += BOARD_EVERY_S
    told.append(live.figures())
    assert [(one["watts"], one["celsius"]) for one in told] == [(7.5, 61.0)] * 3 + [(8.0, 62.0)]


def test_a_report_says_what_was_chosen_on_the_page(engines):
    live = _live(engines, Clock())
    assert run._chosen(live.switch, live) == {"engine": "fp32"}
    live.switch.ask("int8")
    live.turn()
    assert live.watch(1, 0.3)
    assert run._chosen(live.switch, live) == {"engine": "fp32, int8", "threshold": 0.3}


def test_what_is_kept_has_an_end():
    kept = Kept(most_bytes=1000)
    for second in range(30):
        kept.add(float(second), b"x" * 50)
    assert [time_s for time_s, _ in kept.pictures()] == list(range(19, 30))
    kept.add(30.0, b"x" * 900)
    assert [time_s for time_s, _ in kept.pictures()] == [28.0, 29.0, 30.0]
    kept.add(31.0, b"x" * 1001)
    assert kept.pictures() == []


def test_a_full_disk_leaves_no_clip(monkeypatch):
    def full(video):
        raise OSError("the video could not be written whole")

    kept = Kept()
    kept.add(0.0, encoded(picture(), 80))
    with Clips(SimpleNamespace(picture=lambda *_: None), kept) as clips:
        monkeypatch.setattr(VideoFile, "close", full)
        assert clips.last() is None
        clips.start()
        clips.stop()
        assert clips.recorded() is None
