"""A TensorRT engine that runs: buffers, a stream, and a CUDA graph where shapes are fixed.

Axis letters of the one input: N frames, C channels, H rows, W columns.
"""

from typing import Any, Dict

import numpy as np

from edge_mpq.engines import _tensorrt_api as api
from edge_mpq.engines import _tensorrt_readback as readback
from edge_mpq.engines._tensorrt_tensors import tensors_of
from edge_mpq.engines.base import Engine, LayerTime, TensorSpec
from edge_mpq.errors import EngineError


def deserialize(trt, log, held, data, path, threads, dla_core=None):
    """(runtime, engine) of a plan's bytes; EngineError where TensorRT takes them for another's.

    dla_core: that it was built for; without a word the runtime takes the first.
    """
    trt.init_libnvinfer_plugins(log, "")
    runtime = api.create(lambda: trt.Runtime(log), "runtime")
    if hasattr(runtime, "max_threads"):
        runtime.max_threads = threads
    if dla_core is not None:
        runtime.DLA_core = dla_core
    engine = runtime.deserialize_cuda_engine(data)
    held.release()
    if engine is None:
        wrote = api.plan_version(data)
        by = " (written by TensorRT {})".format(".".join(map(str, wrote))) if wrote else ""
        raise EngineError(
            "TensorRT {} does not take the engine {}{}: {}".format(trt.__version__, path, by, api.told(log)),
            "an engine is of one TensorRT and one GPU; build it again here from its ONNX",
        )
    return runtime, engine


class _Buffer(object):
    """One tensor's place in host and device memory, made for its greatest shape.

    mapped: whether the device reads the host's memory itself.
    """

    def __init__(self, device, dtype, shape, mapped):
        self.device, self.dtype, self.mapped = device, np.dtype(dtype), mapped
        self.reshape(shape)
        self.host = device.host_memory(self.nbytes)
        try:
            self.address = self.host.device_address if mapped else device.device_memory(self.nbytes)
        except EngineError:
            device.free_host(self.host)
            raise

    def reshape(self, shape):
        self.shape, self.nbytes = shape, int(np.prod(shape)) * self.dtype.itemsize

    @property
    def array(self):
        """The host's side as an array of the present shape; a view."""
        return self.host.array[: self.nbytes].view(self.dtype).reshape(self.shape)

    def free(self):
        if not self.mapped:
            self.device.free_device(self.address)
        self.device.free_host(self.host)


class TrtEngine(Engine):
    """An engine with its buffers.  captured: whether inferences run as one CUDA graph."""

    def __init__(self, trt, log, held, runtime, engine, card, device, planned=()):
        self.card, self.device, self.captured = card, device, False
        self._trt, self._log, self._held, self._planned = trt, log, held, planned
        self._runtime, self._engine = runtime, engine
        self._context: Any = None
        self._tensors: Any = None
        self._stream = self._graph = 0
        self._buffers: Dict[str, _Buffer] = {}
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self):
        self._context = api.create(self._engine.create_execution_context, "execution context (out of memory?)")
        self._tensors = tensors_of(self._trt, self._engine, self._context)
        if len(self._tensors.inputs()) != 1:
            what = "the engine has the inputs {}".format(", ".join(self._tensors.inputs()))
            raise EngineError(what, "export a model with one input, a batch of pictures")
        self._input = self._tensors.inputs()[0]
        least, greatest = self._tensors.bounds(self._input)
        self._stream = self.device.stream()
        self._fit(greatest)
        for name in self._tensors.names:
            # Memory that the GPU reads through the cache needs no copy of what it reads once.
            mapped = self.device.coherent and name == self._input
            shape, kind = self._tensors.shape(name), self._tensors.numpy_type(name)
            self._buffers[name] = _Buffer(self.device, kind, shape, mapped)
            self._tensors.bind(name, self._buffers[name].address)
        free = tuple(None if low != high else high for low, high in zip(least, greatest))
        self.inputs = (TensorSpec(self._input, free, self._seen(self._input)),)
        self.outputs = tuple(
            TensorSpec(name, free[:1] + self._buffers[name].shape[1:], self._seen(name))
            for name in self._tensors.outputs()
        )
        self._enqueue()  # the first run of a context sets it up, which no graph may hold
        self.device.wait(self._stream)
        if least == greatest:
            self._capture()

    def _seen(self, name):
        # Half tensors are met as float: callers prepare and read float32.
        kind = self._buffers[name].dtype.name
        return "float32" if kind == "float16" else kind

    def _fit(self, shape):
        self._tensors.set_shape(self._input, shape)
        for name, buffer in self._buffers.items():
            buffer.reshape(self._tensors.shape(name))

    def _enqueue(self):
        source = self._buffers[self._input]
        if not source.mapped:
            self.device.to_device(source.address, source.host, source.nbytes, self._stream)
        if not self._tensors.enqueue(self._stream):
            self._held.release()
            raise EngineError("TensorRT did not run: {}".format(api.told(self._log)), "build the engine again here")
        for name in self._tensors.outputs():
            buffer = self._buffers[name]
            self.device.to_host(buffer.host, buffer.address, buffer.nbytes, self._stream)

    def _capture(self):
        """Record one inference as a graph; an engine that cannot be recorded runs without."""
        try:
            self._graph = self.device.capture(self._stream, self._enqueue)
            self.captured = True
        except EngineError:
            self._graph = 0

    def _run(self):
        if self._graph:
            self.device.launch(self._graph, self._stream)
        else:
            self._enqueue()

    def _load(self, batch):
        self.check(batch)
        source = self._buffers[self._input]
        if batch.shape != source.shape:
            self._fit(batch.shape)
        np.copyto(source.array, batch, casting="same_kind")

    def infer(self, batch):
        self._load(batch)
        self._run()
        self.device.wait(self._stream)
        self._held.release()
        answers = [self._buffers[name].array for name in self._tensors.outputs()]
        return [answer.astype(np.float32 if answer.dtype == np.float16 else answer.dtype) for answer in answers]

    def gpu_ms(self, batch, runs=50):
        """Milliseconds the GPU took for each of ``runs`` inferences of ``batch``, copies included."""
        self._load(batch)
        return [self.device.elapsed_ms(self._stream, self._run) for _ in range(runs)]

    def profile(self, batch, runs=50):
        self._load(batch)
        owners = readback.kernels(self.rows(), self._planned)
        times: Dict[str, float] = {}

        def report(kernel, ms):
            # Where the engine does not tell its layers, their names do.
            owner = owners.get(kernel) or (readback.planned_in({"Name": kernel}, self._planned) or [""])[0]
            times[owner] = times.get(owner, 0.0) + ms / runs

        self._context.profiler = api.profiler(self._trt, self._held, report)
        try:
            with api.uninterrupted(self._held):
                for _ in range(runs):
                    self._enqueue()
                    self.device.wait(self._stream)
        finally:
            self._context.profiler = None
        return [LayerTime(layer, ms) for layer, ms in times.items()]

    def rows(self):
        """What the inspector tells of each layer of the engine; [] before TensorRT 8.2, which has none."""
        if not hasattr(self._engine, "create_engine_inspector"):
            return []
        inspector = self._engine.create_engine_inspector()
        # Formats of an engine with a free axis are told for a context's shapes only.
        inspector.execution_context = self._context
        return readback.layers_of(inspector.get_engine_information(self._trt.LayerInformationFormat.JSON))

    def close(self):
        if self._graph:
            self.device.free_graph(self._graph)
        for buffer in self._buffers.values():
            buffer.free()
        # TensorRT's objects go in the reverse of the order they came in.
        self._tensors = self._context = None
        self._engine = self._runtime = None
        if self._stream:
            self.device.free_stream(self._stream)
        self._graph, self._stream, self._buffers = 0, 0, {}
