"""ONNX Runtime on a GPU: what its CUDA and TensorRT providers share.

The engine file is the ONNX itself: these providers compile when a session opens, and keep
what they compiled beside it (TensorRT) or not at all (CUDA).  A provider that cannot take a
node leaves it to the CPU without a word, so the card says for each layer what ran it.
"""

import io
import json
import os
import platform
import shutil
import tempfile
import time
from typing import Any, Dict, List, NamedTuple

import numpy as np

from edge_mpq.engines import base, onnxruntime
from edge_mpq.engines.base import Engine, LayerTime
from edge_mpq.errors import EngineError
from edge_mpq.records import bundle
from edge_mpq.records import engine as engine_record
from edge_mpq.records import target as targets

CPU, TENSORRT = "CPUExecutionProvider", "TensorrtExecutionProvider"
# Names of formats in a profile, for layers that no integer kernel runs.
TYPES = {"float": "fp32", "float16": "fp16", "bfloat16": "bf16"}


class Ran(NamedTuple):
    """One kernel's run.  type: of its first input, in the profile's words.  us: microseconds."""

    node: str
    operation: str
    provider: str
    type: str
    us: float


def available(provider):
    """The onnxruntime library; EngineError where it was built without ``provider``."""
    runtime = onnxruntime.library()
    if provider not in runtime.get_available_providers():
        raise EngineError(
            "onnxruntime {} here has no {} (it has {})".format(
                runtime.__version__, provider, ", ".join(runtime.get_available_providers())
            ),
            "install onnxruntime-gpu for this CUDA, or drop --backend",
        )
    return runtime


def tensorrt_settings(data, asked, target, shape, kept):
    """The options of the TensorRT provider that build as engines.tensorrt does: its flags, profile and timing cache.

    data: the ONNX in bytes.  asked: layer -> short name, {} for a float model.  shape: of the one
    input, by its name; a free batch is built for one picture.  kept: folder of what it compiles.
    """
    ((name, extents),) = shape.items()
    integers = b"QuantizeLinear" in data  # an operator's name stands in the file as it is
    settings = {
        "trt_engine_cache_enable": True,
        "trt_engine_cache_path": kept,
        "trt_timing_cache_enable": True,
        "trt_timing_cache_path": kept,
        "trt_int8_enable": integers,
        # Beside int8 too, else what is not quantized runs in float.
        "trt_fp16_enable": "fp16" in asked.values() or (integers and "fp16" in target.activation_formats),
    }
    if not isinstance(extents[0], int):
        bounds = "{}:{}".format(name, "x".join(map(str, [1] + list(extents[1:]))))
        settings.update(("trt_profile_{}_shapes".format(end), bounds) for end in ("min", "opt", "max"))
    return settings


def of_profile(provider, spec):
    """The TensorSpec ``spec`` of an input as ``provider`` takes it: TensorRT's profile is of one picture."""
    free = provider == TENSORRT and spec.shape[:1] == (None,)
    return spec._replace(shape=(1,) + spec.shape[1:]) if free else spec


def _settings(provider, path, kept, asked, target):
    """The options of ``provider`` for the ONNX at ``path``: none but for TensorRT's."""
    if provider != TENSORRT:
        return {}
    with io.open(str(path), "rb") as stream:
        data = stream.read()
    entry = onnxruntime.protos().load_model_from_string(data).graph.input[0]
    extents = [axis.dim_value or None for axis in entry.type.tensor_type.shape.dim]
    return tensorrt_settings(data, asked, target, {entry.name: extents}, kept)


def _session(provider, path, threads, settings, profile=None):
    """A session with ``provider`` first.  profile: prefix of the profile to write."""
    runtime = available(provider)
    options = onnxruntime.session_options(threads)
    if profile is not None:
        options.enable_profiling, options.profile_file_prefix = True, profile
    providers: List[Any] = [(provider, settings)] + ([] if provider == CPU else [CPU])
    try:
        return runtime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # its own exception classes share no base
        raise EngineError(
            "{} cannot load {} ({})".format(provider, path, onnxruntime.reason_of(error)),
            "see that driver, CUDA and onnxruntime-gpu fit each other",
        ) from error


def _events(provider, path, threads, settings, batch, runs):
    """[Ran] of ``runs`` inferences."""
    folder = tempfile.mkdtemp(prefix="edge-mpq-")
    try:
        session = _session(provider, path, threads, settings, os.path.join(folder, "profile"))
        for _ in range(runs):
            session.run(None, {session.get_inputs()[0].name: batch})
        with io.open(session.end_profiling(), encoding="utf-8") as stream:
            events = json.load(stream)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    suffix = "_kernel_time"
    kernels = [event for event in events if event.get("cat") == "Node" and event["name"].endswith(suffix)]
    return [_ran(event["name"][: -len(suffix)], event["args"], event["dur"]) for event in kernels]


def _ran(node, told, us):
    """The :class:`Ran` of one node event, whose arguments are ``told``."""
    inputs = told.get("input_type_shape") or [{}]
    return Ran(node, told.get("op_name", ""), told.get("provider", ""), next(iter(inputs[0]), ""), us)


def short_name(layer, ran, asked, provider):
    """The short name of what ran a layer; ``fp32 on CPU`` where it was not ``provider``."""
    if ran.operation in onnxruntime.INTEGER_KERNELS:
        short = onnxruntime.short_name(layer, ran.operation, asked)
    else:
        short = TYPES.get(ran.type, "fp32")
    return short if ran.provider == provider else short + " on CPU"


def build(provider, backend, onnx_path, engine_path, target, plan=None, threads=1):
    """Check that ``provider`` runs the model at ``onnx_path``, and write it as an engine with its card.

    Layers inside a region that TensorRT compiled as one are not in ``got``; those that
    another provider took are, as ``fp32 on CPU``.  Raises EngineError without the provider.
    """
    started = time.time()
    runtime = available(provider)
    if not os.path.isfile(str(onnx_path)):
        raise EngineError("no model at {}".format(onnx_path), "export one with edge-mpq export")
    with io.open(str(onnx_path), "rb") as stream:
        data = stream.read()
    asked = base.asked_of(plan)
    settings = _settings(provider, onnx_path, str(engine_path) + ".cache", asked, target)
    session = _session(provider, onnx_path, threads, settings)
    extents = [extent if isinstance(extent, int) else 1 for extent in session.get_inputs()[0].shape]
    batch = np.zeros(extents, np.float32)
    owners = onnxruntime.owner_of_tensors(onnxruntime.protos().load(str(onnx_path), load_external_data=False))
    got: Dict[str, str] = {}
    for ran in _events(provider, onnx_path, threads, settings, batch, 1):
        owner = onnxruntime.owner_of_node(ran.node, [], owners)
        if owner and ran.operation in onnxruntime.WEIGHTED:
            got[owner] = short_name(owner, ran, asked, provider)
    card = engine_record.EngineCard(
        backend=backend,
        target=target.name,
        device=device(provider),
        versions={"onnxruntime": runtime.__version__, "provider": provider, "python": platform.python_version()},
        onnx_sha256=bundle.digest(str(onnx_path)),
        engine_sha256="",
        engine_bytes=0,
        build_s=time.time() - started,
        asked=asked,
        got=got,
    )
    return base.keep(engine_path, data, card)


def device(provider):
    """What the engine is tied to: the GPU, or the processor for the CPU provider."""
    if provider == CPU:
        return onnxruntime.device()
    from edge_mpq.engines import cuda

    return cuda.open_device().described


class GpuEngine(Engine):
    """A session of one provider, the CPU behind it."""

    def __init__(self, provider, path, card, threads):
        self.provider, self.path, self.card, self.threads = provider, str(path), card, threads
        self.settings = _settings(provider, path, self.path + ".cache", card.asked, targets.get(card.target))
        self.session = _session(provider, path, threads, self.settings)
        self.inputs = tuple(of_profile(provider, onnxruntime.spec(item)) for item in self.session.get_inputs())
        self.outputs = tuple(onnxruntime.spec(item) for item in self.session.get_outputs())

    def infer(self, batch):
        self.check(batch)
        return self.session.run(None, {self.inputs[0].name: batch})

    def profile(self, batch, runs=50):
        """Mean ms of each layer; of regions compiled as one, all under layer ''."""
        self.check(batch)
        owners = onnxruntime.owner_of_tensors(onnxruntime.protos().load(self.path, load_external_data=False))
        times: Dict[str, float] = {}
        for ran in _events(self.provider, self.path, self.threads, self.settings, batch, runs):
            owner = onnxruntime.owner_of_node(ran.node, [], owners)
            times[owner] = times.get(owner, 0.0) + ran.us / 1000.0 / runs
        return [LayerTime(layer, ms) for layer, ms in times.items()]

    def close(self):
        self.session = None
