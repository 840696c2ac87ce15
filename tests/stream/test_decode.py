"""Decoding: labels and masks out of logits, for each task, fit and fault."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from apps.stream.decode import beside_rival, check, decode, on_frame, shift_of
from edge_mpq.engines import inputs
from edge_mpq.engines.base import Engine, TensorSpec
from edge_mpq.errors import BundleError, EngineError
from tests.stream.scripted import RECIPE, bundle

LOGIT = st.floats(-50, 50, width=32)


class Named(Engine):
    """An engine of which only the output's name matters."""

    outputs = (TensorSpec("logits", (None,), "float32"),)


def _decode(logits, task="classify", classes=(), shape=None, recipe=RECIPE, shift=None):
    return decode(Named(), [np.asarray(logits, np.float32)], bundle(task, list(classes)), recipe, shape, shift)


@given(hnp.arrays(np.float32, st.tuples(st.just(1), st.integers(2, 9)), elements=st.floats(-1e4, 1e4, width=32)))
def test_scores_are_probabilities_and_the_label_is_the_largest(logits):
    answer = _decode(logits)
    assert answer.scores.shape == (logits.shape[1],)
    assert answer.scores.sum() == pytest.approx(1, abs=1e-5)
    assert answer.confidence == answer.scores.max()
    assert answer.label == f"class {logits[0].argmax()}"
    assert answer.mask is None


def test_softmax_by_hand():
    answer = _decode([[0.0, np.log(3.0)]], classes=["no fire", "fire"])
    assert answer.label == "fire" and answer.confidence == pytest.approx(0.75)


@pytest.mark.parametrize(("logit", "label"), [(np.log(4.0), "fire"), (-np.log(4.0), "no fire")])
def test_one_logit_stands_for_two_classes(logit, label):
    answer = _decode([[logit]], classes=["no fire", "fire"])
    assert answer.label == label and answer.confidence == pytest.approx(0.8)


@pytest.mark.parametrize("spoilt", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("task", ["classify", "segment"])
def test_what_is_not_finite_names_the_output(spoilt, task):
    logits = np.zeros((1, 2) if task == "classify" else (1, 2, 4, 4), np.float32)
    logits.flat[-1] = spoilt
    with pytest.raises(EngineError, match="output 'logits' holds values that are not finite"):
        _decode(logits, task)


def test_large_finite_values_are_not_mistaken_for_infinite():
    assert _decode([[3e38, 3e38, 2e38]]).label == "class 0"


@pytest.mark.parametrize(
    ("shape", "task"),
    [((2, 3), "classify"), ((3,), "classify"), ((1, 3, 4, 4), "classify"), ((1, 0), "classify")]
    + [((1, 3), "segment"), ((2, 1, 4, 4), "segment"), ((1, 300, 2, 2), "segment")],
)
def test_outputs_of_another_shape_are_refused(shape, task):
    with pytest.raises(EngineError, match="must be"):
        _decode(np.zeros(shape), task)


def test_classes_that_do_not_fit_are_refused():
    with pytest.raises(EngineError, match="has 10 classes, the bundle names 2"):
        _decode(np.zeros((1, 10)), classes=["no fire", "fire"])


def test_only_known_tasks_are_shown():
    check(bundle("segment"))
    with pytest.raises(BundleError, match="task is 'detect'.*classify, segment"):
        check(bundle("detect"))


def test_one_plane_of_logits():
    logits = np.full((1, 1, 8, 8), -4.0)
    logits[0, 0, 2:4, 4:8] = 4.0
    answer = _decode(logits, "segment", ["ground", "fire"], (8, 8))
    assert answer.label == "fire"
    assert answer.confidence == pytest.approx(1 / (1 + np.exp(-4.0)))
    assert answer.scores == pytest.approx([1 - 8 / 64, 8 / 64])
    np.testing.assert_array_equal(answer.mask, logits[0, 0] > 0)
    assert answer.mask.dtype == np.uint8


def test_many_planes_of_logits():
    logits = np.zeros((1, 4, 6, 6))
    logits[0, 0] = 1.0
    logits[0, 2, :3] = 5.0
    logits[0, 3, 5, 5] = 9.0
    answer = _decode(logits, "segment", shape=(12, 18))
    assert answer.label == "class 2"  # class 3 is surer of its one pixel, but covers less
    assert answer.confidence == pytest.approx(np.exp(5) / (np.exp(5) + np.e + 2), rel=1e-5)
    assert answer.scores == pytest.approx([17 / 36, 0, 18 / 36, 1 / 36])
    assert answer.mask.shape == (12, 18) and set(np.unique(answer.mask)) == {0, 2, 3}


@given(hnp.arrays(np.float32, st.tuples(st.just(1), st.integers(2, 5), *[st.integers(1, 5)] * 2), elements=LOGIT))
def test_a_mask_holds_the_largest_logit_of_each_pixel(logits):
    answer = _decode(logits, "segment", shape=logits.shape[2:])
    largest = logits[0].argmax(axis=0)
    np.testing.assert_array_equal(answer.mask, largest)
    shares = np.bincount(largest.ravel(), minlength=logits.shape[1]) / largest.size
    assert answer.scores == pytest.approx(shares, abs=1e-6)
    scores = np.exp(logits[0].astype(float)) / np.exp(logits[0].astype(float)).sum(axis=0)
    best = int(answer.label.split()[1])
    assert shares[best] == shares[1:].max() if shares[1:].any() else best == 0
    assert answer.confidence == pytest.approx(scores[best][largest == best].mean(), abs=1e-5)


@pytest.mark.parametrize("planes", [1, 3])
def test_nothing_found_is_the_background(planes):
    logits = np.full((1, planes, 4, 4), -5.0)
    logits[0, 0] = -5.0 if planes == 1 else 5.0
    answer = _decode(logits, "segment", shape=(9, 7))
    assert answer.label == "class 0" and answer.confidence > 0.99
    assert answer.mask.shape == (9, 7) and not answer.mask.any()


def test_no_mask_where_nobody_looks():
    assert _decode(np.zeros((1, 2, 4, 4)), "segment").mask is None


@settings(deadline=None)
@given(
    fit=st.sampled_from(inputs.FITS),
    rows=st.integers(40, 200),
    columns=st.integers(40, 200),
    high=st.sampled_from([32, 48]),
    wide=st.sampled_from([32, 64]),
    planes=st.sampled_from([1, 2]),
)
def test_a_mask_comes_back_to_where_the_model_saw_it(fit, rows, columns, high, wide, planes):
    recipe = inputs.Recipe(wide, high, fit)
    frame = np.zeros((rows, columns, 3), np.uint8)
    # In the middle, so that a crop does not cut it off.
    frame[rows * 2 // 5 : rows * 3 // 5, columns * 2 // 5 : columns * 3 // 5] = 255
    seen = inputs.fit(frame, recipe)[:, :, 0]
    logits = seen.astype(np.float32)[None, None] / 25.5 - 5
    if planes == 2:
        logits = np.concatenate([-logits, logits], axis=1)
    answer = decode(Named(), [logits], bundle("segment", []), recipe, (rows, columns))
    there, found = frame[:, :, 0] > 0, answer.mask > 0
    assert found.shape == there.shape
    # One pixel of the model's is rows/high of the frame's: edges may be off by that.
    border = 2 * (rows + columns) / 5
    assert np.count_nonzero(found != there) <= border * (rows / high + columns / wide + 2)
    # Where its middle lies does not depend on the edges.
    middle = np.argwhere(there).mean(axis=0)
    assert np.argwhere(found).mean(axis=0) == pytest.approx(middle, abs=rows / high + columns / wide)


def test_outside_of_the_crop_nothing_was_seen():
    recipe = inputs.Recipe(10, 10, "crop")
    mask = on_frame(np.ones((10, 10), np.uint8), recipe, (20, 60))
    assert mask[:, 20:40].all() and not mask[:, :20].any() and not mask[:, 40:].any()


def test_a_coarse_output_of_a_padded_frame_fills_the_frame():
    recipe = inputs.Recipe(64, 64, "pad")
    assert on_frame(np.ones((8, 8), np.uint8), recipe, (30, 120)).all()


@given(
    hnp.arrays(np.float32, st.tuples(st.just(1), st.integers(2, 6)), elements=st.floats(-9, 9, width=32)),
    st.integers(0, 5),
    st.floats(0.01, 0.99),
)
def test_a_class_is_the_answer_from_its_threshold_on(logits, watched, threshold):
    watched %= logits.shape[1]
    plain, answer = _decode(logits), _decode(logits, shift=shift_of(logits.shape[1], watched, threshold))
    np.testing.assert_array_equal(answer.scores, plain.scores)
    beside = beside_rival(answer.scores, watched)
    if abs(beside - threshold) > 1e-4:
        assert (answer.label == f"class {watched}") == (beside > threshold)
    if logits.shape[1] == 2:
        assert beside == pytest.approx(answer.scores[watched], abs=1e-6)
    assert answer.confidence == answer.scores[int(answer.label[6:])]


def test_a_threshold_of_a_half_is_none():
    assert shift_of(3, 1, 0.5) is None and shift_of(3, 1, 0.9)[1] > 0 > shift_of(3, 1, 0.1)[1]


@pytest.mark.parametrize("classes", [1, 2])
def test_a_threshold_grows_or_shrinks_a_mask_but_not_out_of_what_was_seen(classes):
    logits = np.zeros((1, classes, 16, 16), np.float32)
    logits[0, -1] = np.linspace(-3, 3, 16)[None]  # surer from column to column
    recipe = inputs.Recipe(16, 16, "crop")
    areas = []
    for threshold in (0.1, 0.5, 0.9):
        answer = _decode(logits, "segment", shape=(16, 32), recipe=recipe, shift=shift_of(2, 1, threshold))
        columns = np.flatnonzero(answer.mask.all(axis=0))
        assert columns.min() >= 8 and columns.max() < 24, "the crop saw the middle alone"
        areas.append(len(columns))
        assert answer.scores[1] == pytest.approx(len(columns) / 16)
    assert areas == [13, 8, 3]
