"""Replay: an engine that answers from a file of recorded outputs, again and again.

A stand-in with the face of the real backends, for everything that works above
engines: the camera loop, bundles, benchmarks.  It needs no inference library and no
model, and it answers the same everywhere.

The file is an ``.npz`` of ``outputs`` [K, ...] (K answers, each without the batch
axis, float32), ``input_shape`` [4] (-1 for a free extent) and ``ms`` [K] (how long
each answer took when it was recorded, or nothing).
"""

import io
import time
import zipfile

import numpy as np

from edge_mpq.engines import base
from edge_mpq.errors import EngineError
from edge_mpq.records import document
from edge_mpq.records import engine as engine_record

BACKEND, DEVICE = "replay", "any"


def record(engine_path, outputs, input_shape, ms=()):
    """Write K answers as an engine file and its card; the EngineCard.

    outputs: [K, ...], one answer for one picture each.  input_shape: of a batch, (N, C,
    H, W), None where free.  ms: times of the K answers.  Raises EngineError where there
    is no answer, or not one time for each.
    """
    started = time.time()
    outputs, ms = np.asarray(outputs, np.float32), np.asarray(ms, np.float64)
    if outputs.ndim < 2 or outputs.size == 0:
        raise EngineError("there is nothing to replay in outputs {}".format(list(outputs.shape)), "give [K, ...]")
    if ms.shape not in ((0,), (len(outputs),)):
        raise EngineError("{} times for {} answers".format(ms.size, len(outputs)), "give one time an answer, or none")
    shape = np.array([-1 if extent is None else extent for extent in input_shape], np.int64)
    packed = io.BytesIO()
    np.savez(packed, outputs=outputs, input_shape=shape, ms=ms)
    document.write_bytes(engine_path, packed.getvalue())
    card = engine_record.EngineCard(
        backend=BACKEND,
        target="simulation",
        device=DEVICE,
        versions={"numpy": np.__version__},
        onnx_sha256="",
        engine_sha256=base.bundle.digest(engine_path),
        engine_bytes=len(packed.getvalue()),
        build_s=time.time() - started,
        asked={},
        got={},
    )
    engine_record.save(base.card_path(engine_path), card)
    return card


def open(engine_path, threads=1):  # the name every backend gives it
    """The :class:`Replay` in ``engine_path``; ``threads`` is of no use to it.

    Raises EngineError where the card is missing or of other bytes, or the file holds
    no recorded answers.
    """
    card = base.verified_card(engine_path, BACKEND, DEVICE)
    try:
        with np.load(str(engine_path), allow_pickle=False) as arrays:
            return Replay(card, arrays["outputs"], arrays["input_shape"], arrays["ms"])
    except (KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
        what = "{} holds no recorded answers ({})".format(engine_path, error)
        raise EngineError(what, "write it with engines.replay.record") from error


class Replay(base.Engine):
    """Gives answer 0, 1 ... K-1, 0 ... whatever it is shown."""

    def __init__(self, card, outputs, input_shape, ms):
        self.card = card
        self.inputs = (base.TensorSpec("input", _free(input_shape), "float32"),)
        self.outputs = (base.TensorSpec("output", (None,) + outputs.shape[1:], "float32"),)
        self._answers, self._ms, self._next = outputs, ms, 0
        # A picture's answer is a view of the recording; nobody may write into it.
        self._answers.setflags(write=False)

    def infer(self, batch):
        """The next N answers as [float32 [N, ...]]."""
        self.check(batch)
        count, first = len(batch), self._next
        self._next = (first + count) % len(self._answers)
        if count == 1:
            return [self._answers[first : first + 1]]
        return [np.take(self._answers, range(first, first + count), axis=0, mode="wrap")]

    def profile(self, batch, runs=50):
        """The mean recorded time as the time of layer '', or [] where none was recorded."""
        return [base.LayerTime("", float(self._ms.mean()))] if self._ms.size else []


def _free(input_shape):
    return tuple(None if extent < 0 else int(extent) for extent in input_shape)
