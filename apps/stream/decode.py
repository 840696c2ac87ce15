"""What an engine's outputs say: a label, how sure, and for segmentation where.

Axis letters: H, W rows and columns of the frame, h, w of the model's output, K classes.
"""

from typing import NamedTuple, Optional, Tuple

import cv2
import numpy as np

from edge_mpq.errors import BundleError, EngineError

TASKS = ("classify", "segment")


class Answer(NamedTuple):
    """One frame's answer.

    label: of the winning class; in segmentation the one that covers most beside class
    0, the background, or the background where nothing else is.  confidence: 0 to 1; in
    segmentation the mean probability over the pixels of the label.  scores: [K], sum 1:
    probabilities, or the share of pixels of each class.  mask: uint8 [H, W] of class
    numbers, or None where none was asked for.  box: (left, top, wide, high) of the part of
    the frame it is the answer for, in pixels, or None for all of it.
    """

    label: str
    confidence: float
    scores: np.ndarray
    mask: Optional[np.ndarray] = None
    box: Optional[Tuple[int, int, int, int]] = None


def check(bundle):
    """Raise BundleError unless frames can be decoded for the bundle's task."""
    if bundle.task not in TASKS:
        raise BundleError("the bundle's task is {!r}".format(bundle.task), "a stream shows one of " + ", ".join(TASKS))


def shift_of(count, watched, threshold):
    """What to take from ``count`` logits so that class ``watched`` wins from ``threshold`` on; None at a half.

    threshold: 0 to 1, its probability beside that of its strongest rival alone.  With two
    classes that is its probability, and a half is what the largest logit says.
    """
    if threshold == 0.5:
        return None
    shift = np.zeros(count, np.float32)
    shift[watched] = np.log(threshold / (1 - threshold))
    return shift


def beside_rival(scores, watched):
    """The probability of class ``watched`` beside that of its strongest rival alone, of ``scores`` [K]."""
    return float(scores[watched] / (scores[watched] + np.delete(scores, watched).max()))


def decode(engine, outputs, bundle, recipe, shape=None, shift=None):
    """The Answer in the first of ``outputs``, [1, K] to classify, [1, K, h, w] to segment.

    One class stands for two: ``nothing`` and it, by the logit's sign.  shape: (H, W) of
    the frame, to have its mask.  shift: [K], taken from the logits where a class is chosen;
    scores and confidence stay the engine's own.  Raises EngineError where an output is of
    another shape or not finite, or has not as many classes as the bundle names.
    """
    name, logits = engine.outputs[0].name, outputs[0]
    segments = bundle.task == "segment"
    # A mask holds class numbers in 8 bits.
    fits = logits.ndim == 4 and logits.shape[1] <= 256 if segments else logits.ndim == 2
    if not fits or logits.shape[0] != 1 or 0 in logits.shape:
        wanted = "[1, K <= 256, h, w]" if segments else "[1, K]"
        raise EngineError(
            "output {!r} is {}, to {} it must be {}".format(name, list(logits.shape), bundle.task, wanted),
            "quantize the model for another task, or make the bundle again",
        )
    count = max(2, logits.shape[1])
    if bundle.classes and len(bundle.classes) != count:
        raise EngineError(
            "output {!r} has {} classes, the bundle names {}".format(name, count, len(bundle.classes)),
            "make the bundle again with the model's own classes",
        )
    if not np.isfinite(logits).all():
        raise EngineError(
            "output {!r} holds values that are not finite".format(name),
            "run --engine fp32; if it is right, plan again with wider formats",
        )
    logits = logits[0].astype(np.float32, copy=False)
    if segments:
        return _segmented(logits, bundle.classes, recipe, shape, shift)
    logits = logits if len(logits) > 1 else np.append(np.float32(0), logits)
    # The largest logit, not score: exp rounds near ones to the same.
    scores, best = _softmax(logits), int((logits if shift is None else logits - shift).argmax())
    return Answer(_label(bundle.classes, best), float(scores[best]), scores)


def on_frame(picture, recipe, shape):
    """``picture`` [h, w] of what the model saw, back on the frame: [H, W], 0 where it did not look.

    Undoes engines.inputs.fit: ``crop`` saw the middle of the frame, ``pad`` a frame with
    a border.
    """
    rows, columns = shape
    high, wide = picture.shape
    smooth = cv2.INTER_LINEAR if picture.dtype == np.float32 else cv2.INTER_NEAREST
    if recipe.fit == "stretch":
        return cv2.resize(picture, (columns, rows), interpolation=smooth)
    across, down = recipe.width / float(columns), recipe.height / float(rows)
    if recipe.fit == "pad":
        scale = min(across, down)
        inner_high = max(1, int(round(high * rows * scale / recipe.height)))
        inner_wide = max(1, int(round(wide * columns * scale / recipe.width)))
        top, left = (high - inner_high) // 2, (wide - inner_wide) // 2
        inner = picture[top : top + inner_high, left : left + inner_wide]
        return cv2.resize(inner, (columns, rows), interpolation=smooth)
    scale = max(across, down)
    seen_rows, seen_columns = int(round(recipe.height / scale)), int(round(recipe.width / scale))
    top, left = (rows - seen_rows) // 2, (columns - seen_columns) // 2
    # Outside of the crop nothing was seen: the background, whose logit is below zero.
    whole = np.full((rows, columns), -1 if picture.dtype == np.float32 else 0, picture.dtype)
    seen = cv2.resize(picture, (seen_columns, seen_rows), interpolation=smooth)
    whole[top : top + seen_rows, left : left + seen_columns] = seen
    return whole


def _segmented(logits, classes, recipe, shape, shift):
    mask = None
    if len(logits) == 1:
        picture = logits[0] if shift is None else logits[0] - (shift[1] - shift[0])
        inside = picture > 0
        share = np.count_nonzero(inside) / float(inside.size)
        scores = np.array([1 - share, share], np.float32)
        best = int(share > 0)
        chosen = logits[0][inside] if best else -logits[0]
        confidence = float(np.mean(1 / (1 + np.exp(-chosen))))
        if shape is not None:
            # Enlarging logits and then asking their sign draws a smooth edge.
            mask = (on_frame(picture, recipe, shape) > 0).view(np.uint8)
        return Answer(_label(classes, best), confidence, scores, mask)
    numbers = _winners(logits if shift is None else logits - shift[:, None, None])
    scores = np.bincount(numbers.ravel(), minlength=len(logits)).astype(np.float32) / numbers.size
    best = 1 + int(scores[1:].argmax()) if scores[1:].any() else 0
    won = logits.reshape(len(logits), -1).take(np.flatnonzero(numbers == best), axis=1)
    confidence = float(_softmax(won)[best].mean())
    if shape is not None:
        mask = on_frame(numbers, recipe, shape)
    return Answer(_label(classes, best), confidence, scores, mask)


def _winners(logits):
    """The class of each pixel, uint8 [h, w], of logits [K, h, w]; a tie goes to the lower.

    Plane by plane, which is ten times as fast as argmax over the first axis.
    """
    highest, numbers = logits[0].copy(), np.zeros(logits.shape[1:], np.uint8)
    for number in range(1, len(logits)):
        np.copyto(numbers, number, where=logits[number] > highest, casting="unsafe")
        np.maximum(highest, logits[number], out=highest)
    return numbers


def _softmax(logits):
    raised = np.exp(logits - logits.max(axis=0))
    return raised / raised.sum(axis=0)


def _label(classes, index):
    return str(classes[index]) if classes else "class {}".format(index)
