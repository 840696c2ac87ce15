"""What a training run tells of itself: one Epoch an epoch, summed up step by step in a Tally."""

import dataclasses
from typing import NamedTuple

import torch


class Epoch(NamedTuple):
    """What one epoch did.

    loss: mean over pictures.  right: share of pictures (of pixels, for class maps) whose best
    class is the label.  overflows: steps that fp16 could not hold and that were skipped.
    loss_scale: what the loss was multiplied by at the end, 1 where nothing is scaled.
    seconds: wall time, with what was saved in between.
    """

    loss: float
    right: float
    overflows: int
    loss_scale: float
    seconds: float


@dataclasses.dataclass
class Tally:
    """The sums of an epoch so far."""

    loss: float = 0.0
    right: float = 0.0
    labels: float = 0.0
    pictures: float = 0.0
    overflows: int = 0
    seconds: float = 0.0

    def add(self, loss: float, outputs: torch.Tensor, labels: torch.Tensor) -> None:
        """Count one batch: its mean ``loss``, ``outputs`` [N, K, ...] and classes [N, ...]."""
        best = (outputs > 0).long() if outputs.shape[1] == 1 else outputs.argmax(1)
        self.loss += loss * len(labels)
        self.right += int((best.reshape(labels.shape) == labels).sum())
        self.labels += labels.numel()
        self.pictures += len(labels)

    def epoch(self, loss_scale: float) -> Epoch:
        """The epoch that ends here."""
        return Epoch(
            self.loss / self.pictures, self.right / self.labels, self.overflows, float(loss_scale), self.seconds
        )
