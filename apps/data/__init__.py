"""Labelled pictures: the contract between data readers and the stages that read them.

Axis letters: N pictures, H rows, W columns.
"""

from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np


@runtime_checkable
class Pictures(Protocol):
    """Labelled pictures, read one at a time; index 0 to len - 1."""

    classes: list[str]

    def __len__(self) -> int:
        """How many pictures there are."""

    def frame(self, i: int) -> np.ndarray:
        """Picture ``i``: uint8 RGB [H, W, 3], of any size.  DataError where it cannot be read."""

    def label(self, i: int) -> int:
        """The class of picture ``i``, an index into ``classes``."""


class DataSet(NamedTuple):
    """Pictures to calibrate and train on, and others to measure on; ``classes`` are those of both."""

    train: Pictures
    test: Pictures
    classes: list[str]
    name: str
