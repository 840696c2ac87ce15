"""What the two wildfire tasks share: the contract that classification.py and segmentation.py fill.

Axis letters: N pictures, K classes, H rows, W columns.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from apps import thumbnail
from apps.data import DataSet, Pictures
from apps.wildfire import classification, metrics, segmentation
from edge_mpq.engines.inputs import Recipe
from edge_mpq.progress import Progress, silent
from edge_mpq.records.evaluation import Evaluation
from edge_mpq.training.loop import Loss

# Worst errors that a report shows.
WORST = 8
# As wide as a page shows a picture.
COLUMNS = 320


class Task(Protocol):
    """A module that says what is particular about a task.

    CLASSES: names; POSITIVE: the index of fire among them.  UNIT: what a confusion matrix
    counts.  METRIC: the figure that chooses the epoch.
    """

    NAME: str
    CLASSES: list[str]
    POSITIVE: int
    UNIT: str
    METRIC: str

    def open_data(
        self, spec: str, folder: Path, count: int, width: int, height: int, progress: Progress = silent
    ) -> DataSet:
        """The data set of ``--data``: see apps/wildfire/opening.py."""

    def labelled(self, pictures: Pictures, recipe: Recipe) -> Pictures:
        """The pictures with the truth as their labels."""

    def loss(self, labels: torch.Tensor, balance: bool) -> Loss:
        """The loss to learn by; labels: those that are learned from, by which ``balance`` weighs classes."""

    def check(self, labels: torch.Tensor) -> None:
        """Raise DataError when nothing can be learned from these labels."""

    def fire(self, outputs: np.ndarray) -> np.ndarray:
        """How much outputs [N, K, ...] speak for fire, as a logit [N, ...]."""

    def wrongness(self, outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """[N]: how wrong each picture was answered, 0 where it was right."""

    def shown(self, frame: np.ndarray, outputs: np.ndarray, label: np.ndarray) -> tuple[str, np.ndarray]:
        """One error as a caption and an RGB picture [H, W, 3] of any size; outputs: [K, ...] of that picture."""


TASKS: dict[str, Task] = {"classify": classification, "segment": segmentation}


def said(task: Task, outputs: np.ndarray) -> np.ndarray:
    """The class [N, ...] that outputs [N, K, ...] answer with; of one logit, the second where it is above 0."""
    return outputs.argmax(1) if outputs.shape[1] > 1 else (outputs[:, 0] > 0).astype(np.int64)


def counts_of(task: Task, outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The confusion matrix of outputs [N, K, ...] against classes [N, ...]."""
    return metrics.confusion(said(task, outputs), labels, len(task.CLASSES))


def judged(
    task: Task, outputs: np.ndarray, labels: np.ndarray, frame: Callable[[int], np.ndarray] | None = None
) -> Evaluation:
    """How outputs [N, K, ...] stand to the truth [N, ...]; frame: picture i, for the worst errors."""
    counts = counts_of(task, outputs, labels)
    curve = metrics.precision_recall(task.fire(outputs), labels == task.POSITIVE)
    figures = metrics.figures(counts, task.POSITIVE) | {"average_precision": curve.average_precision}
    worst = []
    if frame is not None:
        wrong = task.wrongness(outputs, labels)
        for i in np.argsort(-wrong, kind="stable")[:WORST]:
            if wrong[i] > 0:
                caption, picture = task.shown(frame(int(i)), outputs[i], labels[i])
                worst.append([caption, thumbnail.encoded(picture, min(1.0, COLUMNS / picture.shape[1]))])
    return Evaluation(
        list(task.CLASSES),
        task.CLASSES[task.POSITIVE],
        task.UNIT,
        counts.tolist(),
        figures,
        curve.thinned(),
        worst,
    )
