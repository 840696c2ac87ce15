"""torch model + plan -> the folder that travels: float and quantized ONNX, plan, ranges, recipe.

The folder is written whole or not at all: everything goes to a temporary folder beside it,
which then takes its name.
"""

import os
import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

import onnx
from torch import fx

from calibrators import cache
from edge_mpq import graph as ir
from edge_mpq.engines import inputs
from edge_mpq.engines.inputs import Recipe, fingerprint
from edge_mpq.errors import ExportError
from edge_mpq.records import bundle as bundles
from edge_mpq.records import document
from edge_mpq.records import plan as plans
from edge_mpq.records import ranges as range_tables
from edge_mpq.records.plan import PrecisionPlan
from edge_mpq.records.ranges import RangeTable
from edge_mpq.records.target import Target
from export import (
    blocks_into_onnx,
    columns_into_onnx,
    fp8_into_onnx,
    hints_into_onnx,
    onnx_for_cpu,
    onnx_from_torch,
    planes_into_onnx,
    qdq_into_onnx,
    typed_onnx_from_weak,
)

MARK, PLAN = bundles.NAME, "plan.json"
# The name in the header that every TensorRT with calibration prefers.
ENTROPY2 = "EntropyCalibration2"


class Quantized(NamedTuple):
    """One quantized form of a model: its plan and the graph that simulates it."""

    plan: PrecisionPlan
    model: fx.GraphModule


def task_of(graph: fx.GraphModule) -> str:
    """How the outputs are to be read: ``segment`` for scores [K, H, W] of a picture, else ``classify``."""
    return "segment" if len(ir.shape(ir.outputs(graph))) == 3 else "classify"


def opset_of(target: Target) -> int:
    """The newest opset to write for a target: its parser's ceiling, below what that parser lacks."""
    # Opset 17 brings LayerNormalization, which TensorRT reads from 8.6 on.
    return min(target.opset, 16) if target.tensorrt and target.tensorrt < (8, 6) else target.opset


def quantized_onnx(
    float_onnx: onnx.ModelProto, graph: fx.GraphModule, quantized: Quantized, target: Target
) -> onnx.ModelProto:
    """The ONNX of a quantized form for ``target``, with the plan in it."""
    plan = quantized.plan
    model = qdq_into_onnx.insert(float_onnx, graph, quantized.model, plan, target)
    model = blocks_into_onnx.insert(model, float_onnx, graph, quantized.model)
    model = columns_into_onnx.insert(model, float_onnx, graph, quantized.model, target)
    model = planes_into_onnx.insert(model, float_onnx, graph, quantized.model)
    if target.backend == "onnxruntime":
        model = onnx_for_cpu.tune(model)
    elif target.dialect == "typed":
        if any(choice.weight == "fp8" for choice in plan.choices.values()):
            model = fp8_into_onnx.insert(model, float_onnx, graph, quantized.model, plan, target)
        model = typed_onnx_from_weak.typed(model, plan, target)
    return hints_into_onnx.write(model, plan)


def refuse_others(folder: str | Path, plan: PrecisionPlan | None = None) -> None:
    """Raise ExportError for a folder whose contents a bundle there would delete.

    An older bundle may go, and so may ``plan.json`` alone where it is ``plan``: the bundle holds it again.
    """
    folder = Path(folder)
    held = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    if not held or MARK in held or (held == [PLAN] and plan is not None and plans.load(folder / PLAN) == plan):
        return
    raise ExportError(f"{folder} holds something that is no bundle", "give --out another folder")


def write(
    folder: str | Path,
    title: str,
    graph: fx.GraphModule,
    mixed: Quantized,
    uniform: Quantized | None,
    target: Target,
    ranges: RangeTable,
    recipe: Recipe,
    classes: list[str],
    task: str,
) -> bundles.Bundle:
    """Write the bundle of ``mixed`` (and of ``uniform``, to compare) to ``folder``; the sealed Bundle.

    Replaces an older bundle there, but no folder that holds something else (ExportError).
    """
    folder = Path(folder)
    refuse_others(folder, mixed.plan)
    folder.parent.mkdir(parents=True, exist_ok=True)
    half = Path(tempfile.mkdtemp(prefix=".half-", dir=folder.parent))
    try:
        float_onnx = onnx_from_torch.onnx_from_graph(graph, opset_of(target))
        files = {"fp32": "fp32.onnx", "model": "model.onnx", "plan": PLAN, "ranges": "ranges.json"}
        document.write_bytes(half / files["fp32"], float_onnx.SerializeToString())
        document.write_bytes(
            half / files["model"], quantized_onnx(float_onnx, graph, mixed, target).SerializeToString()
        )
        if uniform is not None:
            files["int8"] = "int8.onnx"
            form = quantized_onnx(float_onnx, graph, uniform, target)
            document.write_bytes(half / files["int8"], form.SerializeToString())
        plans.save(half / files["plan"], mixed.plan)
        range_tables.save(half / files["ranges"], ranges)
        if target.tensorrt and target.dialect == "weak" and target.has_int8:
            # Two kilobytes that save the board a calibration, should it build from fp32.onnx.
            files.update({"cache": "calibration.cache", "cache_of": "calibration.cache.json"})
            scales = cache.from_ranges(ranges, ENTROPY2, target.tensorrt)
            found = fingerprint(recipe), ranges.data
            cache.save(half / files["cache"], scales, half / files["fp32"], ranges.pictures, *found)
        sealed = bundles.seal(
            half, bundles.Bundle(title, target.name, task, inputs.to_json(recipe), list(classes), files)
        )
        os.chmod(half, 0o755)
        if folder.is_dir():
            shutil.rmtree(folder)
        os.replace(half, folder)
    except BaseException:
        shutil.rmtree(half, ignore_errors=True)
        raise
    return sealed
