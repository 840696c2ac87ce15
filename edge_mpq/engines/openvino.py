"""OpenVINO on an x86 or Arm CPU: an optional backend, often faster than ONNX Runtime at int8.

The engine file is the compiled model as OpenVINO exports it, tied to the processor and
the OpenVINO version that compiled it.
"""

import io
import os
import platform
import time
from typing import Dict

from edge_mpq.engines import base
from edge_mpq.engines.base import Engine, LayerTime, TensorSpec
from edge_mpq.engines.onnxruntime import device
from edge_mpq.errors import EngineError
from edge_mpq.records import bundle
from edge_mpq.records import engine as engine_record

BACKEND = "openvino"
WEIGHTED = ("Convolution", "FullyConnected", "MatMul", "Deconvolution")
INTEGERS = ("u8", "i8")
TYPES = {"f32": "float32", "f16": "float16", "i64": "int64", "u8": "uint8"}


def _library():
    try:
        import openvino
    except ImportError as error:
        raise EngineError("openvino is not installed here", "pip install 'edge-mpq[openvino]'") from error
    return openvino


def _settings(threads):
    return {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32", "PERF_COUNT": True}


def build(onnx_path, engine_path, target, plan=None, threads=1):
    """Compile the model at ``onnx_path`` for this processor; writes the engine and its card.

    target: a Target record.  Raises EngineError when the model does not load or compile.
    """
    library, started = _library(), time.time()
    if not os.path.isfile(str(onnx_path)):
        raise EngineError("no model at {}".format(onnx_path), "export one with edge-mpq export")
    core = library.Core()
    try:
        model = core.read_model(str(onnx_path))
        compiled = core.compile_model(model, "CPU", _settings(threads))
    except RuntimeError as error:
        raise EngineError(
            "openvino {} cannot compile {} ({})".format(library.__version__, onnx_path, str(error).strip()[-200:]),
            "is it a whole ONNX file? export it again",
        ) from error
    exported = compiled.export_model()
    data = exported.getvalue() if isinstance(exported, io.BytesIO) else bytes(exported)
    asked = base.asked_of(plan)
    card = engine_record.EngineCard(
        backend=BACKEND,
        target=target.name,
        device=device(),
        versions={"openvino": library.__version__, "python": platform.python_version()},
        onnx_sha256=bundle.digest(str(onnx_path)),
        engine_sha256="",
        engine_bytes=0,
        build_s=time.time() - started,
        asked=asked,
        got=_got(compiled, asked),
    )
    return base.keep(engine_path, data, card)


def _text(info, key):
    return info[key].astype(str) if key in info else ""


def _layer(names, known):
    """The layer among the original names of a compiled operation, '' when there is none."""
    for name in names.split(","):
        stem = name.split("/WithoutBiases")[0]
        if not known or stem in known:
            return stem
    return ""


def _got(compiled, asked):
    """layer -> short name of the precision its operation runs in."""
    got = {}
    for node in compiled.get_runtime_model().get_ops():
        info = node.get_rt_info()
        if _text(info, "layerType") not in WEIGHTED:
            continue
        layer = _layer(_text(info, "originalLayersNames"), asked)
        if layer:
            integer = _text(info, "runtimePrecision") in INTEGERS
            wanted = asked.get(layer, "w8a8")
            got[layer] = (wanted if wanted.endswith("a8") else "w8a8") if integer else "fp32"
    return got


def open(engine_path, threads=1):  # noqa: A001 - the contract of every backend
    """The engine at ``engine_path``; EngineError when it was built elsewhere, or is torn."""
    return OpenVinoEngine(engine_path, base.verified_card(engine_path, BACKEND, device()), threads)


class OpenVinoEngine(Engine):
    """A compiled model on ``threads`` threads."""

    def __init__(self, path, card, threads):
        self.card = card
        library = _library()
        if card.versions.get("openvino") != library.__version__:
            raise EngineError(
                "{} was compiled by openvino {}, this is {}".format(
                    path, card.versions.get("openvino"), library.__version__
                ),
                "build it again",
            )
        with io.open(str(path), "rb") as stream:
            self.compiled = library.Core().import_model(io.BytesIO(stream.read()), "CPU", _settings(threads))
        self.request = self.compiled.create_infer_request()
        self.inputs = tuple(_spec(port) for port in self.compiled.inputs)
        self.outputs = tuple(_spec(port) for port in self.compiled.outputs)

    def infer(self, batch):
        self.check(batch)
        return [value.copy() for value in self.request.infer({0: batch}).values()]

    def profile(self, batch, runs=50):
        """Mean ms of each layer; operations between layers count to the layer before them."""
        self.check(batch)
        known, current = set(self.card.got if self.card else ()), ""
        times: Dict[str, float] = {}
        for _ in range(runs):
            self.request.infer({0: batch})
            for item in self.request.get_profiling_info():
                current = _layer(item.node_name, known) or current
                milliseconds = item.real_time.total_seconds() * 1000
                times[current] = times.get(current, 0.0) + milliseconds / runs
        return [LayerTime(layer, ms) for layer, ms in times.items()]

    def close(self):
        self.request = self.compiled = None


def _spec(port):
    shape = tuple(extent.get_length() if extent.is_static else None for extent in port.get_partial_shape())
    kind = port.get_element_type().get_type_name()
    return TensorSpec(port.get_any_name(), shape, TYPES.get(kind, kind))
