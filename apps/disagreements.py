"""The pictures that an engine answers least like fp32, drawn with both answers.

Axis letters: N pictures, K classes (or 1: the logit of the second of two), H rows, W columns.
"""

import base64
from collections.abc import Sequence

import cv2
import numpy as np

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
    maps = fp32.ndim == 4
    moved = np.array([_moved(*pair) for pair in zip(fp32, other, strict=True)])
    # One that is answered otherwise is worse than any that is merely less sure.
    order = np.argsort(-(moved if maps else moved + _otherwise(fp32, other)), kind="stable")[:COUNT]
    shown = []
    for at in order:
        if moved[at] < LEAST:
            break
        frame, answers = pictures.frame(indices[at]), (fp32[at], other[at])
        if maps:
            shown.append([f"{moved[at]:.1%} of the pixels", _encoded(_painted(frame, *answers))])
            continue
        said = [
            f"{one}: {_said(answer, pictures.classes)}" for one, answer in zip(("fp32", name), answers, strict=True)
        ]
        truth = [f"truth: {pictures.classes[pictures.label(indices[at])]}"] if known else []
        shown.append(["; ".join(said + truth), _encoded(frame)])
    return shown


def _two(logits: np.ndarray) -> np.ndarray:
    """Logits [K, ...] of at least two classes."""
    return logits if len(logits) > 1 else np.concatenate([np.zeros_like(logits), logits])


def _chances(logits: np.ndarray) -> np.ndarray:
    """[K]: probabilities of logits [K] or [1]."""
    raised = np.exp((logits := _two(logits.astype(np.float64))) - logits.max())
    return raised / raised.sum()


def _moved(fp32: np.ndarray, other: np.ndarray) -> float:
    """Half the sum of the changes of probability; of maps the share of pixels of another class."""
    if fp32.ndim == 3:
        return float((_two(fp32).argmax(0) != _two(other).argmax(0)).mean())
    return float(np.abs(_chances(fp32) - _chances(other)).sum() / 2)


def _otherwise(fp32: np.ndarray, other: np.ndarray) -> np.ndarray:
    """[N]: whether another class wins."""
    return np.array([_two(one).argmax() != _two(two).argmax() for one, two in zip(fp32, other, strict=True)])


def _said(logits: np.ndarray, classes: Sequence[str]) -> str:
    chances = _chances(logits)
    best = int(chances.argmax())
    return f"{classes[best]} {chances[best]:.0%}"


def _painted(frame: np.ndarray, fp32: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The frame with what is no background: to both in green, to fp32 alone in red, to the other alone in blue."""
    before, after = _two(fp32).argmax(0), _two(other).argmax(0)
    picture = frame.copy()
    for where, colour in (
        ((before == after) & (after > 0), BOTH),
        ((before != after) & (before > 0), LOST),
        ((before != after) & (before == 0), NEW),
    ):
        mask = cv2.resize(where.astype(np.uint8), picture.shape[1::-1], interpolation=cv2.INTER_NEAREST).astype(bool)
        picture[mask] = (0.4 * picture[mask] + 0.6 * np.array(colour)).astype(np.uint8)
    return picture


def _encoded(picture: np.ndarray) -> str:
    """RGB [H, W, 3] as a JPEG in base64, at the size a page shows it."""
    scale = SIDE / max(picture.shape[:2])
    size = max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale))
    fitted = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    data = cv2.imencode(".jpg", cv2.cvtColor(fitted, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
    return base64.b64encode(data.tobytes()).decode("ascii")
