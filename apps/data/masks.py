"""Pictures with a mask each: what a segmenter learns from and is measured on.

Axis letters: N pictures, H rows, W columns.
"""

from typing import Any, Protocol, runtime_checkable

import numpy as np

from apps.data import Pictures
from edge_mpq.engines import inputs
from edge_mpq.engines.inputs import Recipe


@runtime_checkable
class Masked(Pictures, Protocol):
    """Pictures of two classes pixel by pixel: the mask is true where the second of ``classes`` is."""

    def mask(self, i: int) -> np.ndarray:
        """Mask ``i``: bool [H, W], of the size of picture ``i``.  DataError where it cannot be read."""


class Maps:
    """Masked pictures whose label is the class map int64 [H, W] of the picture as ``recipe`` fits it.

    With it whatever reads pictures and labels reads maps: ``batches`` stacks them to [N, H, W].
    """

    def __init__(self, pictures: Masked, recipe: Recipe) -> None:
        self.pictures, self.recipe, self.classes = pictures, recipe, pictures.classes

    def __len__(self) -> int:
        return len(self.pictures)

    def frame(self, i: int) -> np.ndarray:
        """Picture ``i``: uint8 RGB [H, W, 3]."""
        return self.pictures.frame(i)

    def label(self, i: int) -> Any:
        """The class map of picture ``i``."""
        return fitted(self.pictures.mask(i), self.recipe)


def truth_of(pictures: Pictures, recipe: Recipe, task: str) -> Pictures | None:
    """The pictures with what ``task`` is measured by as their labels; None where they do not know it.

    task: ``classify``, whose truth are the classes, or ``segment``, whose truth are maps.
    """
    if task == "classify":
        return pictures
    return Maps(pictures, recipe) if isinstance(pictures, Masked) else None


def fitted(mask: np.ndarray, recipe: Recipe) -> np.ndarray:
    """A mask bool [H, W] as a class map int64 [height, width], by the class that covers most of each pixel.

    What a recipe pads with is of class 0.
    """
    shades = np.repeat(mask.astype(np.uint8)[..., None] * 255, 3, axis=2)
    return (inputs.fit(shades, recipe)[..., 0] >= 128).astype(np.int64)
