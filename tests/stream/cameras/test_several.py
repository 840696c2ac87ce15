"""Several streams on one engine: what is answered together, what each is told of, and that none ends the others."""

import contextlib
import json
import threading

import numpy as np
import pytest

from apps.stream import loop, run
from apps.stream.cameras.again import Again
from apps.stream.cameras.capture import Capture
from apps.stream.cameras.several import Several
from apps.stream.engine_from_bundle import open_engine
from apps.stream.mosaic import HIGH, WIDE, Mosaic
from apps.stream.page import access, web
from apps.stream.readers import Whole
from apps.stream.sinks import Sink
from apps.stream.switch import Switch
from edge_mpq.engines import replay
from edge_mpq.engines.base import Engine, TensorSpec
from edge_mpq.errors import SourceError
from edge_mpq.records import bundle as bundle_record
from edge_mpq.records import report as report_record
from tests.stream.page_of import Page, pictures, pixels, write_engines, write_pictures
from tests.stream.scripted import SIZE, GatedSource, ListSource, bundle, picture, write_bundle, write_video


class Levels(Engine):
    """Answers fire where a frame is bright, and notes how many pictures each call had."""

    def __init__(self, batch=None):
        self.inputs = (TensorSpec("input", (batch, 3, SIZE, SIZE), "float32"),)
        self.outputs = (TensorSpec("output", (batch, 2), "float32"),)
        self.calls = []

    def infer(self, batch):
        self.calls.append(len(batch))
        level = batch.mean(axis=(1, 2, 3))
        return [np.stack([-level, level], axis=1)]


class Kept(Sink):
    """Keeps what it is shown, and wants pictures of numbers in ``drawn``."""

    def __init__(self, rounds=False, drawn=()):
        self.ROUNDS, self.drawn, self.shown = rounds, drawn, []

    def wants(self, number):
        return number in self.drawn

    def write(self, shown):
        self.shown.append(shown)


def _frames(*levels):
    return [np.full((48, 64, 3), level, np.uint8) for level in levels]


def _run(sources, engine, outs=(), **more):
    with Several(sources, **more) as several:
        return loop.run(several, engine, Whole(bundle()), list(outs)), several


# Of a free batch both ways are tried in turns.
@pytest.mark.parametrize(("batch", "calls"), [(None, [2, 1, 1, 2, 1]), (1, [1] * 7), (2, [2, 2, 2, 1])])
def test_files_go_in_step_and_each_frame_has_its_own_answer(batch, calls):
    engine, kept = Levels(batch), Kept()
    sources = [ListSource(_frames(255, 0, 255, 0)), ListSource(_frames(0, 0, 255))]
    stream, _ = _run(sources, engine, [kept])
    assert engine.calls == calls
    told = [(shown.stream, shown.position, shown.answer.label) for shown in kept.shown]
    assert told == [
        (0, 0, "fire"), (1, 0, "no fire"), (0, 1, "no fire"), (1, 1, "no fire"), (0, 2, "fire"), (1, 2, "fire"),
        (0, 3, "no fire"),
    ]  # fmt: skip
    assert [shown.number for shown in kept.shown] == list(range(7))
    assert stream.frames == 7 and [part["frames"] for part in stream.parts] == [4, 3]


def test_cameras_do_not_wait_for_one_another():
    quick, slow = GatedSource(_frames(255, 0, 255)), GatedSource(_frames(0, 0))
    engine, kept = Levels(), Kept()
    with Several([quick, slow]) as several:
        several.begin(Whole(bundle()).prepare)
        quick.let(2)
        first = several.take()
        slow.let(1)
        quick.let(1)
        both = several.take()
    assert [(frame.stream, frame.position) for frame in first] == [(0, 1)]
    assert [(frame.stream, frame.position) for frame in both] == [(0, 2), (1, 0)]
    assert several.dropped == 1 and not engine.calls and not kept.shown


def test_one_that_hangs_is_noticed_while_another_always_has_a_frame():
    quick, hanging = GatedSource(_frames(0, 0)), GatedSource([])
    hanging.stalled_after_s = 0.0
    with Several([quick, hanging]) as several:
        several.begin(Whole(bundle()).prepare)
        quick.let(1)
        hanging.let(0)
        assert [frame.stream for frame in several.take()] == [0], "at once: there is one"
        assert several.parts[1].vanished and several.parts[1].ended == "scripted stalled: no frame for 0 s"


def test_one_that_vanishes_does_not_end_the_others():
    gone = ListSource([*_frames(255), OSError("the cable is out")])
    stream, several = _run([gone, ListSource(_frames(0) * 5)], Levels())
    assert [part["frames"] for part in stream.parts] == [1, 5]
    assert several.vanished and stream.ended.startswith("scripted: the cable is out; ")


def test_frames_asked_for_are_those_of_all():
    engine = Levels()
    stream, _ = _run([ListSource(_frames(0) * 9) for _ in range(2)], engine)
    assert stream.frames == 18
    with Several([ListSource(_frames(0) * 9) for _ in range(2)]) as several:
        assert loop.run(several, engine, Whole(bundle()), [], frames=5).frames == 5


def test_without_any_frame_there_is_an_error():
    with pytest.raises(SourceError, match="scripted, scripted gave no whole frame"):
        _run([ListSource([]), ListSource([])], Levels())


def test_one_picture_of_all_for_those_who_take_rounds():
    each, rounds = Kept(drawn=(2,)), Kept(True, drawn=(0, 2))
    sources = [ListSource(_frames(255, 255, 255)), ListSource(_frames(0, 0, 0))]
    _run(sources, Levels(), [each, rounds])
    assert [shown.number for shown in rounds.shown] == [0, 1, 2]
    assert [shown.picture is None for shown in rounds.shown] == [False, False, False], "frame 2 is of round 1"
    assert rounds.shown[2].picture.shape == (HIGH // 2, WIDE, 3)
    left, right = np.split(rounds.shown[2].picture[HIGH // 4 :], 2, axis=1)
    assert left.mean() > 200 and right.mean() < 20
    assert [shown.number for shown in each.shown] == list(range(6))
    assert each.shown[2].picture.shape == (240, 320, 3), "its own, not that of all"


@pytest.mark.parametrize(("count", "across", "down"), [(2, 2, 1), (3, 2, 2), (4, 2, 2), (5, 3, 2)])
def test_the_mosaic_has_a_place_for_each(count, across, down):
    mosaic = Mosaic([f"camera {number}" for number in range(count)])
    for number in range(count):
        mosaic.show(number, np.full((480, 640, 3), 40 * (number + 1), np.uint8))
    whole = mosaic.picture()
    high, wide = HIGH // across, WIDE // across
    assert whole.shape == (down * high, across * wide, 3)
    for number in range(count):
        row, column = divmod(number, across)
        assert whole[row * high + high // 2, column * wide + wide // 2, 0] == 40 * (number + 1)


def test_the_mosaic_keeps_shapes_and_tells_once_of_one_that_is_gone():
    mosaic = Mosaic(["front", "back"])
    mosaic.show(0, np.full((900, 100, 3), 200, np.uint8))
    whole = mosaic.picture()
    assert (whole[:, 0] == 0).all() and (whole[:, 320] == 200).all(), "tall: black at both sides"
    assert whole[:, 640:].max() > 200, "what gives no frame yet says so"
    for _ in range(5):
        mosaic.tell(0, "no signal")
    assert mosaic.picture()[0, 320, 0] == 100
    mosaic.tell(0, "")
    mosaic.show(0, np.full((480, 640, 3), 200, np.uint8))
    assert (mosaic.picture()[:, :640] == 200).all()


def test_modes_on_a_script():
    for newest, positions in ((True, [0, 4]), (False, [0, 1, 2, 3, 4])):
        source = GatedSource(_frames(*range(5)))
        with Capture(source, newest=newest) as capture:
            source.open_gate(1)
            taken = [capture.next().position]
            source.let(4)  # while the engine works, four more come
            source.open_gate(9)
            while taken[-1] < 4:
                taken.append(capture.next().position)
        assert taken == positions and capture.dropped == 5 - len(positions)


def test_several_from_the_command_line(tmp_path):
    folder = write_bundle(tmp_path / "bundle", [[3.0, 0.0], [0.0, 3.0]])
    videos = [write_video(tmp_path / f"{number}.avi", 6 + number) for number in range(2)]
    out = {name: tmp_path / name for name in ("out.avi", "out.jsonl", "report.json")}
    words = [str(folder), "--backend", "replay", "--headless", "--source", str(videos[0]), "--source", str(videos[1])]
    words += ["--video", str(out["out.avi"]), "--jsonl", str(out["out.jsonl"]), "--report", str(out["report.json"])]
    assert run.main([*words, "--mode", "throughput"]) == 0
    lines = [json.loads(line) for line in out["out.jsonl"].read_text().splitlines()]
    assert sorted((line["stream"], line["frame"]) for line in lines) == [(0, at) for at in range(6)] + [
        (1, at) for at in range(7)
    ]
    report = report_record.load(out["report.json"])
    assert [part["source"] for part in report.stream.parts] == [str(video) for video in videos]
    assert [part["frames"] for part in report.stream.parts] == [6, 7] and len(report.pictures) == 4


def test_an_engine_of_recorded_answers_takes_them_in_one_call(tmp_path):
    replay.record(tmp_path / "model.npz", [[3.0, 0.0], [0.0, 3.0]], (None, 3, SIZE, SIZE))
    kept = Kept()
    with replay.open(tmp_path / "model.npz") as engine:
        _run([ListSource([picture()] * 2) for _ in range(2)], engine, [kept])
    assert [shown.answer.label for shown in kept.shown] == ["no fire", "fire"] * 2


def test_a_page_shows_all_side_by_side(tmp_path):
    record, said, stop = bundle_record.open_folder(write_engines(tmp_path / "bundle")), [], threading.Event()
    folder = write_pictures(tmp_path / "pictures")

    class Stop(Sink):
        def write(self, shown):
            return "the test is over" if stop.is_set() else None

    with contextlib.ExitStack() as stack:
        several = stack.enter_context(Several([Again(pictures(folder)) for _ in range(2)]))
        opened = Switch(
            lambda role, tell: open_engine(tmp_path / "bundle", record, role, "replay", 1, tell), record, "int8"
        )
        switch = stack.enter_context(opened)
        live = stack.enter_context(web.served(access.parse("127.0.0.1:0"), record, switch, several, said.append))
        words = (several, switch.turn(), Whole(record), [live, Stop()])
        thread = threading.Thread(target=loop.run, args=words, kwargs={"live": live}, daemon=True)
        thread.start()
        page = Page(said[0].partition(": ")[2])
        assert pixels(page.get("/frame.jpg").body).shape == (HIGH // 2, WIDE, 3)
        figures = page.until(lambda told: told.get("frames", 0) > 10)
        assert figures["source"] == f"{folder}, {folder}" and figures["lost"] == "" and figures["label"] == "fire"
        page.post("/engine", role="model")
        assert page.until(lambda told: told["engine"] == "model" and told["label"] == "no fire")
        stop.set()
        thread.join(20)
        assert not thread.is_alive()
