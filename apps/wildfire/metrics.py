"""How answers stand to the truth: the figures of the wildfire papers, from a matrix of counts.

Definitions as in the literature on segmentation: pixel accuracy of a class is
TP / (TP + FN), its intersection over union TP / (TP + FP + FN); both are averaged over
classes.  Pictures are counted in classification, pixels in segmentation.

Axis letters: K classes; counts [K, K] have the truth in rows and what was said in columns.
"""

from typing import NamedTuple

import numpy as np

# Points that a curve keeps: more cannot be told apart on a page.
CURVE_POINTS = 200


def confusion(said: np.ndarray, true: np.ndarray, classes: int) -> np.ndarray:
    """int64 [K, K]: how often class j was said where i is true, of classes of any one shape."""
    pairs = true.reshape(-1).astype(np.int64) * classes + said.reshape(-1)
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def accuracy(counts: np.ndarray) -> float:
    """Share of all that was said right."""
    return float(np.trace(counts) / counts.sum())


def recalls(counts: np.ndarray) -> np.ndarray:
    """[K]: TP / (TP + FN) of every class, its pixel accuracy; NaN for a class that never is true."""
    return _share(counts.diagonal(), counts.sum(1))


def precisions(counts: np.ndarray) -> np.ndarray:
    """[K]: TP / (TP + FP) of every class; NaN for a class that never is said."""
    return _share(counts.diagonal(), counts.sum(0))


def f1(counts: np.ndarray) -> np.ndarray:
    """[K]: 2 TP / (2 TP + FP + FN), the harmonic mean of precision and recall; NaN where nothing is true or said."""
    return _share(2 * counts.diagonal(), counts.sum(0) + counts.sum(1))


def ious(counts: np.ndarray) -> np.ndarray:
    """[K]: TP / (TP + FP + FN) of every class; NaN where nothing is true or said."""
    return _share(counts.diagonal(), counts.sum(0) + counts.sum(1) - counts.diagonal())


def mean_pixel_accuracy(counts: np.ndarray) -> float:
    """Mean over the classes that are true somewhere; also called balanced accuracy.  Never below the mean IoU."""
    return float(np.nanmean(recalls(counts)))


def mean_iou(counts: np.ndarray) -> float:
    """Mean over the classes that are true or said somewhere."""
    return float(np.nanmean(ious(counts)))


def figures(counts: np.ndarray, positive: int) -> dict[str, float]:
    """All of the above by name; precision, recall, F1 and IoU are of class ``positive``, 0 where they have no value."""
    of_fire = {"precision": precisions, "recall": recalls, "f1": f1, "iou": ious}
    return {
        "accuracy": accuracy(counts),
        **{name: float(np.nan_to_num(of(counts)[positive])) for name, of in of_fire.items()},
        "mean_pixel_accuracy": mean_pixel_accuracy(counts),
        "mean_iou": mean_iou(counts),
    }


class Curve(NamedTuple):
    """Precision against recall, recall rising.  average_precision: sum of precision times the step in recall."""

    recall: np.ndarray
    precision: np.ndarray
    average_precision: float

    def thinned(self, points: int = CURVE_POINTS) -> list[list[float]]:
        """At most about ``points`` pairs [recall, precision], evenly along the curve, both ends among them."""
        chosen = np.unique(np.linspace(0, len(self.recall) - 1, points).round().astype(int))
        return [[float(self.recall[i]), float(self.precision[i])] for i in chosen]


def precision_recall(scores: np.ndarray, positive: np.ndarray) -> Curve:
    """The curve of calling positive whatever scores at or above a threshold, over all thresholds.

    scores: of any one shape, larger is more likely positive; positive: bool of that shape.
    Equal scores fall together, so no order among them counts.  Without a positive there is
    nothing to recall: the curve is the one point (0, 1) and its average precision 0.
    """
    scores, positive = scores.reshape(-1), positive.reshape(-1).astype(bool)
    total = int(positive.sum())
    if not total:
        return Curve(np.zeros(1), np.ones(1), 0.0)
    order = np.argsort(-scores, kind="stable")
    found = np.cumsum(positive[order])
    last_of_equals = np.append(np.diff(scores[order]) != 0, True)
    recall = found[last_of_equals] / total
    precision = found[last_of_equals] / (np.flatnonzero(last_of_equals) + 1)
    average = float(np.sum(np.diff(recall, prepend=0.0) * precision))
    return Curve(np.append(0.0, recall), np.append(precision[0], precision), average)


def log_loss(logits: np.ndarray, positive: np.ndarray) -> float:
    """Mean cross entropy of logits for positive against the truth (bool), both of any one shape; nats."""
    return float(np.logaddexp(0, np.where(positive, -logits, logits).astype(np.float64)).mean())


def throughput(batch: int, latency_ms: float) -> float:
    """Pictures a second of calls that answer ``batch`` at once in ``latency_ms``: FPS x latency = batch."""
    return 1000.0 * batch / latency_ms


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(whole > 0, part / whole, np.nan)
