"""Calibration pictures as batches that can be read again and again."""

from collections.abc import Iterator

import torch

from apps.data import Pictures
from apps.data.batches import batches, sample
from edge_mpq.engines.inputs import Recipe

# Prepared pictures up to this size are kept; beyond it they are read anew each time.
KEEP_BYTES = 512 * 2**20


class Calibration:
    """``count`` pictures drawn evenly over the classes, as float32 batches [N, 3, H, W]."""

    def __init__(self, pictures: Pictures, recipe: Recipe, count: int, size: int = 64, seed: int = 0):
        self.pictures, self.recipe, self.size = pictures, recipe, size
        self.chosen = sample(pictures, min(count, len(pictures)), seed)
        small = len(self.chosen) * 3 * recipe.height * recipe.width * 4 <= KEEP_BYTES
        self.kept = list(self._read()) if small else None

    def _read(self) -> Iterator[torch.Tensor]:
        for values, _ in batches(self.pictures, self.recipe, self.size, self.chosen):
            yield torch.from_numpy(values)

    def __iter__(self) -> Iterator[torch.Tensor]:
        return iter(self.kept) if self.kept is not None else self._read()

    def __len__(self) -> int:
        return -(-len(self.chosen) // self.size)


def labelled(pictures: Pictures, recipe: Recipe, chosen: list[int], size: int = 64) -> list:
    """(inputs, labels) batches of chosen pictures, in memory."""
    return [
        (torch.from_numpy(values), torch.from_numpy(labels))
        for values, labels in batches(pictures, recipe, size, chosen)
    ]
