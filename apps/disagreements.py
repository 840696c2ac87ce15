"""The pictures that an engine answers least like fp32, drawn with both answers.

Axis letters: N pictures, K classes (or 1: the logit of the second of two), H rows, W columns.
"""

import itertools
from collections.abc import Sequence

import numpy as np

from apps import measure, thumbnail
from apps.data import Pictures

COUNT = 8
# A probability, or a share of pixels, that moved less is not worth a picture.
LEAST = 0.01
SIDE = 240
# RGB: found by both engines, by fp32 alone, by the other alone.
BOTH, LOST, NEW = (40, 200, 90), (220, 40, 40), (60, 110, 255)


def worst(
    pictures: Pictures, indices: Sequence[int], fp32: np.ndarray, other: np.ndarray, name: str, known: bool
) -> list[list[str]]:
    """[caption, JPEG in base64] of the pictures answered least alike, at most ``COUNT``, the worst first.

    indices: which picture each answer is of.  fp32, other: [N, K] logits, or [N, K, H, W] of a segmenter.
    name: what the other engine is called.  known: whether the pictures' labels are the true classes.
    """
    said = {"fp32": measure.top1(fp32), name: measure.top1(other)}
    otherwise = said["fp32"] != said[name]
    if fp32.ndim == 4:
        moved = otherwise.mean((1, 2))
        maps = list(zip(*said.values(), strict=True))
        return [
            [f"{moved[at]:.1%} of the pixels", _encoded(_painted(pictures.frame(indices[at]), *maps[at]))]
            for at in _first(moved, moved)
        ]
    chances = {"fp32": _chances(fp32), name: _chances(other)}
    moved = np.abs(chances["fp32"] - chances[name]).sum(1) / 2
    shown = []
    # One that is answered otherwise is worse than any that is merely less sure.
    for at in _first(moved + otherwise, moved):
        words = [f"{one}: {pictures.classes[said[one][at]]} {chances[one][at].max():.0%}" for one in said]
        truth = [f"truth: {pictures.classes[pictures.label(indices[at])]}"] if known else []
        shown.append(["; ".join(words + truth), _encoded(pictures.frame(indices[at]))])
    return shown


def _first(badness: np.ndarray, moved: np.ndarray) -> list[int]:
    """Which to show, the worst first; none from the first on that hardly moved."""
    order = np.argsort(-badness, kind="stable")[:COUNT].tolist()
    return list(itertools.takewhile(lambda at: moved[at] >= LEAST, order))


def _chances(logits: np.ndarray) -> np.ndarray:
    """Probabilities [N, K or 2] of logits [N, K]; a single one stands for the second of two classes."""
    logits = logits.astype(np.float64)
    logits = logits if logits.shape[1] > 1 else np.concatenate([np.zeros_like(logits), logits], 1)
    raised = np.exp(logits - logits.max(1, keepdims=True))
    return raised / raised.sum(1, keepdims=True)


def _painted(frame: np.ndarray, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """The frame with what is no background: to both in green, to fp32 alone in red, to the other alone in blue."""
    same = before == after
    areas = (same & (after > 0), BOTH), (~same & (before > 0), LOST), (~same & (before == 0), NEW)
    return thumbnail.painted(frame, areas)


def _encoded(picture: np.ndarray) -> str:
    return thumbnail.encoded(picture, SIDE / max(picture.shape[:2]))
