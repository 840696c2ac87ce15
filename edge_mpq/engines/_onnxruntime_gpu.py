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
from typing import Any, Dict, List

import numpy as np

from edge_mpq.engines import base, onnxruntime
from edge_mpq.engines.base import Engine, LayerTime
from edge_mpq.errors import EngineError
from edge_mpq.records import bundle
from edge_mpq.records import engine as engine_record

CPU = "CPUExecutionProvider"


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


def _session(provider, path, threads, profile=None):
    """A session with ``provider`` first.  profile: prefix of the profile to write."""
    runtime = available(provider)
    options = onnxruntime.session_options(threads)
    if profile is not None:
        options.enable_profiling, options.profile_file_prefix = True, profile
    settings: Dict[str, Any] = {}
    if provider == "TensorrtExecutionProvider":
        kept = str(path) + ".cache"
        settings = {"trt_engine_cache_enable": True, "trt_engine_cache_path": kept, "trt_fp16_enable": True}
    providers: List[Any] = [(provider, settings)] + ([] if provider == CPU else [CPU])
    try:
        return runtime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # its own exception classes share no base
        text = str(error).strip().splitlines()
        raise EngineError(
            "{} cannot load {} ({})".format(provider, path, text[0][:200] if text else "no reason"),
            "see that driver, CUDA and onnxruntime-gpu fit each other",
        ) from error


def _events(provider, path, threads, batch, runs):
    """The node events of ``runs`` inferences."""
    folder = tempfile.mkdtemp(prefix="edge-mpq-")
    try:
        session = _session(provider, path, threads, os.path.join(folder, "profile"))
        for _ in range(runs):
            session.run(None, {session.get_inputs()[0].name: batch})
        with io.open(session.end_profiling(), encoding="utf-8") as stream:
            events = json.load(stream)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    suffix = "_kernel_time"
    kernels = [event for event in events if event.get("cat") == "Node" and event["name"].endswith(suffix)]
    return [
        (event["name"][: -len(suffix)], *_ran(event))
        for event in kernels
    ]


def _ran(event):
    """(operation, provider, microseconds) of one node event."""
    return event["args"].get("op_name", ""), event["args"].get("provider", ""), event["dur"]


def build(provider, backend, onnx_path, engine_path, target, plan=None, threads=1):
    """Check that ``provider`` runs the model at ``onnx_path``, and write it as an engine with its card.

    Layers inside a region that TensorRT compiled as one are not in ``got``; those that
    another provider took are, as ``fp32 on CPU``.  Raises EngineError without the provider.
    """
    import onnx

    started = time.time()
    runtime = available(provider)
    if not os.path.isfile(str(onnx_path)):
        raise EngineError("no model at {}".format(onnx_path), "export one with edge-mpq export")
    with io.open(str(onnx_path), "rb") as stream:
        data = stream.read()
    session = _session(provider, onnx_path, threads)
    extents = [extent if isinstance(extent, int) else 1 for extent in session.get_inputs()[0].shape]
    batch = np.zeros(extents, np.float32)
    asked = base.asked_of(plan)
    owners = onnxruntime.owner_of_tensors(onnx.load(str(onnx_path), load_external_data=False))
    got: Dict[str, str] = {}
    for name, kind, ran_on, _ in _events(provider, onnx_path, threads, batch, 1):
        owner = onnxruntime.owner_of_node(name, [], owners)
        if owner and kind in onnxruntime.WEIGHTED:
            short = onnxruntime.short_name(owner, kind, asked)
            got[owner] = short if ran_on == provider else short + " on CPU"
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
        self.session = _session(provider, path, threads)
        self.inputs = tuple(onnxruntime.spec(item) for item in self.session.get_inputs())
        self.outputs = tuple(onnxruntime.spec(item) for item in self.session.get_outputs())

    def infer(self, batch):
        self.check(batch)
        return self.session.run(None, {self.inputs[0].name: batch})

    def profile(self, batch, runs=50):
        """Mean ms of each layer; of regions compiled as one, all under layer ''."""
        import onnx

        self.check(batch)
        owners = onnxruntime.owner_of_tensors(onnx.load(self.path, load_external_data=False))
        times: Dict[str, float] = {}
        for name, _, _, duration in _events(self.provider, self.path, self.threads, batch, runs):
            owner = onnxruntime.owner_of_node(name, [], owners)
            times[owner] = times.get(owner, 0.0) + duration / 1000.0 / runs
        return [LayerTime(layer, ms) for layer, ms in times.items()]

    def close(self):
        self.session = None
