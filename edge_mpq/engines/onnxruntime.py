"""ONNX Runtime on any CPU: the embedded default.

``build`` lets ONNX Runtime optimize the model for this processor once, and writes it with
a card that says which kernel each layer really got.  ``open`` runs that file with no further optimization.
"""

import io
import json
import os
import platform
import shutil
import tempfile
import time
from typing import Dict, Set

import numpy as np

from edge_mpq.engines import base
from edge_mpq.engines.base import Engine, LayerTime, TensorSpec
from edge_mpq.errors import EngineError
from edge_mpq.records import bundle
from edge_mpq.records import engine as engine_record

BACKEND = "onnxruntime"
INTEGER_KERNELS = ("QLinearConv", "QGemm", "QLinearMatMul", "MatMulIntegerToFloat", "ConvInteger", "MatMulInteger")
# Block-wise weights by float activations.
BLOCKS = "MatMulNBits"
FLOAT_KERNELS = ("Conv", "FusedConv", "ConvTranspose", "Gemm", "FusedGemm", "MatMul", "FusedMatMul")
WEIGHTED = INTEGER_KERNELS + (BLOCKS,) + FLOAT_KERNELS
# It stores float weights as int8, one scale a tensor, wherever their neighbours are integers: against the plan.
UNWANTED_OPTIMIZERS = ("WeightBiasQuantization",)
TYPES = {"tensor({})".format(kind): kind for kind in ("uint8", "int8", "int64", "float16")}
TYPES["tensor(float)"] = "float32"


def library():
    try:
        import onnxruntime
    except ImportError as error:
        raise EngineError("onnxruntime is not installed here", "pip install onnxruntime") from error
    return onnxruntime


def device():
    """What the engine is tied to: the processor's name and its vector extensions."""
    name = platform.machine()
    flags: Set[str] = set()
    try:
        with io.open("/proc/cpuinfo") as stream:
            for line in stream:
                key, _, value = line.partition(":")
                if key.strip() == "model name":
                    name = value.strip()
                elif key.strip() in ("flags", "Features"):
                    flags = set(value.split())
                    break
    except OSError:
        pass  # not Linux: the machine type has to do
    known = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm")
    return " ".join([name] + [flag for flag in known if flag in flags])


def session_options(threads):
    options = library().SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # A spinning idle thread takes the core that capture and drawing need.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0" if threads > 1 else "1")
    return options


def _session(path, options):
    runtime = library()
    try:
        return runtime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"], disabled_optimizers=list(UNWANTED_OPTIMIZERS)
        )
    except Exception as error:  # its own exception classes share no base
        reason = reason_of(error)
        newer = "Unsupported model IR" in reason or "opset" in reason
        raise EngineError(
            "onnxruntime {} cannot load {} ({})".format(runtime.__version__, path, reason),
            "install a newer onnxruntime" if newer else "is it a whole ONNX file? export it again",
        ) from error


def reason_of(error):
    """The first line of an error of ONNX Runtime; of a long one its end, which says why, and not where."""
    text = (str(error).strip().splitlines() or ["no reason"])[0]
    return text if len(text) <= 200 else "..." + text[-200:]


def protos():
    """The onnx module, which names the layers of an engine; EngineError where it is not installed."""
    try:
        import onnx
    except ImportError as error:
        what = "onnx, by which layers keep their names, is not installed here"
        raise EngineError(what, "pip install onnx") from error
    return onnx


def build(onnx_path, engine_path, target, plan=None, threads=1, accuracy_level=4):
    """Optimize the model at ``onnx_path`` for this processor; writes the engine and its card.

    plan: what each layer was asked for, None for a float model.  accuracy_level: how block-wise
    weights are multiplied: 4 rounds activations to int8 block by block as they come, which is fast at
    every width; 0 leaves them float, which is fast with 4 bits only.  Raises EngineError when the
    model does not load.
    """
    started = time.time()
    if not os.path.isfile(str(onnx_path)):
        raise EngineError("no model at {}".format(onnx_path), "export one with edge-mpq export")
    runtime = library()
    protos()  # better told now than after the optimizer's work
    folder = tempfile.mkdtemp(prefix="edge-mpq-")
    try:
        optimized = os.path.join(folder, "engine.onnx")
        options = session_options(threads)
        options.optimized_model_filepath = optimized
        options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", str(accuracy_level))
        _session(onnx_path, options)
        data, got = named_after_layers(str(onnx_path), optimized)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    asked = base.asked_of(plan)
    card = engine_record.EngineCard(
        backend=BACKEND,
        target=target.name,
        device=device(),
        versions={"onnxruntime": runtime.__version__, "python": platform.python_version()},
        onnx_sha256=bundle.digest(str(onnx_path)),
        engine_sha256="",
        engine_bytes=0,
        build_s=time.time() - started,
        asked=asked,
        got={name: short_name(name, kind, asked) for name, kind in got.items()},
        settings={"accuracy_level": str(accuracy_level)} if BLOCKS in got.values() else {},
    )
    return base.keep(engine_path, data, card)


def short_name(layer, kind, asked):
    """The short name of what ran: an integer kernel runs the asked width (narrow codes travel in int8)."""
    if kind == BLOCKS:
        return asked.get(layer, BLOCKS)
    if kind not in INTEGER_KERNELS:
        return "fp32"
    wanted = asked.get(layer, "w8a8")
    return wanted if wanted.startswith("w") and wanted.endswith("a8") else "w8a8"


def named_after_layers(onnx_path, optimized_path):
    """The optimized model with weighted nodes called like their layers, and layer -> operation that runs it.

    A layer is a weighted node of the model at ``onnx_path``.  The optimizer renames nodes,
    by a suffix or after the tensor they write; with their names back, a profile of the
    engine speaks of layers.
    """
    onnx = protos()
    owners = owner_of_tensors(onnx.load(onnx_path, load_external_data=False))
    optimized = onnx.load(optimized_path, load_external_data=False)
    found: Dict[str, str] = {}
    for node in optimized.graph.node:
        if node.op_type in WEIGHTED:
            owner = owner_of_node(node.name, list(node.output), owners)
            if owner:
                found[owner] = node.op_type
                node.name = owner
    return optimized.SerializeToString(), found


def owner_of_tensors(model):
    """tensor or node name -> the layer it comes from: the last weighted node on the way to it."""
    owners: Dict[str, str] = {}
    for node in model.graph.node:
        if node.op_type in WEIGHTED:
            owner = node.name
        else:
            inherited = [owners[name] for name in node.input if name in owners]
            owner = inherited[0] if inherited else ""
        owners[node.name] = owner
        for output in node.output:
            owners[output] = owner
    return owners


def owner_of_node(name, outputs, owners):
    """The layer of an optimized node: by its name, its name before a suffix, or the tensor it writes."""
    for candidate in [name] + outputs:
        for stem in (
            candidate,
            candidate.split("_token_")[0],
            candidate[: -len("_nchwc")] if candidate.endswith("_nchwc") else "",
        ):
            if owners.get(stem):
                return owners[stem]
    return ""


def open(engine_path, threads=1):  # noqa: A001 - the contract of every backend
    """The engine at ``engine_path``; EngineError when it was built elsewhere, or is torn."""
    card = base.verified_card(engine_path, BACKEND, device())
    return OrtEngine(engine_path, card, threads)


class OrtEngine(Engine):
    """An optimized model in an ONNX Runtime session on ``threads`` threads."""

    def __init__(self, path, card, threads):
        self.path, self.card, self.threads = str(path), card, threads
        options = session_options(threads)
        options.graph_optimization_level = library().GraphOptimizationLevel.ORT_DISABLE_ALL
        self.session = _session(path, options)
        self.inputs = tuple(spec(item) for item in self.session.get_inputs())
        self.outputs = tuple(spec(item) for item in self.session.get_outputs())

    def infer(self, batch):
        self.check(batch)
        return self.session.run(None, {self.inputs[0].name: batch})

    def profile(self, batch, runs=50):
        """Mean ms of each layer over ``runs``; conversions and adds count to the layer they follow."""
        self.check(batch)
        owners = owner_of_tensors(protos().load(self.path, load_external_data=False))
        folder = tempfile.mkdtemp(prefix="edge-mpq-")
        try:
            options = session_options(self.threads)
            options.graph_optimization_level = library().GraphOptimizationLevel.ORT_DISABLE_ALL
            options.enable_profiling, options.profile_file_prefix = True, os.path.join(folder, "profile")
            session = _session(self.path, options)
            for _ in range(runs):
                session.run(None, {self.inputs[0].name: batch})
            with io.open(session.end_profiling(), encoding="utf-8") as stream:
                events = json.load(stream)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        times: Dict[str, float] = {}
        for event in events:
            if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
                owner = owners.get(event["name"][: -len("_kernel_time")], "")
                times[owner] = times.get(owner, 0.0) + event["dur"] / 1000.0 / runs
        return [LayerTime(layer, ms) for layer, ms in times.items()]

    def close(self):
        self.session = None


def spec(item):
    shape = tuple(extent if isinstance(extent, int) else None for extent in item.shape)
    return TensorSpec(item.name, shape, TYPES.get(item.type, item.type))


def random_batch(engine, size=1):
    """A batch of noise that fits the engine's input, for timing."""
    shape = [size] + [extent or 1 for extent in engine.inputs[0].shape[1:]]
    return np.random.RandomState(0).randn(*shape).astype(np.float32)
