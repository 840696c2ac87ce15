"""Fire or no fire in a picture; a task of apps/wildfire/tasks.py.

Axis letters: N pictures, K classes.
"""

import numpy as np
import torch
from torch.nn import functional

from apps.data import Pictures
from apps.wildfire import flame, opening
from edge_mpq.engines.inputs import Recipe
from edge_mpq.errors import DataError
from edge_mpq.training.loop import Loss

NAME = "classify"
CLASSES = flame.CLASSES
POSITIVE = 0
UNIT = "pictures"
METRIC = "accuracy"
open_data = opening.open_classification


def labelled(pictures: Pictures, recipe: Recipe) -> Pictures:
    """The pictures as they are: their labels are the classes."""
    return pictures


def check(labels: torch.Tensor) -> None:
    """DataError unless both classes are there."""
    missing = [name for k, name in enumerate(CLASSES) if not (labels == k).any()]
    if missing:
        raise DataError(f"no picture of {', '.join(missing)} is left to learn from", "add pictures or hold out fewer")


def loss(labels: torch.Tensor, balance: bool) -> Loss:
    """Cross entropy, with ``balance`` of classes that weigh as much as each other however rare one is.

    labels: [N], all that is learned from.  The weights have a mean of 1 over them, so the loss
    of a batch stays the mean over its pictures, also where processes share it.
    """
    counts = torch.bincount(labels, minlength=len(CLASSES)).float()
    weights = counts.sum() / (len(CLASSES) * counts.clamp(min=1)) if balance else torch.ones(len(CLASSES))

    def weighted(outputs: torch.Tensor, inputs: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        if outputs.shape[1] == 1:  # of one logit, everywhere here, the second class is where it is above zero
            each = functional.binary_cross_entropy_with_logits(
                outputs[:, 0], wanted.to(outputs.dtype), reduction="none"
            )
        else:
            each = functional.cross_entropy(outputs, wanted, reduction="none")
        return (each * weights.to(each.device)[wanted]).mean()

    return weighted


def fire(outputs: np.ndarray) -> np.ndarray:
    """[N]: the logit of Fire above that of No_Fire."""
    return -outputs[:, 0] if outputs.shape[1] == 1 else outputs[:, POSITIVE] - outputs[:, 1 - POSITIVE]


def wrongness(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """[N]: by how many nats the wrong class stands above the true one."""
    towards = fire(outputs)
    return np.maximum(np.where(labels == POSITIVE, -towards, towards), 0)


def shown(frame: np.ndarray, outputs: np.ndarray, label: np.ndarray) -> tuple[str, np.ndarray]:
    """The frame itself, and what it was taken for."""
    logit = float(fire(outputs[None])[0])
    sure = 1 / (1 + np.exp(-abs(np.clip(logit, -50, 50))))
    taken = CLASSES[POSITIVE if logit > 0 else 1 - POSITIVE]
    return f"{CLASSES[int(label)]} taken for {taken}, {sure:.0%}", frame
