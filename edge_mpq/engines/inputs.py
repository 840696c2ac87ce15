"""The one preprocessing recipe: a frame of any kind in, the model's input out.

Calibration, evaluation and the camera all call :func:`prepare`, so the engine sees in
the field what it was calibrated on.  The recipe travels in the bundle.

Axis letters: H rows, W columns, C channels, N frames.
"""

import hashlib
import json
from typing import NamedTuple, Tuple

import cv2
import numpy as np

from edge_mpq.errors import BundleError, SourceError
from edge_mpq.records.bundle import FITS


class Recipe(NamedTuple):
    """How a frame becomes an input.

    width, height: of the model's input, pixels.  fit: ``stretch`` ignores the aspect,
    ``crop`` keeps it and cuts the middle, ``pad`` keeps it and adds black.  mean, std:
    per RGB channel, in units of 0 to 1.
    """

    width: int
    height: int
    fit: str = "stretch"
    mean: Tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: Tuple[float, float, float] = (0.229, 0.224, 0.225)


def to_json(recipe):
    """The recipe as a dict of JSON values."""
    return dict(recipe._asdict(), mean=list(recipe.mean), std=list(recipe.std))


def from_json(body):
    """The recipe in a decoded JSON object; BundleError names every fault."""
    faults = []
    if not isinstance(body, dict) or set(body) != set(Recipe._fields):
        raise BundleError("the recipe does not have the fields " + ", ".join(Recipe._fields), "make the bundle again")
    for name in ("width", "height"):
        if not isinstance(body[name], int) or not 1 <= body[name] <= 16384:
            faults.append("{} is {!r}, not 1 to 16384 pixels".format(name, body[name]))
    if body["fit"] not in FITS:
        faults.append("fit is {!r}, not one of {}".format(body["fit"], ", ".join(FITS)))
    for name in ("mean", "std"):
        triple = body[name]
        numbers = isinstance(triple, list) and len(triple) == 3 and all(isinstance(v, (int, float)) for v in triple)
        if not numbers or (name == "std" and min(triple) <= 0):
            faults.append("{} is {!r}, not three numbers{}".format(name, triple, " above 0" if name == "std" else ""))
    if faults:
        raise BundleError("bad recipe: " + "; ".join(faults), "make the bundle again")
    return Recipe(**dict(body, mean=tuple(body["mean"]), std=tuple(body["std"])))


def fingerprint(recipe):
    """16 hex digits that tell one recipe from another."""
    return hashlib.sha256(json.dumps(to_json(recipe), sort_keys=True).encode("utf-8")).hexdigest()[:16]


def as_rgb(frame, order="bgr"):
    """A uint8 RGB picture [H, W, 3] of any grey, alpha or 16-bit frame; SourceError for what is no picture.

    order: of the colours in a 3- or 4-channel ``frame``, ``bgr`` (OpenCV) or ``rgb``.
    """
    if not isinstance(frame, np.ndarray) or frame.size == 0 or frame.ndim not in (2, 3):
        raise SourceError("a frame is no picture", "check the camera or the file")
    if frame.dtype == np.uint16:
        frame = (frame >> 8).astype(np.uint8)
    if frame.dtype != np.uint8:
        raise SourceError("a frame holds {}, not uint8 pixels".format(frame.dtype), "convert it to 8 bits")
    if frame.ndim == 2 or frame.shape[2] == 1:
        return cv2.cvtColor(frame, cv2.COLOR_GRAY2RGB)
    if frame.shape[2] not in (3, 4):
        raise SourceError("a frame has {} channels".format(frame.shape[2]), "1, 3 or 4 are understood")
    if order == "rgb":
        return np.ascontiguousarray(frame[:, :, :3])
    return cv2.cvtColor(frame, cv2.COLOR_BGR2RGB if frame.shape[2] == 3 else cv2.COLOR_BGRA2RGB)


def fit(picture, recipe):
    """``picture`` [H, W, 3] scaled to the recipe's size by its fit; same type."""
    rows, columns = picture.shape[:2]
    if (rows, columns) == (recipe.height, recipe.width):
        return picture
    if recipe.fit == "crop":
        scale = max(recipe.height / float(rows), recipe.width / float(columns))
        high, wide = int(round(recipe.height / scale)), int(round(recipe.width / scale))
        top, left = (rows - high) // 2, (columns - wide) // 2
        picture = picture[top : top + high, left : left + wide]
    elif recipe.fit == "pad":
        scale = min(recipe.height / float(rows), recipe.width / float(columns))
        high, wide = max(1, int(round(rows * scale))), max(1, int(round(columns * scale)))
        canvas = np.zeros((recipe.height, recipe.width, 3), picture.dtype)
        top, left = (recipe.height - high) // 2, (recipe.width - wide) // 2
        canvas[top : top + high, left : left + wide] = _resize(picture, wide, high)
        return canvas
    return _resize(picture, recipe.width, recipe.height)


def _resize(picture, width, height):
    # AREA averages when shrinking (no aliasing of fire and smoke texture); it is
    # nearest-like when growing, where LINEAR is right.
    shrinks = picture.shape[0] >= height and picture.shape[1] >= width
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def prepare(frame, recipe, order="bgr"):
    """One frame [H, W] or [H, W, C] as the model's input: float32 [3, height, width]."""
    picture = fit(as_rgb(frame, order), recipe)
    scale = np.array([1 / (255.0 * s) for s in recipe.std], np.float32)
    shift = np.array([-m / s for m, s in zip(recipe.mean, recipe.std)], np.float32)
    planes = np.empty((3, recipe.height, recipe.width), np.float32)
    for channel in range(3):
        np.multiply(picture[:, :, channel], scale[channel], out=planes[channel], casting="unsafe")
        planes[channel] += shift[channel]
    return planes


def batch(frames, recipe, order="bgr"):
    """Frames as one input batch: float32 [N, 3, height, width]."""
    return np.stack([prepare(frame, recipe, order) for frame in frames])
