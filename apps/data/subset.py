"""Some pictures of many."""

from collections.abc import Sequence

import numpy as np

from apps.data import Pictures


class Subset:
    """The pictures of ``indices``, in that order."""

    def __init__(self, pictures: Pictures, indices: Sequence[int]) -> None:
        self.pictures, self.indices, self.classes = pictures, indices, pictures.classes

    def __len__(self) -> int:
        return len(self.indices)

    def frame(self, i: int) -> np.ndarray:
        """Picture ``i`` of these: uint8 RGB [H, W, 3]."""
        return self.pictures.frame(self.indices[i])

    def label(self, i: int) -> int:
        """The class of picture ``i`` of these."""
        return self.pictures.label(self.indices[i])
