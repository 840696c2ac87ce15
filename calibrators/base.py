"""The guard between TensorRT and a calibrator in Python.

An exception that leaves ``get_batch`` kills the process on TensorRT 8.0 and 8.2, and on
later ones ends calibration without a word.  So every callback catches what happens,
remembers it, tells TensorRT that there is no more data, and :meth:`Calibration.finish`
raises it after the build.  It also makes sure that data was used and a cache was written:
TensorRT builds without either, and the engine is then of no use.
"""

from typing import Any

import numpy as np

from calibrators import cache as caches
from edge_mpq.engines._tensorrt_api import Held, version
from edge_mpq.errors import CalibrationError, EngineError


class Calibration(object):
    """One calibration of one build.

    kind: TensorRT's class, ``IInt8EntropyCalibrator2``.  algorithm: its name in a cache.
    batches: iterable of float32 [N, C, H, W], or of {input name: array}, with ``size`` (N)
    and every batch whole; None to use ``cache`` alone.  cache: a calibrators.cache.Cache to
    offer to TensorRT first.  After the build ``written`` is the cache TensorRT made, as
    bytes, or None where it took the one it was given; ``consumed`` counts pictures it saw.
    """

    def __init__(self, kind, algorithm, batches=None, cache=None):
        if batches is None and cache is None:
            raise CalibrationError("there is neither a picture nor a cache to calibrate with", "give one of them")
        self.kind, self.algorithm = kind, algorithm
        self.batches, self.cache, self.written = batches, cache, None
        self.asked = self.consumed = 0
        self._held, self._buffers, self._offered, self._stream = Held(), {}, None, 0
        self._calibrator: Any = None
        self._device: Any = None
        self._order: Any = None

    @property
    def batch(self):
        """Pictures in a batch; None where a cache is all there is, which fits any."""
        return None if self.batches is None else self.batches.size

    def attach(self, trt, network, config, device):
        """Give ``config`` a calibrator of this kind; ``device`` (engines.cuda) is where batches go."""
        if not hasattr(trt, self.kind):
            what = "TensorRT {} has no {}".format(trt.__version__, self.kind)
            raise EngineError(what, "export the model with Q/DQ; it needs no calibrator")
        if self.cache is not None:
            self._offered = caches.text(caches.retarget(self.cache, version(trt), self.algorithm)).encode("utf-8")
        self._device = device
        self._order = iter(self.batches if self.batches is not None else ())
        self._calibrator = _guarded(trt, self)
        config.int8_calibrator = self._calibrator

    def get_batch(self, names):
        """Device addresses of the next batch in the order of ``names``; None when there is no more."""
        self.asked += 1
        batch = next(self._order, None)
        if batch is None:
            return None
        arrays = batch if isinstance(batch, dict) else dict.fromkeys(names[:1], batch)
        missing = [name for name in names if name not in arrays]
        if missing:
            what = "a calibration batch has no {}, which TensorRT asks for".format(", ".join(missing))
            raise CalibrationError(what, "give {input name: array} for every input")
        addresses = [self._upload(name, arrays[name]) for name in names]
        self._device.wait(self._stream)
        self.consumed += self.batch
        return addresses

    def _upload(self, name, array):
        array = np.ascontiguousarray(array, np.float32)
        if array.shape[:1] != (self.batch,):
            what = "a calibration batch has {} pictures, not {}".format(array.shape[0] if array.ndim else 0, self.batch)
            raise CalibrationError(what, "give whole batches; drop what is left over")
        if not np.isfinite(array).all():
            raise CalibrationError("a calibration batch holds NaN or infinity", "check the pictures and the recipe")
        if name not in self._buffers:
            self._stream = self._stream or self._device.stream()
            self._buffers[name] = (
                self._device.host_memory(array.nbytes), self._device.device_memory(array.nbytes), array.shape
            )  # fmt: skip
        host, address, shape = self._buffers[name]
        if array.shape != shape:
            what = "calibration batches differ in shape: {} after {}".format(list(array.shape), list(shape))
            raise CalibrationError(what, "prepare all of them with one recipe")
        host.array[: array.nbytes] = array.reshape(-1).view(np.uint8)
        self._device.to_device(address, host, array.nbytes, self._stream)
        return address

    def finish(self, built):
        """After the build: free what was held, raise what a callback raised, and check that calibration happened.

        built: whether TensorRT built an engine; where not, its own error says why.
        """
        try:
            self._free()
        finally:
            self._held.release()
        if not built:
            return
        if self._offered is not None and not self.asked:
            return  # it took the cache
        if not self.consumed:
            raise CalibrationError(
                "TensorRT took neither the calibration cache nor a picture",
                "the cache is of another algorithm or version; write it again for this one, or give pictures",
            )
        if not self.written:
            raise CalibrationError(
                "TensorRT saw {} pictures and wrote no calibration cache".format(self.consumed), "see its log"
            )

    def _free(self):
        for host, address, _ in self._buffers.values():
            self._device.free_device(address)
            self._device.free_host(host)
        if self._stream:
            self._device.free_stream(self._stream)
        self._buffers, self._stream = {}, 0


def _guarded(trt, calibration):
    """An instance of TensorRT's calibrator class that lets nothing escape."""
    kind: Any = getattr(trt, calibration.kind)
    held = calibration._held

    class Calibrator(kind):
        def __init__(self):
            kind.__init__(self)

        def get_batch_size(self):
            return calibration.batch or 1

        def get_batch(self, names):
            # After a fault the data is at its end.
            return held.call(calibration.get_batch, list(names)) if held.error is None else None

        def read_calibration_cache(self):
            return calibration._offered

        def write_calibration_cache(self, cache):
            # What is handed over is gone when this returns.
            calibration.written = held.call(bytes, cache)

    return Calibrator()
