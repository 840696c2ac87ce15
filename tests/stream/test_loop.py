"""The loop, on a clock that ticks once a reading and a capture that follows a script."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from apps.stream import loop
from apps.stream.cameras.capture import Capture
from apps.stream.cameras.frames import TORN
from apps.stream.readers import Whole
from apps.stream.showing import STAGES
from apps.stream.sinks import JsonLines, Sampler, Sink
from apps.stream.views.base import View
from edge_mpq.engines import inputs, replay
from edge_mpq.engines.base import Engine
from edge_mpq.errors import EngineError, SourceError
from tests.stream.scripted import SIZE, Clock, ListSource, bundle, capture_of, picture

# Answers: no fire, fire, fire.
LOGITS = np.array([[3, 0], [0, 3], [0, 5]], np.float32)


class Kept(Sink):
    """Keeps what it is shown; draws only frames in ``drawn``; ends the run after ``last``."""

    def __init__(self, drawn=(), last=None):
        self.shown, self.drawn, self.last = [], drawn, last

    def wants(self, number):
        return number in self.drawn

    def write(self, shown):
        self.shown.append(shown)
        return "window closed" if shown.number == self.last else None


class Here(Kept):
    """Everything in the loop's thread, so that the clock ticks in one order."""

    HERE = True


@pytest.fixture
def engine(tmp_path):
    replay.record(tmp_path / "model.npz", LOGITS, (None, 3, SIZE, SIZE))
    with replay.open(tmp_path / "model.npz") as opened:
        yield opened


def _run(pixels, engine, sinks=(), clock=None, **limits):
    clock = clock or Clock(0.001)
    return loop.run(capture_of(pixels, clock), engine, Whole(bundle()), list(sinks), clock, **limits)


def test_every_frame_is_answered_in_order(engine):
    kept = Kept()
    stream = _run([picture()] * 4, engine, [kept])
    assert [shown.answer.label for shown in kept.shown] == ["no fire", "fire", "fire", "no fire"]
    assert [shown.number for shown in kept.shown] == [0, 1, 2, 3]
    assert (stream.source, stream.frames, stream.ended) == ("scripted", 4, "the script ends")


def test_times_are_those_of_the_clock(engine):
    # Of a frame's readings two lie in the capture: asked for, read, prepared, come, inferred, decoded, drawn, written.
    stream = _run([picture()] * 10, engine, [Here()], clock=Clock(0.001))
    assert stream.stages_p50_ms == pytest.approx(dict(dict.fromkeys(STAGES, 1.0), grab=3.0))
    assert stream.p50_ms == stream.p99_ms == pytest.approx(4.0), "from read to answered"
    # Two more ask for the frame that does not come, one is of the limits' start, one the end.
    assert stream.seconds == pytest.approx(0.084)
    assert stream.fps == pytest.approx(10 / 0.084)


def test_nothing_is_drawn_for_nobody(engine):
    kept = Kept(drawn=(1,))
    _run([picture(300, 400)] * 3, engine, [kept])
    assert [shown.picture is None for shown in kept.shown] == [True, False, True]
    assert kept.shown[1].picture.shape == (300, 400, 3)


def test_the_engine_sees_what_the_recipe_makes_of_a_frame(engine):
    class Seeing(Engine):
        inputs, outputs = engine.inputs, engine.outputs

        def infer(self, batch):
            batches.append(batch.copy())
            return engine.infer(batch)

    batches: list[np.ndarray] = []
    frame = np.random.default_rng(3).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    _run([frame], Seeing())
    recipe = inputs.from_json(bundle().recipe)
    np.testing.assert_array_equal(batches[0], inputs.batch([frame], recipe))
    assert batches[0].dtype == np.float32


@pytest.mark.parametrize(
    "frame",
    [
        np.full((50, 70), 9, np.uint8),
        np.full((50, 70, 1), 9, np.uint8),
        np.full((51, 3, 4), 9, np.uint8),
        np.full((1, 1, 3), 9, np.uint8),
        np.full((33, 17, 3), 9000, np.uint16),
    ],
)
def test_frames_of_any_kind_and_size_between_others(engine, frame):
    kept = Kept(drawn=range(3))
    assert _run([picture(), frame, picture()], engine, [kept]).frames == 3
    assert kept.shown[1].picture.dtype == np.uint8


def test_where_it_stops(engine):
    pixels = [picture()] * 20
    counted = _run(pixels, engine, frames=3)
    assert counted.frames == 3 and counted.ended == "the frames asked for"
    timed = _run(pixels, engine, [Here()], seconds=0.02)
    assert timed.frames == 3 and timed.ended == "the time asked for"
    closed = _run(pixels, engine, [Kept(last=4), Kept()])
    assert closed.frames == 5 and closed.ended == "window closed"


def test_the_keyboard_ends_a_run_with_its_figures(engine):
    class Interrupting(Kept):
        def write(self, shown):
            if shown.number == 2:
                raise KeyboardInterrupt
            super().write(shown)

    stream = _run([picture()] * 9, engine, [Interrupting()])
    assert stream.frames == 2 and stream.ended == "stopped by keyboard"


def test_no_frame_at_all_is_an_error(engine):
    with pytest.raises(SourceError, match=r"gave no whole frame \(the script ends\)"):
        _run([], engine)


def test_torn_and_dropped_are_counted_and_a_vanished_source_ends_with_its_figures(engine):
    frames = [picture(), TORN, np.zeros((4, 4, 3), np.float32), picture()]
    with Capture(ListSource(frames, vanished=True)) as capture:
        stream = loop.run(capture, engine, Whole(bundle()), [])
    assert (stream.frames, stream.torn, stream.dropped) == (2, 2, 0)
    assert stream.ended == "the script ends" and capture.vanished


def test_an_output_that_is_not_finite_is_named(tmp_path):
    replay.record(tmp_path / "nan.npz", [[1.0, np.nan]], (None, 3, SIZE, SIZE))
    with replay.open(tmp_path / "nan.npz") as engine, pytest.raises(EngineError, match="'output' holds values"):
        _run([picture()], engine)


def test_memory_does_not_grow_with_the_run(engine):
    def sizes(frames):
        sampler = Sampler()
        _run([picture()] * frames, engine, [sampler])
        return len(sampler._kept)

    assert sizes(40) <= 8 and sizes(300) <= 8


def test_masks_are_of_the_frame(tmp_path):
    logits = np.full((1, 1, SIZE, SIZE), -3, np.float32)
    logits[:, :, :8] = 3
    replay.record(tmp_path / "unet.npz", logits, (None, 3, SIZE, SIZE))
    kept = Kept(drawn=(0,))
    with replay.open(tmp_path / "unet.npz") as engine:
        loop.run(capture_of([picture(300, 400)] * 2), engine, Whole(bundle("segment")), [kept], Clock(0.001))
    mask = kept.shown[0].answer.mask
    assert mask.shape == (300, 400) and mask[:140].all() and not mask[160:].any()
    assert kept.shown[1].answer.mask is None and kept.shown[1].answer.label == "fire"


def test_times_in_lines_start_at_nought(engine, tmp_path):
    sink = JsonLines(tmp_path / "out.jsonl")
    with Capture(ListSource([picture()] * 3)) as capture:
        loop.run(capture, engine, Whole(bundle()), [sink])
    sink.close()
    times = [json.loads(line)["time_s"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert len(times) == 3 and times == sorted(times) and times[0] >= 0


class Halves:
    """A reader of two pictures a frame: the left half and the right; fire where either has it."""

    def __init__(self):
        self.whole = Whole(bundle())

    def prepare(self, pixels):
        middle = pixels.shape[1] // 2
        return np.concatenate([self.whole.prepare(half) for half in (pixels[:, :middle], pixels[:, middle:])])

    def decode(self, engine, outputs, shape, shift=None, mask=True):
        answers = [self.whole.decode(engine, [outputs[0][at : at + 1]], shape, shift, mask) for at in range(2)]
        return max(answers, key=lambda answer: answer.scores[1])


@pytest.mark.parametrize("batch", [None, 1, 2])
def test_a_reader_may_show_the_engine_several_pictures_a_frame(tmp_path, batch):
    replay.record(tmp_path / "model.npz", LOGITS, (batch, 3, SIZE, SIZE))
    kept = Kept()
    with replay.open(tmp_path / "model.npz") as engine:
        loop.run(capture_of([picture()] * 3), engine, Halves(), [kept], Clock(0.001))
    # no fire and fire, fire and no fire, fire and fire.
    assert [round(float(shown.answer.scores[1]), 3) for shown in kept.shown] == [0.953, 0.993, 0.993]


def test_a_view_sees_every_frame_and_goes_to_picture_and_sinks(engine):
    def look(frame, answer):
        return View({"place": frame.position, "sure": answer.confidence}, [(4, 6, 20, 10, "here")])

    kept, bare = Kept(drawn=(1,)), Kept(drawn=(1,))
    _run([picture()] * 3, engine, [kept], view=SimpleNamespace(look=look, MASK=False))
    _run([picture()] * 3, engine, [bare])
    assert [shown.view.facts["place"] for shown in kept.shown] == [0, 1, 2]
    assert bare.shown[0].view == View()
    assert kept.shown[1].picture.shape == bare.shown[1].picture.shape
    assert (kept.shown[1].picture != bare.shown[1].picture).any()


def test_a_view_may_ask_for_the_mask_of_every_frame(tmp_path):
    replay.record(tmp_path / "unet.npz", np.ones((1, 1, SIZE, SIZE), np.float32), (None, 3, SIZE, SIZE))
    seen: list = []
    for asks in (False, True):
        view = SimpleNamespace(look=lambda frame, answer: seen.append(answer.mask) or View(), MASK=asks)
        with replay.open(tmp_path / "unet.npz") as engine:
            loop.run(capture_of([picture()]), engine, Whole(bundle("segment")), [], Clock(0.001), view=view)
    assert seen[0] is None and seen[1].shape == (48, 64)
