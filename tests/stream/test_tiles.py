"""Tiles: they cover every pixel, blend without steps, and change nothing a model does not change itself."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.stream import loop, readers, tiles
from apps.stream.readers import AT_ONCE, Whole
from apps.stream.sinks import Sink
from apps.stream.tiles import OVERLAP, Tiles, starts
from edge_mpq.engines import inputs, replay
from edge_mpq.engines.base import Engine, TensorSpec
from edge_mpq.errors import EngineError
from tests.stream.scripted import Clock, bundle, capture_of

WIDE, HIGH = 16, 12
RECIPE = inputs.Recipe(WIDE, HIGH)


class Model(Engine):
    """An engine that computes ``answer(batch)``; batch: what it takes at once, None for any."""

    def __init__(self, answer, batch=None):
        self.inputs = (TensorSpec("x", (batch, 3, HIGH, WIDE), "float32"),)
        self.outputs = (TensorSpec("y", (None,), "float32"),)
        self._answer, self.calls = answer, []

    def infer(self, batch):
        self.check(batch)
        self.calls.append(len(batch))
        return [self._answer(batch).astype(np.float32)]


def _mixed(batch):
    """A 1x1 convolution: two classes, each a mixture of the colours of the same pixel."""
    return np.einsum("kc,nchw->nkhw", np.array([[0.5, -1.0, 0.25], [-0.75, 0.5, 0.5]]), batch)


def _frame(rows, columns, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (rows, columns, 3), np.uint8)


def _answered(reader, model, frame, shift=None):
    return reader.decode(model, readers.infer(model, reader.prepare(frame)), frame.shape[:2], shift)


@given(st.integers(1, 400), st.integers(1, 60))
def test_tiles_lie_in_the_frame_cover_it_evenly_and_overlap(length, tile):
    begins = starts(length, tile)
    assert begins[0] == 0 and begins == sorted(set(begins))
    if length <= tile:
        assert begins == [0]
        return
    assert begins[-1] + tile == length
    gaps = np.diff(begins)
    assert gaps.max() - gaps.min() <= 1 and gaps.max() <= max(1, tile - OVERLAP * tile)
    # One tile fewer would not do.
    assert (len(begins) - 2) * max(1, tile - np.ceil(OVERLAP * tile)) < length - tile


@given(st.integers(1, 400), st.integers(1, 60), st.integers(1, 60))
def test_weights_add_up_to_one_on_every_cell(length, tile, size):
    axis = tiles._Axis(length, tile, size)
    total = np.zeros(axis.cells)
    for start, weights in zip(axis.starts, axis.weights, strict=True):
        assert (weights > 0).all()
        total[start : start + size] += weights
    np.testing.assert_allclose(total, 1, atol=1e-6)
    assert 1 <= axis.seen <= axis.cells


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 70), st.integers(1, 90), st.integers(0, 2**32 - 1))
def test_a_model_that_looks_at_each_pixel_alone_answers_as_on_the_whole_frame(rows, columns, seed):
    frame = _frame(rows, columns, seed)
    reader = Tiles(bundle("segment", recipe=RECIPE))
    model = Model(_mixed)
    logits = reader._joined(readers.infer(model, reader.prepare(frame))[0], rows, columns)
    whole = inputs.Recipe(columns, rows)
    expected = _mixed(inputs.prepare(frame, whole)[None]).astype(np.float32)
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    answer = _answered(reader, model, frame)
    sure = np.abs(expected[0, 1] - expected[0, 0]) > 1e-4
    np.testing.assert_array_equal(answer.mask[sure], (expected[0, 1] > expected[0, 0])[sure])


def test_seams_have_no_steps_where_tiles_disagree_altogether():
    reader = Tiles(bundle("segment", recipe=RECIPE))
    batch = reader.prepare(_frame(60, 80))
    levels = np.random.default_rng(1).uniform(-1, 1, len(batch)).astype(np.float32)
    logits = np.broadcast_to(levels[:, None, None, None], (len(batch), 2, HIGH, WIDE))
    joined = reader._joined(logits, 60, 80)[0, 0]
    # Two tiles a gap of 2 apart change over at least a quarter of a tile.
    for axis, size in ((0, HIGH), (1, WIDE)):
        assert np.abs(np.diff(joined, axis=axis)).max() <= 2 * 2 / (OVERLAP * size)
    assert np.ptp(joined) > 1
    # Side by side, without blending, they would step by all they differ.
    hard = levels.reshape(len(starts(60, HIGH)), -1)
    assert np.abs(np.diff(hard, axis=1)).max() > 1


def test_scaled_tiles_and_coarse_outputs_find_the_fire_where_it_is():
    frame = np.zeros((90, 128, 3), np.uint8)
    frame[60:70, 96:112] = 255

    def quarter(batch):
        high, wide = batch.shape[2] // 4, batch.shape[3] // 4
        means = batch.mean(axis=1).reshape(len(batch), 1, high, 4, wide, 4).mean(axis=(3, 5))
        return means

    mask = _answered(Tiles(bundle("segment", recipe=RECIPE), side=32), Model(quarter), frame).mask
    inside = np.argwhere(mask)
    assert np.abs(inside.min(axis=0) - (60, 96)).max() <= 8 and np.abs(inside.max(axis=0) - (69, 111)).max() <= 8


@pytest.mark.parametrize("shape", [(5, 7), (5, 40), (40, 7), (HIGH, WIDE), (1, 1)])
@pytest.mark.parametrize("channels", [(), (3,), (4,)])
def test_a_frame_smaller_than_a_tile_gets_a_border_that_is_not_in_the_mask(shape, channels):
    frame = np.full((*shape, *channels), 200, np.uint8)
    model = Model(lambda batch: np.where(batch.mean(axis=1, keepdims=True) > 0, 1, -1))
    reader = Tiles(bundle("segment", recipe=RECIPE))
    answer = _answered(reader, model, frame)
    assert len(reader.prepare(frame)) == len(starts(shape[0], HIGH)) * len(starts(shape[1], WIDE))
    assert answer.mask.shape == shape and answer.mask.all() and answer.scores[1] == 1


@pytest.mark.parametrize("classes", [1, 2, 3])
def test_to_classify_the_tile_where_the_watched_class_is_highest_decides(classes):
    frame = np.zeros((60, 80, 3), np.uint8)
    frame[40:44, 70:74] = 255

    def bright(batch):
        fire = batch.mean(axis=(1, 2, 3))
        return np.stack([0 * fire, fire, 0 * fire - 9][:classes], axis=1) if classes > 1 else fire[:, None]

    names = ["no fire", "fire", "smoke"][: max(2, classes)]
    reader = Tiles(bundle(classes=names, recipe=RECIPE), watched=1)
    answer = _answered(reader, Model(bright), frame)
    left, top, wide, high = answer.box
    assert (wide, high) == (WIDE, HIGH) and left <= 70 < 74 <= left + wide and top <= 40 < 44 <= top + high
    # Every tile says no fire, so all say so; from a lower threshold on that one says fire.
    assert answer.label == "no fire"
    shift = np.zeros(len(names), np.float32)
    shift[1] = -99
    assert _answered(reader, Model(bright), frame, shift).label == "fire"


def test_a_frame_of_one_tile_has_no_box_and_a_border_is_in_none():
    model = Model(lambda batch: np.stack([batch.mean(axis=(1, 2, 3)), 0 * batch.mean(axis=(1, 2, 3))], axis=1))
    assert _answered(Tiles(bundle(recipe=RECIPE)), model, _frame(HIGH, WIDE)).box is None
    assert _answered(Tiles(bundle(recipe=RECIPE)), model, _frame(5, 7)).box is None
    assert _answered(Tiles(bundle(recipe=RECIPE)), model, _frame(5, 40)).box[3] == 5


def test_an_engine_is_given_a_bounded_number_at_once():
    frame = _frame(60, 120)
    free, fixed = Model(_mixed), Model(_mixed, batch=1)
    answers = [_answered(Tiles(bundle("segment", recipe=RECIPE)), model, frame) for model in (free, fixed)]
    count = len(starts(60, HIGH)) * len(starts(120, WIDE))
    assert count > 2 * AT_ONCE and max(free.calls) == AT_ONCE and sum(free.calls) == count
    assert fixed.calls == [1] * count
    np.testing.assert_array_equal(answers[0].mask, answers[1].mask)


@pytest.mark.parametrize("task, shape", [("segment", (2, 5)), ("classify", (2, 2, 4, 4)), ("segment", (300, 4, 4))])
def test_an_output_of_another_task_is_named_as_ever(task, shape):
    model = Model(lambda batch: np.zeros((len(batch), *shape)))
    with pytest.raises(EngineError, match="output 'y' is"):
        _answered(Tiles(bundle(task, recipe=RECIPE)), model, _frame(30, 40))


def test_an_output_that_is_not_finite_in_one_tile_is_told():
    def spoilt(batch):
        answers = _mixed(batch)
        answers[-1] = np.nan
        return answers

    with pytest.raises(EngineError, match="not finite"):
        _answered(Tiles(bundle("segment", recipe=RECIPE)), Model(spoilt), _frame(30, 40))
    with pytest.raises(EngineError, match="not finite"):
        flat = Model(lambda batch: spoilt(batch).mean(axis=(2, 3)))
        _answered(Tiles(bundle(recipe=RECIPE)), flat, _frame(30, 40))


def test_the_loop_runs_on_tiles(tmp_path):
    replay.record(tmp_path / "m.npz", np.array([[2.0, 0.0], [0.0, 2.0]]), (None, 3, HIGH, WIDE))
    boxes = []
    sink = Sink()
    sink.write = lambda shown: boxes.append(shown.answer.box)  # type: ignore[method-assign]
    with replay.open(tmp_path / "m.npz") as engine:
        reader = Tiles(bundle(recipe=RECIPE))
        stream = loop.run(capture_of([_frame(HIGH, 2 * WIDE), _frame(40, 50)]), engine, reader, [sink], Clock(0.001))
    assert stream.frames == 2 and len(boxes) == 2 and None not in boxes
    assert Whole(bundle(recipe=RECIPE)).prepare(_frame(40, 50)).shape == (1, 3, HIGH, WIDE)
