"""``edge-mpq quantize``: plan, quantize, export and build in one go.

DIR then holds plan.json, model.onnx, fp32.onnx, ranges.json, report.json and, where the
target's engine runs on this machine, its engines.
"""

import argparse
import importlib.util
import os
import shlex
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from types import MappingProxyType
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import nn

import edge_mpq
from apps import arguments, half, measure
from apps.arguments import Work
from apps.data.batches import batches, sample
from apps.latency_loop import Round
from apps.planned import planned
from apps.stream.run import above_zero
from apps.terminal import bar, finish, say
from edge_mpq import transforms
from edge_mpq.calibration import ranges_of
from edge_mpq.cost import CostTable
from edge_mpq.layers import layers_of
from edge_mpq.menu import menu_of
from edge_mpq.placement import every_tensor
from edge_mpq.planning import cost_tables
from edge_mpq.quantizing import answers
from edge_mpq.records import document
from edge_mpq.records import plan as plans
from edge_mpq.records import report as reports
from edge_mpq.records.layer import LayerSpec, fingerprint
from edge_mpq.records.plan import Choice, PrecisionPlan
from edge_mpq.records.report import LayerRow, Option, RunReport, Variant
from edge_mpq.report import text
from edge_mpq.simulation import prepared
from export import bundle_from_torch
from export.bundle_from_torch import Quantized

# Test pictures that the first report looks at; `edge-mpq bench` looks at all of them.
GLANCE = 1000
FRAMES = 8


class Options(NamedTuple):
    """How to plan, as on the command line."""

    budget: str = "size<=0.25x"
    sensitivity: str = "fisher"
    allocator: str = "milp"
    formats: list[str] | None = None
    observer: str = "mse"
    rounding: str = "feedback"
    threads: int = 1
    transforms: Sequence[str] = ()


def quantize_into(folder: str, work: Work, options: Options, commands: list[str]) -> RunReport:
    """Plan, quantize and export ``work`` into the bundle ``folder``, build and measure; its report."""
    facts: dict[str, Any] = {}
    clock = time.perf_counter()

    def lap(name: str) -> None:
        nonlocal clock
        facts[name] = time.perf_counter() - clock
        clock = time.perf_counter()

    target = work.target
    graph = transforms.apply_all(options.transforms, prepared(work.model, work.example), work.calibration, target, bar)
    layers = layers_of(graph)
    task = bundle_from_torch.task_of(graph)
    lap("trace_s")
    ranges = ranges_of(
        graph,
        every_tensor(graph),
        work.calibration,
        options.observer,
        target.scheme.activation == "int8",
        bar,
    )
    keep = half.harmed(graph, target, work.calibration, bar)
    for name, why in keep.items():
        say(f"{name} stays in fp32: {why}")
    lap("calibrate_s")
    runs_here = target.backend != "simulation" and importlib.util.find_spec(target.backend) is not None
    chosen_by = planned(
        work,
        graph,
        ranges,
        keep,
        runs_here,
        options.budget,
        options.sensitivity,
        options.allocator,
        options.formats,
        options.threads,
    )
    mixed_plan, timing = chosen_by.plan, chosen_by.timing
    lap("plan_s")

    def quantized(plan: PrecisionPlan) -> Quantized:
        model, _ = edge_mpq.quantize(
            graph, plan, work.calibration, rounding=options.rounding, ranges=ranges, progress=bar
        )
        return Quantized(plan, model)

    mixed = quantized(mixed_plan)
    lap("quantize_s")
    uniform = None
    if target.has_int8:
        pairs = menu_of(layers, target, ["fp32", "fp16", "w8a8"], keep)
        choices = {name: Choice(*row[-1], why="uniform") for name, row in pairs.items()}
        plan = plans.uniform(layers, target, "int8", "int8")._replace(choices=choices, transforms=mixed_plan.transforms)
        uniform = quantized(plan)
    bundle = bundle_from_torch.write(
        folder, work.title, graph, mixed, uniform, target, ranges, work.recipe, work.data.classes, task
    )
    keep_frames(folder, work)
    lap("export_s")
    table = cost_tables(layers, menu_of(layers, target, options.formats, keep), target, timing and timing.times)[
        "latency"
    ]
    rows = {
        "fp32": _rows(layers, plans.uniform(layers, target, "fp32", "fp32"), table),
        "model": _rows(layers, mixed_plan, table, chosen_by.options),
    }
    if uniform is not None:
        rows["int8"] = _rows(layers, uniform.plan, {})
    chosen = sample(work.data.test, min(GLANCE, len(work.data.test)), seed=2)
    pictures = [values for values, _ in batches(work.data.test, work.recipe, 64, chosen)]
    # Class labels say nothing of the masks that a segmenter answers with.
    labels = np.array([work.data.test.label(index) for index in chosen]) if task == "classify" else None
    seen = [torch.from_numpy(values) for values in pictures]
    forms = {"model": mixed, "int8": uniform} if uniform is not None else {"model": mixed}
    made: list[Variant] = []
    if runs_here:
        engines = measure.open_all(folder, bundle, None, options.threads)
        lap("build_s")
        simulated = {
            role: answers(form.model, seen, bar, f"simulated {measure.VARIANTS[role]}").numpy()
            for role, form in forms.items()
        }
        made = measure.variants(folder, bundle, engines, pictures, labels, rows, simulated)
    else:
        say(f"no engine of {target.name} runs here; build it on the board. What follows is simulated:")
        facts.update(_simulated({"fp32": graph, "mixed": mixed.model}, seen, labels))
    report = RunReport(
        title=f"{work.title} on {target.name}",
        created=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        target=target.name,
        machine=measure.machine(options.threads),
        variants=made,
        facts={
            "budget": mixed_plan.budget,
            "data": work.data.name,
            "model_fingerprint": fingerprint(layers),
            "sensitivity": options.sensitivity,
            "allocator": options.allocator,
            "transforms": " ".join(options.transforms) or "none",
            "test_pictures": len(chosen),
            "planned_weight_bits": mixed_plan.predicted["weight_bits"],
            "planned_size_mib": mixed_plan.predicted["size_mib"],
            "planned_latency_ms": mixed_plan.predicted["latency_ms"],
            **_rounds(chosen_by.rounds),
            **facts,
        },
        commands=commands,
    )
    reports.save(f"{folder}/report.json", report)
    return report


def _rounds(rounds: Sequence[Round]) -> dict[str, float]:
    """How planning on measured times went, for a budget of latency."""
    if not rounds:
        return {}
    best = rounds[-1]
    return {"latency_rounds": len(rounds), "foretold_ms": best.planned_ms, "settled_ms": best.measured_ms}


def keep_frames(folder: str, work: Work) -> None:
    """A few test pictures beside the bundle, for the board to time on and to show."""
    os.makedirs(os.path.join(folder, "frames"), exist_ok=True)
    for number, index in enumerate(sample(work.data.test, min(FRAMES, len(work.data.test)), seed=3)):
        picture = cv2.cvtColor(work.data.test.frame(index), cv2.COLOR_RGB2BGR)
        encoded = cv2.imencode(".png", picture)[1].tobytes()
        document.write_bytes(os.path.join(folder, "frames", f"{number}.png"), encoded)


def _simulated(models: dict[str, nn.Module], seen: list[torch.Tensor], labels: np.ndarray | None) -> dict[str, float]:
    """What can be said of accuracy without an engine: the fake-quantized model's answers."""
    said = {
        name: measure.top1(answers(model, seen, bar, f"simulated {name}").numpy()) for name, model in models.items()
    }
    facts = {"simulated_mixed_agreement": float((said["mixed"] == said["fp32"]).mean())}
    if labels is not None:
        facts.update({f"simulated_{name}_top1": float((top == labels).mean()) for name, top in said.items()})
    for name, share in facts.items():
        say(f"{name.replace('_', ' ')}: {share:.2%}")
    return facts


def _rows(
    layers: list[LayerSpec],
    plan: PrecisionPlan,
    table: CostTable,
    options: Mapping[str, tuple[Option, ...]] = MappingProxyType({}),
) -> list[LayerRow]:
    return [
        LayerRow(
            layer=layer.name,
            asked=plans.describe(plan.choices[layer.name]),
            got="unknown",
            weights=layer.weights,
            macs=layer.macs,
            planned_ms=table.get(layer.name, {}).get(plan.choices[layer.name][:2]),
            harm=_harm(plan.choices[layer.name].why),
            why=plan.choices[layer.name].why,
            options=options.get(layer.name, ()),
        )
        for layer in layers
    ]


def _harm(why: str) -> float | None:
    """The score a plan's reason starts with, None for a plan without scores."""
    words = why.replace(";", "").split()
    return float(words[1]) if words[:1] == ["harm"] else None


def main(argv: list[str]) -> int:
    """Run the verb."""
    parser = argparse.ArgumentParser(
        prog="edge-mpq quantize", description="Plan, quantize, export and build in one go."
    )
    arguments.add_model(parser)
    arguments.add_data(parser)
    arguments.add_plan(parser)
    parser.add_argument("--out", required=True, metavar="DIR", help="the bundle to write")
    parser.add_argument("--threads", type=above_zero(int), default=1, metavar="N", help="threads of the engine (1)")
    arguments.add_json(parser)
    args = parser.parse_args(argv)
    arguments.check_plan(args)
    work = arguments.work_of(args)
    options = Options(
        args.budget,
        args.sensitivity,
        args.allocator,
        args.formats,
        args.observer,
        args.rounding,
        args.threads,
        args.transform,
    )
    report = quantize_into(args.out, work, options, ["edge-mpq quantize " + shlex.join(argv)])
    say(text.summary(report))
    return finish({"bundle": args.out, **report.facts, "variants": summaries(report)}, args.json)


def summaries(report: RunReport) -> dict[str, dict]:
    """The figures of each variant, without its layers, for ``--json``."""
    return {
        variant.name: {key: value for key, value in variant._asdict().items() if key not in ("name", "layers")}
        for variant in report.variants
    }
