"""Pictures in one .npz: ``x_train y_train x_test y_test`` and, if it has it, ``classes``.

Pictures are uint8 RGB [N, H, W, 3], labels integers [N], classes strings [K].  An array
is decompressed when it is first asked for, so measuring does not wait for the training
half; its header is checked at the door.
"""

import os
import zipfile

import numpy as np

from apps.data import DataSet
from edge_mpq.errors import DataError

ARRAYS = ("x_train", "y_train", "x_test", "y_test")
MEND = "save uint8 [N, H, W, 3] pictures and integer [N] labels with numpy.savez_compressed"


class NpzPictures:
    """One half of an .npz, ``x`` being the name of its pictures."""

    def __init__(self, path: str, x: str, labels: np.ndarray, classes: list[str]) -> None:
        self.classes = classes
        self._path, self._x, self._labels = path, x, labels
        self._pictures: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self._labels)

    def frame(self, i: int) -> np.ndarray:
        """Picture ``i`` as uint8 [H, W, 3]; the first call reads all of this half."""
        if self._pictures is None:
            self._pictures = _array(self._path, self._x)
        return self._pictures[i]

    def label(self, i: int) -> int:
        """The class of picture ``i``."""
        return int(self._labels[i])


def open_npz(path: str) -> DataSet:
    """The data set in ``path``; DataError tells every fault of a file that is torn or of another layout."""
    shapes = _headers(path)
    missing = [name for name in ARRAYS if name not in shapes]
    if missing:
        raise DataError(f"{path} has no {', '.join(missing)} but {', '.join(sorted(shapes)) or 'nothing'}", MEND)
    faults = [fault for half in ("train", "test") for fault in _layout_faults(shapes, half)]
    if faults:
        raise DataError(f"{path}: {'; '.join(faults)}", MEND)
    labels = {half: _array(path, "y_" + half).astype(np.int64) for half in ("train", "test")}
    classes = _classes(path) if "classes" in shapes else None
    count = len(classes) if classes is not None else 1 + max(int(y.max()) for y in labels.values())
    for half, y in labels.items():
        if y.min() < 0 or y.max() >= count:
            wrong = int(y.min() if y.min() < 0 else y.max())
            raise DataError(f"{path}: y_{half} holds label {wrong}", f"labels go from 0 to {max(count, 1) - 1}")
    names = classes if classes is not None else [str(label) for label in range(count)]
    name = os.path.splitext(os.path.basename(path))[0]
    train = NpzPictures(path, "x_train", labels["train"], names)
    return DataSet(train, NpzPictures(path, "x_test", labels["test"], names), names, name)


def _headers(path: str) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Array name -> (shape, type), read without decompressing the arrays."""
    try:
        found = {}
        with zipfile.ZipFile(path) as archive:
            for entry in archive.namelist():
                if not entry.endswith(".npy"):
                    continue
                with archive.open(entry) as stream:
                    short = np.lib.format.read_magic(stream) == (1, 0)
                    header = np.lib.format.read_array_header_1_0 if short else np.lib.format.read_array_header_2_0
                    shape, _, dtype = header(stream)
                    found[entry[:-4]] = (shape, dtype)
        return found
    except Exception as error:  # a torn archive can raise nearly anything
        raise DataError(f"{path} is torn or no .npz ({error})", "copy or save it again") from error


def _layout_faults(shapes: dict[str, tuple[tuple[int, ...], np.dtype]], half: str) -> list[str]:
    """What is wrong with the pictures and labels of one half."""
    (x_shape, x_type), (y_shape, y_type) = shapes["x_" + half], shapes["y_" + half]
    faults = []
    if x_type != np.uint8 or len(x_shape) != 4 or x_shape[3] != 3 or 0 in x_shape:
        faults.append(f"x_{half} is {x_type} {list(x_shape)}, not uint8 [N, H, W, 3]")
    if y_type.kind not in "iu" or len(y_shape) != 1:
        faults.append(f"y_{half} is {y_type} {list(y_shape)}, not integer [N]")
    elif x_shape[:1] != y_shape:
        faults.append(f"x_{half} and y_{half} have {x_shape[0] if x_shape else 0} and {y_shape[0]} entries")
    return faults


def _classes(path: str) -> list[str]:
    """The class names; DataError when they are no strings."""
    names = _array(path, "classes")
    if names.dtype.kind not in "SU" or names.ndim != 1:
        raise DataError(f"{path}: classes is {names.dtype} {list(names.shape)}, not strings [K]", MEND)
    return [name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name) for name in names.tolist()]


def _array(path: str, name: str) -> np.ndarray:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return arrays[name]
    except Exception as error:  # as above, and MemoryError for a header that lies
        raise DataError(f"{path}: {name} is torn or no plain array ({error})", "copy or save it again") from error
