"""Pictures in folders: one subfolder a class, with or without a split above them.

``root/train/CLASS/...`` beside ``root/test/CLASS/...`` (or ``val``; where both exist the
pictures of ``test`` are measured on), or ``root/CLASS/...`` alone, of which every class
then gives a fifth of its pictures to the test side.  A split by chance puts neighbouring
frames of one video on both sides; give such data its own ``train`` and ``test``.
"""

import os

import cv2
import numpy as np

from apps.data import DataSet
from edge_mpq.errors import DataError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
TRAIN = ("train", "training")
TEST = ("test", "val", "valid", "validation")
TEST_SHARE = 0.2
LAYOUT = "put the pictures into one subfolder per class"


class FolderPictures:
    """Picture files with their labels; each is decoded when it is asked for."""

    def __init__(self, paths: list[str], labels: list[int], classes: list[str]) -> None:
        self.paths, self.labels, self.classes = paths, labels, classes

    def __len__(self) -> int:
        return len(self.paths)

    def frame(self, i: int) -> np.ndarray:
        """Picture ``i`` as uint8 RGB [H, W, 3], turned as its EXIF says; DataError names a file that is torn."""
        return read_picture(self.paths[i])

    def label(self, i: int) -> int:
        """The class of picture ``i``."""
        return self.labels[i]


def read_picture(path: str) -> np.ndarray:
    """A picture file of any kind OpenCV knows as uint8 RGB [H, W, 3]; DataError when it cannot be decoded."""
    try:
        # imdecode, because imread cannot open every path on Windows.
        with open(path, "rb") as stream:
            body = stream.read()
        picture = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR) if body else None
    except (OSError, cv2.error) as error:
        reason = str(error).strip().splitlines()[0]
        raise DataError(f"cannot read {path} ({reason})", "remove it or copy it again") from error
    # OpenCV before 5 fills what a torn JPEG lacks with grey, which would pass for a scene.
    if picture is None or _is_torn_jpeg(body):
        raise DataError(f"{path} is torn or no picture", "remove it or copy it again")
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


def _is_torn_jpeg(body: bytes) -> bool:
    """Whether a JPEG has no end marker behind its first scan (a preview in its header has its own)."""
    place = 2 if body.startswith(b"\xff\xd8") else len(body)
    while body[place : place + 1] == b"\xff" and body[place + 1 : place + 2] != b"\xda":
        place += 2 + int.from_bytes(body[place + 2 : place + 4], "big")
    return body[place : place + 2] == b"\xff\xda" and b"\xff\xd9" not in body[place:]


def open_folder(root: str, seed: int = 0) -> DataSet:
    """The data set in ``root``; ``seed`` decides the split where the folders do not.

    Raises DataError for an empty folder, a class without pictures, or a test class that
    the train folder does not have.
    """
    name = os.path.basename(os.path.abspath(root))
    split = {entry.lower(): os.path.join(root, entry) for entry in _subfolders(root)}
    train = next((split[word] for word in TRAIN if word in split), None)
    test = next((split[word] for word in TEST if word in split), None)
    if train is None or test is None:
        everything = _labelled(train or root)
        return DataSet(*_split(everything, seed), everything.classes, name)
    learned, measured = _labelled(train), _labelled(test)
    unknown = sorted(set(measured.classes) - set(learned.classes))
    if unknown:
        raise DataError(f"{test} has classes that {train} lacks: {', '.join(unknown)}", "use the same class folders")
    index = [learned.classes.index(name) for name in measured.classes]
    held_out = FolderPictures(measured.paths, [index[label] for label in measured.labels], learned.classes)
    return DataSet(learned, held_out, learned.classes, name)


def _subfolders(folder: str) -> list[str]:
    """Names of the visible folders in ``folder``, sorted."""
    names = [entry.name for entry in os.scandir(folder) if entry.is_dir()]
    return sorted(name for name in names if not name.startswith((".", "__")))


def _picture_files(folder: str) -> list[str]:
    """Paths of the pictures in ``folder`` and below, sorted so that every machine has the same order."""
    found = []
    for where, _, files in os.walk(folder):
        found += [os.path.join(where, name) for name in files if _is_picture(name)]
    return sorted(found)


def _is_picture(name: str) -> bool:
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def _labelled(folder: str) -> FolderPictures:
    """Every picture below ``folder``, labelled by its subfolder."""
    classes = _subfolders(folder)
    if not classes:
        loose = any(_is_picture(name) for name in os.listdir(folder))
        raise DataError(f"{folder} holds {'pictures but ' if loose else ''}no class folders", LAYOUT)
    files = [_picture_files(os.path.join(folder, name)) for name in classes]
    bare = [name for name, paths in zip(classes, files, strict=True) if not paths]
    if bare:
        raise DataError(f"no pictures in {folder} for {', '.join(bare)}",
                        f"add some ({' '.join(SUFFIXES)}) or remove the folder")  # fmt: skip
    labels = [label for label, paths in enumerate(files) for _ in paths]
    return FolderPictures([path for paths in files for path in paths], labels, classes)


def _split(pictures: FolderPictures, seed: int) -> tuple[FolderPictures, FolderPictures]:
    """Every class cut 80/20 by chance into train and test; a class of one picture stays in train."""
    labels = np.array(pictures.labels)
    held_out = np.zeros(len(labels), bool)
    for label in range(len(pictures.classes)):
        rng = np.random.default_rng((seed, label))  # so that one class's pictures do not move another's
        members = rng.permutation(np.flatnonzero(labels == label))
        if len(members) > 1:
            held_out[members[: max(1, round(TEST_SHARE * len(members)))]] = True
    if not held_out.any():
        raise DataError("every class has a single picture", "add pictures; a fifth of each class is held out")
    return _chosen(pictures, ~held_out), _chosen(pictures, held_out)


def _chosen(pictures: FolderPictures, mask: np.ndarray) -> FolderPictures:
    indices = np.flatnonzero(mask)
    paths, labels = [pictures.paths[i] for i in indices], [pictures.labels[i] for i in indices]
    return FolderPictures(paths, labels, pictures.classes)
