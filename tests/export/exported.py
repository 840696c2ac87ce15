"""Toys as ONNX, exported once a process, and what ONNX Runtime answers with them."""

import collections
import functools
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import fx

from edge_mpq import quantizing
from edge_mpq.engines import onnxruntime as backend
from edge_mpq.records import target as targets
from edge_mpq.records.plan import PrecisionPlan
from edge_mpq.rounding import Rounding
from export import older_opset_of_onnx, onnx_from_torch, qdq_into_onnx
from tests import toys

# Without these instructions, ONNX Runtime's products of uint8 and int8 saturate, and no simulation says where.
EXACT_INTEGERS = any(flag in backend.device() for flag in ("vnni", "asimddp", "i8mm", "amx_int8"))


@functools.cache
def newest(kind: str) -> onnx.ModelProto:
    """A float toy in the newest opset."""
    return onnx_from_torch.onnx_from_graph(toys.graph(kind), onnx_from_torch.NEWEST_OPSET)


def float_onnx(kind: str, opset: int = onnx_from_torch.NEWEST_OPSET) -> onnx.ModelProto:
    """A float toy in ``opset``, a copy of one's own."""
    if opset < onnx_from_torch.NEWEST_OPSET:
        return older_opset_of_onnx.lower(newest(kind), opset)
    made = onnx.ModelProto()
    made.CopyFrom(newest(kind))
    return made


def deployed(
    kind: str, plan: PrecisionPlan, rounding: str | Rounding = "feedback"
) -> tuple[fx.GraphModule, onnx.ModelProto]:
    """A toy quantized by ``plan``: the simulated graph and its ONNX."""
    target = targets.get(plan.target)
    ranges = toys.ranges(kind, target.scheme.activation == "int8")
    quantized, _ = quantizing.quantize(toys.graph(kind), plan, toys.batches(), rounding=rounding, ranges=ranges)
    model = qdq_into_onnx.insert(float_onnx(kind, target.opset), toys.graph(kind), quantized, plan, target)
    return quantized, model


def answers(model: onnx.ModelProto, pictures: torch.Tensor) -> np.ndarray:
    """What ONNX Runtime computes by the graph as it stands, with no kernel fused."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: pictures.numpy()})[0]


def engine(model: onnx.ModelProto, folder: Path, plan: PrecisionPlan | None = None) -> backend.OrtEngine:
    """The engine that the backend builds of a model, opened; its file is the optimized graph."""
    onnx.save(model, str(folder / "model.onnx"))
    backend.build(str(folder / "model.onnx"), str(folder / "model.engine"), targets.get("cpu-x86-vnni"), plan)
    return backend.open(str(folder / "model.engine"))


def optimized(model: onnx.ModelProto, folder: Path) -> collections.Counter:
    """How often each operation stands in the engine of a model."""
    return operations(onnx.load(engine(model, folder).path))


def operations(model: onnx.ModelProto) -> collections.Counter:
    """How often each operation stands in a model."""
    return collections.Counter(node.op_type for node in model.graph.node)


def constants(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """The initializers of a model by name."""
    return {item.name: onnx.numpy_helper.to_array(item) for item in model.graph.initializer}


def agree(quantized: fx.GraphModule, output: np.ndarray, x: torch.Tensor) -> None:
    """Top answers on all but one picture in two hundred, and no value further off than a few steps of 8 bits."""
    with torch.no_grad():
        simulated = quantized(x).numpy()
    axis = 1 if simulated.shape[1] > 1 else None
    top = [values.argmax(axis) if axis else values > 0 for values in (output, simulated)]
    assert (top[0] == top[1]).mean() >= 0.995
    assert np.abs(output - simulated).max() <= 4 * np.ptp(simulated) / 255
