"""Fire pixel by pixel; a task of apps/wildfire/tasks.py.

Axis letters: N pictures, K classes, H rows, W columns.
"""

from typing import cast

import cv2
import numpy as np
import torch
from torch.nn import functional

from apps import thumbnail
from apps.data import Pictures
from apps.data.masks import Maps, Masked
from apps.wildfire import flame, opening
from edge_mpq.engines.inputs import Recipe
from edge_mpq.errors import DataError
from edge_mpq.training.loop import Loss

NAME = "segment"
CLASSES = flame.PIXEL_CLASSES
POSITIVE = 1
UNIT = "pixels"
METRIC = "mean_iou"
open_data = opening.open_segmentation
# A share of fire beyond which a mask can only be black where it burns.
MOST_FIRE = 0.5
# What an error is painted with, RGB: fire that was found, missed, and seen where there is none.
FOUND, MISSED, FALSE = (40, 200, 90), (220, 40, 40), (60, 110, 255)


def labelled(pictures: Pictures, recipe: Recipe) -> Pictures:
    """The pictures with their class maps as labels."""
    return Maps(cast(Masked, pictures), recipe)


def check(labels: torch.Tensor) -> None:
    """DataError when the maps [N, H, W] hold no fire, or nearly nothing else: then black and white are exchanged."""
    share = labels.float().mean().item()
    if share == 0:
        raise DataError("no mask holds a pixel of fire", "masks are not black where it burns")
    if share > MOST_FIRE:
        raise DataError(
            f"{share:.0%} of all pixels are fire by the masks", "black and white look exchanged; invert them"
        )


def loss(labels: torch.Tensor, balance: bool) -> Loss:
    """Cross entropy of pixels; with ``balance`` plus one minus the soft Dice overlap of fire.

    Fire covers a few pixels in a hundred, and a cross entropy alone is small where none is
    found; the overlap of what burns and what is said to counts both alike however rare they
    are (Milletari et al., V-Net, arXiv 1606.04797).  It is taken picture by picture.
    """

    def pixels(outputs: torch.Tensor, inputs: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        logit = outputs[:, 0] if outputs.shape[1] == 1 else outputs[:, POSITIVE] - outputs[:, 1 - POSITIVE]
        burns = wanted.to(torch.float32)
        entropy = functional.binary_cross_entropy_with_logits(logit.float(), burns)
        if not balance:
            return entropy
        likely = torch.sigmoid(logit.float())
        overlap = (2 * (likely * burns).sum((1, 2)) + 1) / (likely.sum((1, 2)) + burns.sum((1, 2)) + 1)
        return entropy + (1 - overlap).mean()

    return pixels


def fire(outputs: np.ndarray) -> np.ndarray:
    """[N, H, W]: the logit of fire above that of the rest."""
    return outputs[:, 0] if outputs.shape[1] == 1 else outputs[:, POSITIVE] - outputs[:, 1 - POSITIVE]


def wrongness(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """[N]: one minus the intersection over union of fire; 0 where none is and none was said."""
    seen, burns = fire(outputs) > 0, labels == POSITIVE
    union = (seen | burns).sum((1, 2))
    return np.where(union > 0, 1 - (seen & burns).sum((1, 2)) / np.maximum(union, 1), 0.0)


def shown(frame: np.ndarray, outputs: np.ndarray, label: np.ndarray) -> tuple[str, np.ndarray]:
    """The frame with what was found in green, missed in red and wrongly seen in blue."""
    seen, burns = fire(outputs[None])[0] > 0, label == POSITIVE
    picture = cv2.resize(frame, (4 * label.shape[1], 4 * label.shape[0]), interpolation=cv2.INTER_AREA)
    areas = (seen & burns, FOUND), (burns & ~seen, MISSED), (seen & ~burns, FALSE)
    picture = thumbnail.painted(picture, areas)
    union = int((seen | burns).sum())
    overlap = int((seen & burns).sum()) / union if union else 1.0
    missed, false = int((burns & ~seen).sum()), int((seen & ~burns).sum())
    return f"IoU {overlap:.0%}: {missed} pixels of fire missed (red), {false} false (blue)", picture
