"""``--data`` of the wildfire tasks: pictures to learn from, to choose the epoch by, and to measure on."""

import os
from pathlib import Path
from typing import NamedTuple

from apps.data import DataSet, Pictures
from apps.data.folder import FolderPictures, open_folder
from apps.wildfire import flame, synthetic
from edge_mpq.progress import Progress, silent

SYNTHETIC = "synthetic"


class Parts(NamedTuple):
    """A data set, and which pictures of its ``train`` are learned from and which choose the epoch."""

    data: DataSet
    learned: list[int]
    held: list[int]


def open_classification(
    spec: str, folder: Path, count: int, width: int, height: int, progress: Progress = silent
) -> DataSet:
    """Fire and No_Fire: drawn pictures, a FLAME folder with its own split, or a folder of the two classes.

    Of the last the later fifth of every sequence is measured on.  folder: where ``count`` drawn
    pictures to learn from, of that size, are kept.  Raises DataError for other folders.
    """
    if spec == SYNTHETIC:
        tested = max(2, count // 4)
        drawn = synthetic.open_classification(count, tested, width, height, folder=folder, progress=progress)
        return drawn._replace(name=SYNTHETIC)
    if all(os.path.isdir(os.path.join(spec, name)) for name in flame.CLASSES):
        return _halves(open_folder(spec))
    return flame.open_classification(spec)


def open_segmentation(
    spec: str, folder: Path, count: int, width: int, height: int, progress: Progress = silent
) -> DataSet:
    """Frames with masks: drawn ones, or those of a FLAME folder; otherwise as :func:`open_classification`."""
    if spec == SYNTHETIC:
        synthetic.write_flame(folder, 2, 2, count + max(1, count // 4), width, height, progress=progress)
        return flame.open_masked(folder)._replace(name=SYNTHETIC)
    return flame.open_masked(spec)


def parts_of(data: DataSet, share: float) -> Parts:
    """Hold out the last ``share`` of every sequence of the training pictures, class by class."""
    return Parts(data, *flame.split_by_sequence(_names(data.train), share))


def _names(pictures: Pictures) -> list[str]:
    """A name for every picture, in which those of one sequence differ in their last number alone."""
    if isinstance(pictures, flame.SegmentationPairs):
        return pictures.stems
    if isinstance(pictures, FolderPictures):
        return [os.path.splitext(path)[0] for path in pictures.paths]
    return [f"{pictures.label(i)}-{i}" for i in range(len(pictures))]


def _halves(mixed: DataSet) -> DataSet:
    """A data set that was split by chance, split anew by sequence."""
    labelled = [
        (path, half.label(i))
        for half in (mixed.train, mixed.test)
        if isinstance(half, FolderPictures)
        for i, path in enumerate(half.paths)
    ]
    labelled.sort()
    whole = FolderPictures([path for path, _ in labelled], [label for _, label in labelled], mixed.classes)
    learned, measured = (
        FolderPictures([whole.paths[i] for i in half], [whole.labels[i] for i in half], mixed.classes)
        for half in flame.split_by_sequence(_names(whole))
    )
    return mixed._replace(train=learned, test=measured)
