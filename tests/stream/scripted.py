"""Stand-ins at the edges of the camera loop: a clock, a source and a capture that follow a script."""

import threading
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np

from apps.stream.cameras.capture import Frame
from apps.stream.cameras.frames import Source
from edge_mpq.engines import inputs, replay
from edge_mpq.records import bundle as bundle_record
from edge_mpq.records.bundle import Bundle

SIZE = 16
RECIPE = inputs.Recipe(SIZE, SIZE)
CLASSES = ["no fire", "fire"]


class Clock:
    """Each reading is ``step_s`` after the one before."""

    def __init__(self, step_s: float = 0.0) -> None:
        self.now, self.step_s = 0.0, step_s

    def __call__(self) -> float:
        self.now += self.step_s
        return self.now


class ListSource(Source):
    """Gives ``frames`` one after another, raising those that are exceptions.

    live: as of a camera.  vanished: whether its end is untimely.
    """

    def __init__(self, frames: list, live: bool = False, vanished: bool = False) -> None:
        super().__init__()
        self.name, self.live, self.closed = "scripted", live, False
        self._frames, self._vanishes = iter(frames), vanished

    def read(self):
        frame = next(self._frames, None)
        if frame is None:
            self.ended, self.vanished = "the script ends", self._vanishes
        if isinstance(frame, Exception):
            raise frame
        return frame

    def close(self) -> None:
        self.closed = True


class GatedSource(ListSource):
    """A ListSource whose reads wait until the test lets them through."""

    def __init__(self, frames: list, live: bool = True) -> None:
        super().__init__(frames, live)
        self._changed = threading.Condition()
        self._open, self._asked = 0, 0

    def open_gate(self, count: int) -> None:
        """Let ``count`` more reads through; do not wait."""
        with self._changed:
            self._open += count
            self._changed.notify_all()

    def let(self, count: int) -> None:
        """Let ``count`` reads through and wait until what they gave has been handed on.

        The reader asks for the next frame only once it has put the last one down.
        """
        self.open_gate(count)
        with self._changed:
            assert self._changed.wait_for(lambda: self._asked > self._open, 10)

    def read(self):
        with self._changed:
            self._asked += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._open >= self._asked or self.stopping.is_set())
        return None if self.stopping.is_set() else super().read()

    def stop(self) -> None:
        super().stop()
        with self._changed:
            self._changed.notify_all()


def capture_of(frames: list, clock: Clock | None = None) -> SimpleNamespace:
    """What loop.run needs of a Capture, without a thread: deterministic to the clock tick.

    A frame is read and prepared when it is taken, at one tick each.
    """
    clock = clock or Clock()
    script, prepares = iter(enumerate(frames)), []

    def take(timeout_s: float | None = None) -> list[Frame]:
        for position, pixels in script:
            time_s, batch = clock(), prepares[0](pixels)
            return [Frame(position, time_s, pixels, batch, clock())]
        return []

    capture = SimpleNamespace(
        begin=prepares.append,
        take=take,
        source=SimpleNamespace(name="scripted", lost="", losses=0),
        dropped=0,
        torn=0,
        ended="the script ends",
        vanished=False,
    )
    capture.parts = [capture]
    return capture


def picture(rows: int = 48, columns: int = 64, level: int = 90) -> np.ndarray:
    """A BGR frame of one level, with a white corner."""
    frame = np.full((rows, columns, 3), level, np.uint8)
    frame[: rows // 4, : columns // 4] = 255
    return frame


def bundle(task: str = "classify", classes: list[str] | None = None, recipe: inputs.Recipe = RECIPE) -> Bundle:
    """A bundle record without files."""
    names = CLASSES if classes is None else classes
    return Bundle("test", "cpu-x86-vnni", task, inputs.to_json(recipe), names, {})


def write_bundle(folder: Path, outputs: np.ndarray, task: str = "classify", recipe: inputs.Recipe = RECIPE) -> Path:
    """A sealed bundle in ``folder`` whose model answers with the recorded ``outputs``."""
    folder.mkdir(exist_ok=True)
    replay.record(folder / "model.npz", outputs, (None, 3, recipe.height, recipe.width))
    bundle_record.seal(folder, bundle(task, recipe=recipe)._replace(files={"model": "model.npz"}))
    return folder


def write_video(path: Path, frames: int = 12, size: tuple[int, int] = (96, 64), codec: str = "MJPG") -> Path:
    """A video whose frame n is of level 10 n (modulo 250)."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), 10, size)
    assert writer.isOpened()
    for number in range(frames):
        writer.write(np.full((size[1], size[0], 3), 10 * number % 250, np.uint8))
    writer.release()
    return path
