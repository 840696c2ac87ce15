"""Per-layer times of uniform engines on this machine: the cost table that latency budgets want."""

import os
import tempfile
from collections.abc import Iterable

import onnx
from torch import fx

from edge_mpq import engines
from edge_mpq.cost import Pair
from edge_mpq.engines.onnxruntime import random_batch
from edge_mpq.layers import layers_of
from edge_mpq.progress import Progress, silent
from edge_mpq.records import plan as plans
from edge_mpq.records.ranges import RangeTable
from edge_mpq.records.target import Target
from edge_mpq.simulation import simulate
from export import onnx_from_torch
from export.bundle_from_torch import Quantized, quantized_onnx

UNIFORM: tuple[Pair, ...] = (("fp32", "fp32"), ("int8", "int8"))


def times_of(
    graph: fx.GraphModule,
    target: Target,
    ranges: RangeTable,
    threads: int = 1,
    pairs: Iterable[Pair] = UNIFORM,
    progress: Progress = silent,
) -> tuple[dict[Pair, dict[str, float]], float]:
    """(pair -> layer -> ms, ms outside the layers of the fastest) from the profiles of uniform engines.

    Raises EngineError where the target's engine cannot be built on this machine.
    """
    backend = engines.get(target.backend)
    layers = layers_of(graph)
    float_onnx = onnx_from_torch.onnx_from_graph(graph, target.opset)
    times: dict[Pair, dict[str, float]] = {}
    outside = float("inf")
    with tempfile.TemporaryDirectory(prefix="edge-mpq-") as folder:
        for pair in progress(list(pairs), "timing layers on this machine"):
            source, path = os.path.join(folder, "model.onnx"), os.path.join(folder, "model.engine")
            if pair == ("fp32", "fp32"):
                onnx.save(float_onnx, source)
            else:
                plan = plans.uniform(layers, target, *pair)
                form = Quantized(plan, simulate(graph, plan, target, ranges))
                onnx.save(quantized_onnx(float_onnx, graph, form, target), source)
            backend.build(source, path, target, None, threads)
            with backend.open(path, threads) as engine:
                profile = {item.layer: item.ms for item in engine.profile(random_batch(engine))}
            outside = min(outside, profile.pop("", 0.0))
            times[pair] = profile
    return times, outside
