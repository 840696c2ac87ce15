"""Figures of answers: what must hold of any, and values worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.wildfire import metrics

sizes = st.integers(2, 4)


@st.composite
def answered(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int]:
    """What was said, what is true, and the number of classes."""
    classes, count = draw(sizes), draw(st.integers(1, 60))
    values = st.lists(st.integers(0, classes - 1), min_size=count, max_size=count)
    return np.array(draw(values)), np.array(draw(values)), classes


scored = st.lists(st.tuples(st.integers(-5, 5), st.booleans()), min_size=1, max_size=60)


def test_by_hand() -> None:
    #            said: fire  none
    counts = np.array([[6, 2],  # fire
                       [1, 11]])  # none  # fmt: skip
    said = metrics.figures(counts, positive=0)
    assert said == pytest.approx(
        {
            "accuracy": 17 / 20,
            "precision": 6 / 7,
            "recall": 6 / 8,
            "f1": 12 / 15,
            "iou": 6 / 9,
            "mean_pixel_accuracy": (6 / 8 + 11 / 12) / 2,
            "mean_iou": (6 / 9 + 11 / 14) / 2,
        }
    )


@given(answered())
def test_laws_of_any_answers(case: tuple[np.ndarray, np.ndarray, int]) -> None:
    said, true, classes = case
    counts = metrics.confusion(said, true, classes)
    assert counts.sum() == len(true) and metrics.accuracy(counts) == pytest.approx((said == true).mean())
    assert metrics.mean_pixel_accuracy(counts) >= metrics.mean_iou(counts) - 1e-12
    for low, high in (
        (metrics.ious(counts), metrics.recalls(counts)),
        (metrics.ious(counts), metrics.precisions(counts)),
        (metrics.ious(counts), metrics.f1(counts)),
    ):
        known = ~(np.isnan(low) | np.isnan(high))
        assert (low[known] <= high[known] + 1e-12).all()
    overlap = metrics.ious(counts)
    assert np.allclose(metrics.f1(counts), 2 * overlap / (1 + overlap), equal_nan=True)  # Dice and Jaccard


@given(answered())
def test_truth_and_answer_exchanged_exchange_precision_and_recall_and_nothing_else(
    case: tuple[np.ndarray, np.ndarray, int],
) -> None:
    said, true, classes = case
    one, other = metrics.confusion(said, true, classes), metrics.confusion(true, said, classes)
    assert np.array_equal(one, other.T)
    assert np.array_equal(metrics.precisions(one), metrics.recalls(other), equal_nan=True)
    assert metrics.mean_iou(one) == pytest.approx(metrics.mean_iou(other))
    assert metrics.accuracy(one) == pytest.approx(metrics.accuracy(other))


@given(answered())
def test_names_of_classes_do_not_count(case: tuple[np.ndarray, np.ndarray, int]) -> None:
    said, true, classes = case
    renamed = np.roll(np.arange(classes), 1)
    one = metrics.confusion(said, true, classes)
    other = metrics.confusion(renamed[said], renamed[true], classes)
    for figure in (metrics.accuracy, metrics.mean_iou, metrics.mean_pixel_accuracy):
        assert figure(one) == pytest.approx(figure(other))


@given(answered())
def test_only_what_is_all_right_has_one_everywhere(case: tuple[np.ndarray, np.ndarray, int]) -> None:
    said, true, classes = case
    perfect = metrics.confusion(true, true, classes)
    assert metrics.mean_iou(perfect) == metrics.mean_pixel_accuracy(perfect) == metrics.accuracy(perfect) == 1.0
    assert (metrics.mean_iou(metrics.confusion(said, true, classes)) == 1.0) == bool((said == true).all())


def test_a_map_counts_pixel_by_pixel() -> None:
    true = np.zeros((2, 4, 4), int)
    true[:, :2] = 1
    said = np.roll(true, 1, axis=1)
    counts = metrics.confusion(said, true, 2)
    assert counts.tolist() == [[8, 8], [8, 8]] and metrics.mean_iou(counts) == pytest.approx(1 / 3)


@given(scored)
def test_laws_of_the_curve(pairs: list[tuple[int, bool]]) -> None:
    scores, positive = (np.array(values) for values in zip(*pairs, strict=True))
    curve = metrics.precision_recall(scores.astype(float), positive)
    assert (np.diff(curve.recall) >= 0).all() and 0 <= curve.average_precision <= 1 + 1e-12
    if positive.any():
        assert curve.recall[-1] == 1.0 and curve.precision[-1] == pytest.approx(positive.mean())
        stretched = metrics.precision_recall(3.0 * scores + 7, positive)  # only the order of scores counts
        assert stretched.average_precision == pytest.approx(curve.average_precision)
    shuffled = np.random.default_rng(0).permutation(len(scores))
    again = metrics.precision_recall(scores[shuffled].astype(float), positive[shuffled])
    assert again.average_precision == pytest.approx(curve.average_precision)  # ties are no luck
    thin = curve.thinned(5)
    assert len(thin) <= 5 and thin[-1] == [curve.recall[-1], curve.precision[-1]]


def test_the_curve_by_hand_and_at_its_ends() -> None:
    curve = metrics.precision_recall(np.array([0.9, 0.8, 0.7, 0.6]), np.array([True, False, True, False]))
    assert curve.recall.tolist() == [0.0, 0.5, 0.5, 1.0, 1.0]
    assert curve.precision.tolist() == pytest.approx([1.0, 1.0, 0.5, 2 / 3, 0.5])
    assert curve.average_precision == pytest.approx(0.5 * 1.0 + 0.5 * 2 / 3)
    sorted_out = metrics.precision_recall(np.array([3.0, 2.0, 1.0]), np.array([True, True, False]))
    assert sorted_out.average_precision == 1.0
    constant = metrics.precision_recall(np.zeros(10), np.arange(10) < 3)
    assert constant.average_precision == pytest.approx(0.3)
    nothing = metrics.precision_recall(np.zeros(3), np.zeros(3, bool))
    assert nothing.average_precision == 0.0 and nothing.thinned() == [[0.0, 1.0]]


@given(st.integers(1, 64), st.floats(1e-3, 1e4))
def test_rate_times_latency_is_the_batch(batch: int, latency_ms: float) -> None:
    assert metrics.throughput(batch, latency_ms) * latency_ms / 1000 == pytest.approx(batch)
