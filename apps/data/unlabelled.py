"""A folder of pictures that nobody labelled: enough to see how often two engines say the same."""

import os

import numpy as np

from apps.data import DataSet
from apps.data.folder import SUFFIXES, read_picture


class Unlabelled:
    """Picture files; each is decoded when it is asked for.  There are no classes, and every label is 0."""

    def __init__(self, paths: list[str]) -> None:
        self.paths = paths
        self.classes: list[str] = []

    def __len__(self) -> int:
        return len(self.paths)

    def frame(self, i: int) -> np.ndarray:
        """Picture ``i`` as uint8 RGB [H, W, 3]; DataError names a file that is torn."""
        return read_picture(self.paths[i])

    def label(self, i: int) -> int:
        """0: no class."""
        return 0


def open_unlabelled(root: str) -> DataSet | None:
    """The pictures that lie loose in the folder ``root``; None where there are none, or folders beside them."""
    if not os.path.isdir(root):
        return None
    entries = sorted(os.scandir(root), key=lambda entry: entry.name)
    seen = [entry for entry in entries if not entry.name.startswith((".", "__"))]
    paths = [entry.path for entry in seen if entry.name.lower().endswith(SUFFIXES)]
    if not paths or any(entry.is_dir() for entry in seen):
        return None
    pictures = Unlabelled(paths)
    return DataSet(pictures, pictures, [], os.path.basename(os.path.abspath(root)))
