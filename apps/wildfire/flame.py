"""Reader of the FLAME folders: aerial frames of a prescribed pile burn (Shamsoshoara et al. 2021).

``Training/Fire``, ``Training/No_Fire``, ``Test/Fire`` and ``Test/No_Fire`` hold frames for
classification; ``Segmentation/Images`` and ``Segmentation/Masks`` (or ``Images`` and ``Masks``
at the top, as the data set's own archives unpack) hold frames and masks of equal names.

Axis letters: H rows, W columns.
"""

import os
import re
from collections import defaultdict
from collections.abc import Sequence

import cv2
import numpy as np

from apps.data import DataSet
from apps.data.folder import SUFFIXES, open_folder, read_picture
from edge_mpq.errors import DataError

CLASSES = ["Fire", "No_Fire"]
# Of a pixel: the second is where a mask is not black.
PIXEL_CLASSES = ["No_Fire", "Fire"]
_SPLITS = ("Training", "Test")
_UNPACK = "unpack FLAME's archives side by side into one folder"


def open_classification(path: str | os.PathLike[str]) -> DataSet:
    """The frames of ``path`` for classification: class 0 is Fire, class 1 No_Fire.

    FLAME's own split is kept, as Training and Test are different flights.  Raises DataError
    for a folder that is missing, empty or not of these two classes.
    """
    root = os.fspath(path)
    wanted = [os.path.join(split, name) for split in _SPLITS for name in CLASSES]
    missing = [name for name in wanted if not os.path.isdir(os.path.join(root, name))]
    if missing:
        raise DataError(f"{root} has no folder {', '.join(missing)}", _UNPACK)
    data = open_folder(root)
    if data.classes != CLASSES:
        raise DataError(f"{root} has the classes {', '.join(data.classes)}", "FLAME has Fire and No_Fire alone")
    return data


class SegmentationPairs:
    """Frames and the masks of their flames, each decoded when it is asked for.

    stems: the names of the pairs without folder and suffix.
    """

    classes = PIXEL_CLASSES

    def __init__(self, images: Sequence[str], masks: Sequence[str]) -> None:
        self.images, self.masks = list(images), list(masks)
        self.stems = [_stem(path) for path in self.images]
        self._sizes: dict[int, tuple[int, ...]] = {}

    def __len__(self) -> int:
        return len(self.images)

    def frame(self, i: int) -> np.ndarray:
        """Picture ``i``: uint8 RGB [H, W, 3].  DataError where it is torn or differs in size from its mask."""
        picture = read_picture(self.images[i])
        self._check(i, picture.shape[:2])
        return picture

    def label(self, i: int) -> int:
        """Of a whole picture: every one of them burns."""
        return 1

    def mask(self, i: int) -> np.ndarray:
        """Mask ``i``: bool [H, W], true where it burns.  DataError as for :meth:`frame`."""
        mask = _read_mask(self.masks[i])
        self._check(i, mask.shape)
        return mask

    def subset(self, indices: Sequence[int]) -> "SegmentationPairs":
        """The pairs of ``indices``, as :func:`split_by_sequence` gives them."""
        return SegmentationPairs([self.images[i] for i in indices], [self.masks[i] for i in indices])

    def _check(self, i: int, size: tuple[int, ...]) -> None:
        # Whichever of frame and mask is read second is held against the first: no file is read twice.
        seen = self._sizes.setdefault(i, size)
        if seen != size:
            raise DataError(
                f"{self.images[i]} and its mask {self.masks[i]} differ in size "
                f"({seen[1]}x{seen[0]} and {size[1]}x{size[0]} pixels)",
                "resize both alike or remove the pair",
            )


def open_segmentation(path: str | os.PathLike[str]) -> SegmentationPairs:
    """The pairs of ``path``, in the order of their frames.

    Raises DataError for folders that are missing or empty, and for an image without a mask.
    """
    root = os.fspath(path)
    for parent in (os.path.join(root, "Segmentation"), root):
        folders = os.path.join(parent, "Images"), os.path.join(parent, "Masks")
        if all(os.path.isdir(folder) for folder in folders):
            break
    else:
        raise DataError(f"{root} has neither Segmentation/Images and Segmentation/Masks nor Images and Masks", _UNPACK)
    images, masks = _by_stem(folders[0], SUFFIXES), _by_stem(folders[1], (".png",))
    for folder, files in zip(folders, (images, masks), strict=True):
        if not files:
            raise DataError(f"there are no pictures in {folder}", _UNPACK)
    alone = [images[stem] for stem in images if stem not in masks]
    if alone:
        more = f" and {len(alone) - 1} more" if len(alone) > 1 else ""
        raise DataError(f"no mask for {alone[0]}{more} in {folders[1]}", "add a png of its name or remove the image")
    stems = sorted(images, key=_place)
    return SegmentationPairs([images[stem] for stem in stems], [masks[stem] for stem in stems])


def open_masked(path: str | os.PathLike[str], share: float = 0.2) -> DataSet:
    """The pairs of ``path`` as a data set: of every sequence the last ``share`` is measured on.

    FLAME has no split of its own for segmentation.  Raises DataError as :func:`open_segmentation` does.
    """
    pairs = open_segmentation(path)
    learned, measured = split_by_sequence(pairs.stems, share)
    name = os.path.basename(os.path.abspath(os.fspath(path)))
    return DataSet(pairs.subset(learned), pairs.subset(measured), list(PIXEL_CLASSES), name)


def split_by_sequence(stems: Sequence[str], share: float = 0.2) -> tuple[list[int], list[int]]:
    """Indices of ``stems`` to learn from and to measure on, cut once in every sequence.

    Frames of a video resemble their neighbours, so a split by chance measures memory.  A
    sequence is all stems that differ only in their last number; the last ``share`` of its
    frames is held out.  Raises DataError where nothing would be left on a side.
    """
    if not 0 < share < 1:
        raise DataError(f"a share of {share} was asked for the test side", "give a number between 0 and 1")
    sequences: dict[str, list[int]] = defaultdict(list)
    for i in sorted(range(len(stems)), key=lambda i: _place(stems[i])):
        sequences[_place(stems[i])[0]].append(i)
    learned: list[int] = []
    measured: list[int] = []
    for members in sequences.values():
        held_out = min(len(members) - 1, max(1, round(share * len(members))))
        cut = len(members) - held_out
        learned += members[:cut]
        measured += members[cut:]
    if not measured:
        raise DataError(f"{len(stems)} frames in {len(sequences)} sequences cannot be split", "add frames")
    return learned, measured


def _place(stem: str) -> tuple[str, int]:
    """A stem's sequence and its number in it."""
    numbers = list(re.finditer(r"[0-9]+", stem))
    if not numbers:
        return stem, 0
    last = numbers[-1]
    return stem[: last.start()] + "#" + stem[last.end() :], int(last.group())


def _stem(path: str) -> str:
    return os.path.splitext(os.path.basename(path))[0]


def _by_stem(folder: str, suffixes: tuple[str, ...]) -> dict[str, str]:
    """Stem -> path of every picture in ``folder``; DataError where two share a stem."""
    found: dict[str, str] = {}
    for name in sorted(os.listdir(folder)):
        if name.lower().endswith(suffixes) and not name.startswith("."):
            stem = _stem(name)
            if stem in found:
                raise DataError(f"{found[stem]} and {name} have one name", "remove one of them")
            found[stem] = os.path.join(folder, name)
    return found


def _read_mask(path: str) -> np.ndarray:
    """A mask file as bool [H, W]: true where any colour is not black; DataError when it cannot be decoded."""
    try:
        body = np.fromfile(path, np.uint8)
        mask = cv2.imdecode(body, cv2.IMREAD_UNCHANGED) if body.size else None
    except (OSError, cv2.error) as error:
        raise DataError(f"cannot read {path} ({str(error).strip()})", "remove the pair or copy it again") from error
    if mask is None:
        raise DataError(f"{path} is torn or no picture", "remove the pair or copy it again")
    # A fourth channel is opacity, which is full where nothing burns.
    return mask != 0 if mask.ndim == 2 else (mask[:, :, :3] != 0).any(2)
