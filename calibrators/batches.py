"""Batches for calibration: pictures of a folder or an array, prepared as the camera's frames will be.

Axis letters: N pictures of a batch, C channels, H rows, W columns.
"""

import hashlib
import os
import zipfile

import cv2
import numpy as np

from edge_mpq.engines import inputs
from edge_mpq.errors import CalibrationError, DataError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
# The first of these that an .npz has; x_train is what training data is kept as.
ARRAYS = ("frames", "x_train", "x")


class Batches(object):
    """Whole batches of prepared pictures, in one shuffled order: float32 [N, 3, height, width].

    frames: a sequence of uint8 RGB pictures [H, W, 3].  size: N.  limit: of pictures, all
    without it.  The order is shuffled because pictures that lie side by side are alike,
    and every batch should hold a bit of all; the same ``seed`` gives the same batches.
    What does not fill the last batch is left out: ``pictures`` counts what is used,
    ``dropped`` what is not.  Going through all of them sets ``data``, a fingerprint.
    """

    def __init__(self, frames, recipe, size, limit=None, seed=0):
        wanted = len(frames) if limit is None else min(limit, len(frames))
        if size < 1 or wanted < size:
            raise CalibrationError(
                "{} pictures do not fill one batch of {}".format(wanted, size),
                "give more pictures or a smaller batch; 500 pictures are usual",
            )
        self.size, self.pictures, self.dropped = size, wanted - wanted % size, wanted % size
        self.recipe, self.data = recipe, ""
        self._frames, self._order = frames, np.random.RandomState(seed).permutation(len(frames))[: self.pictures]

    def __len__(self):
        return self.pictures // self.size

    def __iter__(self):
        state = hashlib.sha256()
        for first in range(0, self.pictures, self.size):
            chosen = [self._frames[int(index)] for index in self._order[first : first + self.size]]
            batch = inputs.batch(chosen, self.recipe, "rgb")
            state.update(batch.tobytes())
            yield batch
        self.data = state.hexdigest()[:16]


class Folder(object):
    """The picture files below a folder, by path; each is read when it is asked for."""

    def __init__(self, root):
        found = (os.path.join(here, name) for here, _, names in os.walk(str(root)) for name in names)
        self.paths = sorted(path for path in found if path.lower().endswith(SUFFIXES))
        if not self.paths:
            raise DataError("there is no picture below {}".format(root), "give a folder with .jpg or .png files")

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        picture = cv2.imread(self.paths[index], cv2.IMREAD_COLOR)
        if picture is None:
            raise DataError("{} is torn or no picture".format(self.paths[index]), "delete it or copy it again")
        return picture[:, :, ::-1]


def frames_of(path):
    """The frames at ``path``: a folder of pictures, or an .npz with uint8 [K, H, W, 3] in RGB.

    Raises DataError where there is neither.
    """
    path = str(path)
    if os.path.isdir(path):
        return Folder(path)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            names = [name for name in ARRAYS if name in arrays.files]
            frames = arrays[names[0]] if names else None
    except (OSError, ValueError, KeyError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        what = "{} is torn or no .npz ({})".format(path, error)
        raise DataError(what, "give a folder of pictures, or an .npz") from error
    if frames is None or frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or not len(frames):
        what = "{} holds no pictures uint8 [K, H, W, 3] called {}".format(path, " or ".join(ARRAYS))
        raise DataError(what, "save them with numpy.savez_compressed(path, frames=...)")
    return frames
