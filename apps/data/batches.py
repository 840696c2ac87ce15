"""Pictures as input batches, prepared by the one recipe, and a fair sample of them.

Axis letters: N pictures, H rows, W columns.
"""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from apps.data import Pictures
from edge_mpq.engines.inputs import Recipe, prepare
from edge_mpq.errors import DataError, SourceError


def batches(
    pictures: Pictures, recipe: Recipe, size: int, indices: Sequence[int] | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Inputs float32 [N, 3, H, W] and labels int64 [N], N <= ``size`` pictures at a time.

    indices: which pictures, in which order; all of them without it.  Pictures that have
    the recipe's size already go through a table of its 3 x 256 values, others through
    ``prepare``; both give the same bits.  DataError names a picture that cannot be read.
    """
    order = range(len(pictures)) if indices is None else indices
    table = _table(recipe)
    for start in range(0, len(order), size):
        chunk = order[start : start + size]
        frames = [pictures.frame(i) for i in chunk]
        if all(_is_ready(frame, recipe) for frame in frames):
            inputs = _looked_up(np.stack(frames), table)
        else:
            inputs = np.stack([_prepared(frame, recipe, i) for frame, i in zip(frames, chunk, strict=True)])
        yield inputs, np.array([pictures.label(i) for i in chunk], np.int64)


def sample(pictures: Pictures, count: int, seed: int) -> list[int]:
    """Indices of ``count`` pictures (or of all, when there are fewer), each class in its share of the whole.

    Classes alternate, so any stretch of the list is mixed, and a larger sample begins
    with the smaller one of the same seed.
    """
    labels = np.array([pictures.label(i) for i in range(len(pictures))], np.int64)
    rng = np.random.default_rng(seed)
    place = np.empty(len(labels))
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        # The r-th of n members stands at (r + 0.5) / n of the way, in every class alike.
        place[rng.permutation(members)] = (np.arange(len(members)) + 0.5) / len(members)
    ties = rng.permutation(len(labels))
    return np.lexsort((ties, place))[:count].tolist()


def _table(recipe: Recipe) -> np.ndarray:
    """What ``prepare`` makes of each pixel value: float32 [1, 256, 3]."""
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    return np.ascontiguousarray(prepare(ramp, recipe._replace(width=256, height=1), "rgb").transpose(1, 2, 0))


def _is_ready(frame: np.ndarray, recipe: Recipe) -> bool:
    is_pixels = isinstance(frame, np.ndarray) and frame.dtype == np.uint8
    return is_pixels and frame.shape == (recipe.height, recipe.width, 3)


def _looked_up(frames: np.ndarray, table: np.ndarray) -> np.ndarray:
    """uint8 [N, H, W, 3] through the table: float32 [N, 3, H, W]."""
    count, rows, columns, _ = frames.shape
    values = cv2.LUT(frames.reshape(count * rows, columns, 3), table)
    return np.ascontiguousarray(values.reshape(frames.shape).transpose(0, 3, 1, 2))


def _prepared(frame: np.ndarray, recipe: Recipe, index: int) -> np.ndarray:
    try:
        return prepare(frame, recipe, "rgb")
    except SourceError as error:
        raise DataError(f"picture {index}: {error.what}", error.mend) from error
