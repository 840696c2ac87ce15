"""Drawn wildfire data: the FLAME layout on disk, a fly-over video, or pictures in memory.

FLAME itself may not be shipped; what is written here has its folders and is read by the
same reader.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from apps.data import DataSet
from apps.wildfire import flame
from apps.wildfire.flyover import fly_over
from apps.wildfire.scenes import Scene, check, scene, smallest_fire
from edge_mpq.errors import DataError, RecordError
from edge_mpq.progress import Progress, silent
from edge_mpq.records import document

MARKER, KIND, VERSION = "synthetic.json", "synthetic-flame", 1
VIDEO_KIND = "fire-truth"
TRAIN, TEST, SEGMENTATION = 1600, 400, 200
WIDTH = HEIGHT = 224
_QUALITY = 92
_CODECS = {".mp4": "mp4v", ".avi": "MJPG"}
_PARAMETERS = ("train", "test", "segmentation", "width", "height", "seed")
_PARTS = ("Training", "Test", "Segmentation")

Folder = str | os.PathLike[str]


def draw(seed: int, part: str, i: int, width: int, height: int, burning: bool) -> Scene:
    """Scene ``i`` of ``part`` (Training, Test or Segmentation) of the data set of ``seed``."""
    return scene((seed << 34) + (_PARTS.index(part) << 32) + i, width, height, burning)


def write_flame(folder: Folder, train: int = TRAIN, test: int = TEST, segmentation: int = SEGMENTATION,
                width: int = WIDTH, height: int = HEIGHT, seed: int = 0,
                progress: Progress = silent) -> Path:  # fmt: skip
    """Write a data set into ``folder`` in FLAME's layout; the folder.

    train, test: pictures in each half, every other one on fire.  segmentation: burning pictures
    with masks, 0 for none.  A folder that already holds this very data set is left as it is,
    one that holds another drawn data set is replaced, and any other is refused with DataError.
    The folder appears whole or not at all.
    """
    target = Path(folder)
    wanted = dict(zip(_PARAMETERS, (train, test, segmentation, width, height, seed), strict=True))
    check(seed, width, height)
    if min(train, test) < 2 or segmentation < 0:
        raise DataError(f"{train} training, {test} test and {segmentation} segmentation pictures were asked",
                        "each half needs 2 pictures or more, one of each class")  # fmt: skip
    if _holds(target) == wanted:
        return target
    try:
        target.absolute().parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=".half-", dir=target.absolute().parent))
    except OSError as error:
        raise DataError(f"cannot write to {target} ({error})", "choose a folder that can be written") from error
    try:
        for part, i in progress(_every(train, test, segmentation), "draw pictures", train + test + segmentation):
            _write(building, part, i, draw(seed, part, i, width, height, _burns(part, i)))
        document.save(building / MARKER, KIND, VERSION, wanted)
        building.chmod(0o755)
        if target.exists():
            shutil.rmtree(target)
        building.rename(target)
    except OSError as error:
        raise DataError(f"cannot write to {target} ({error})", "make room or choose another folder") from error
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return target


def write_video(path: Folder, frames: int = 250, width: int = 640, height: int = 360, seed: int = 5, fps: float = 25.0,
                progress: Progress = silent) -> Path:  # fmt: skip
    """Write a fly-over as ``path`` (.mp4 or .avi) and its truth beside it, as a JSON record; the record's path.

    The record has ``fps`` and ``frames``: of each its number of fire ``pixels`` and whether they
    are enough to call it ``fire``.  Raises DataError for a suffix, size or rate that cannot be written.
    """
    target = Path(path)
    if target.suffix.lower() not in _CODECS or frames < 1 or not fps > 0 or width % 2 or height % 2:
        raise DataError(f"a video {target.name} of {frames} frames, {width}x{height} pixels, {fps} a second was asked",
                        f"videos end in {' or '.join(_CODECS)} and have even sides and 1 frame or more")  # fmt: skip
    check(seed, width, height)
    half = target.with_name(f".half-{os.getpid()}-{target.name}")
    truth = []
    try:
        target.absolute().parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"cannot write {target} ({error})", "choose a folder that can be written") from error
    try:
        codec = cv2.VideoWriter.fourcc(*_CODECS[target.suffix.lower()])
        writer = cv2.VideoWriter(str(half), codec, fps, (width, height))
        try:
            if not writer.isOpened():
                raise DataError(f"cannot write {target}", "choose a folder that can be written, or the suffix .avi")
            for shot in progress(fly_over(frames, width, height, seed, fps), "draw the fly-over", frames):
                writer.write(shot.picture[..., ::-1])
                pixels = int(np.count_nonzero(shot.mask))
                truth.append({"fire": pixels >= smallest_fire(width, height), "pixels": pixels})
        finally:
            writer.release()
        half.replace(target)
        record = target.with_suffix(".json")
        document.save(record, VIDEO_KIND, VERSION, {"fps": fps, "frames": truth})
    except OSError as error:
        raise DataError(f"cannot write {target} ({error})", "make room or choose another folder") from error
    finally:
        half.unlink(missing_ok=True)
    return record


class ScenePictures:
    """Scenes of one part as labelled pictures, every other one on fire; each is drawn once, when first asked for."""

    classes = flame.CLASSES

    def __init__(self, seed: int, part: str, count: int, width: int, height: int) -> None:
        check(seed, width, height)
        self._drawn: list[np.ndarray | None] = [None] * count
        self._what = seed, part, width, height

    def __len__(self) -> int:
        return len(self._drawn)

    def frame(self, i: int) -> np.ndarray:
        """Picture ``i``: uint8 RGB [H, W, 3]."""
        picture = self._drawn[i]
        if picture is None:
            seed, part, width, height = self._what
            picture = draw(seed, part, i, width, height, _burns(part, i)).picture
            self._drawn[i] = picture
        return picture

    def label(self, i: int) -> int:
        """0 for Fire, 1 for No_Fire."""
        return i % 2


def open_classification(train: int = TRAIN, test: int = TEST, width: int = WIDTH, height: int = HEIGHT, seed: int = 0,
                        folder: Folder | None = None, progress: Progress = silent) -> DataSet:  # fmt: skip
    """Drawn pictures for classification, in memory or, with ``folder``, kept there in FLAME's layout.

    Raises DataError as :func:`write_flame` does.
    """
    if folder is not None:
        written = write_flame(folder, train, test, 0, width, height, seed, progress)
        return flame.open_classification(written)
    learned, measured = (ScenePictures(seed, part, count, width, height)
                         for part, count in (("Training", train), ("Test", test)))  # fmt: skip
    return DataSet(learned, measured, list(flame.CLASSES), f"synthetic-{seed}")


def _every(train: int, test: int, segmentation: int) -> Iterator[tuple[str, int]]:
    for part, count in zip(_PARTS, (train, test, segmentation), strict=True):
        yield from ((part, i) for i in range(count))


def _burns(part: str, i: int) -> bool:
    return part == "Segmentation" or i % 2 == 0


def _write(root: Path, part: str, i: int, drawn: Scene) -> None:
    stem = f"frame_{i:05d}"
    if part == "Segmentation":
        document.write_bytes(root / part / "Masks" / f"{stem}.png", _encoded(".png", drawn.mask.astype(np.uint8) * 255))
    where = "Images" if part == "Segmentation" else flame.CLASSES[0 if _burns(part, i) else 1]
    document.write_bytes(root / part / where / f"{stem}.jpg", _encoded(".jpg", drawn.picture[..., ::-1]))


def _encoded(suffix: str, picture: np.ndarray) -> bytes:
    options = [cv2.IMWRITE_JPEG_QUALITY, _QUALITY] if suffix == ".jpg" else []
    return cv2.imencode(suffix, picture, options)[1].tobytes()


def _holds(target: Path) -> dict[str, int] | None:
    """What drawn data set is in ``target``, complete; None where it may be written anew.  DataError for other data."""
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return None
    try:
        fields = document.load(target / MARKER, KIND, VERSION)
        found = {name: fields.take(name, int, 0) for name in _PARAMETERS}
        fields.done()
    except RecordError as error:
        raise DataError(f"{target} holds data that was not drawn here", "choose a new or empty folder") from error
    pictures = sum(1 for file in target.rglob("*.jpg"))
    drawn = found["train"] + found["test"] + found["segmentation"]
    if pictures > drawn:
        raise DataError(f"{target} holds {pictures - drawn} pictures that were not drawn here",
                        "move them, or choose another folder")  # fmt: skip
    return found if pictures == drawn else None
