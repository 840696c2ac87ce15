"""Plan, quantize, export, build and measure: from a piece of work to a bundle and its report."""

import importlib.util
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any, NamedTuple

import edge_mpq
from apps import first_report, half, measure
from apps.data.kept import keep_frames
from apps.first_report import Written
from apps.planned import planned
from apps.terminal import bar, say
from apps.work import Work
from edge_mpq import transforms
from edge_mpq.calibration import ranges_of
from edge_mpq.histograms import histograms
from edge_mpq.layers import layers_of
from edge_mpq.menu import menu_of
from edge_mpq.placement import every_tensor
from edge_mpq.planning import cost_tables
from edge_mpq.records import plan as plans
from edge_mpq.records import report as reports
from edge_mpq.records.layer import LayerSpec, fingerprint
from edge_mpq.records.plan import Choice, PrecisionPlan
from edge_mpq.records.report import RunReport
from edge_mpq.records.target import Target
from edge_mpq.simulation import prepared
from export import bundle_from_torch
from export.bundle_from_torch import Quantized

# Pictures that the histograms of a report are of: their tensors are thousands of values each.
SPREAD_OVER = 16


class Options(NamedTuple):
    """How to plan, as on the command line."""

    budget: str | None = None
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
    lap("trace_s")
    symmetric = target.scheme.activation == "int8"
    ranges = ranges_of(graph, every_tensor(graph), work.calibration, options.observer, symmetric, bar)
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
    plan = chosen_by.plan
    lap("plan_s")

    def quantized(plan: PrecisionPlan) -> Quantized:
        model, _ = edge_mpq.quantize(
            graph, plan, work.calibration, rounding=options.rounding, ranges=ranges, progress=bar
        )
        return Quantized(plan, model)

    mixed = quantized(plan)
    lap("quantize_s")
    uniform = quantized(_uniform_int8(layers, target, keep, plan)) if target.has_int8 else None
    task = bundle_from_torch.task_of(graph)
    bundle = bundle_from_torch.write(
        folder, work.title, graph, mixed, uniform, target, ranges, work.recipe, work.data.classes, task
    )
    keep_frames(folder, work.data.test)
    lap("export_s")
    menu, timing = menu_of(layers, target, options.formats, keep), chosen_by.timing
    latency = cost_tables(layers, menu, target, timing and timing.times)["latency"]
    written = Written(bundle, graph, mixed, uniform, chosen_by, latency)
    found = first_report.measured(folder, work, written, runs_here, options.threads)
    report = RunReport(
        title=f"{work.title} on {target.name}",
        created=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        target=target.name,
        machine=measure.machine(options.threads),
        variants=found.variants,
        facts={
            "budget": plan.budget,
            "data": work.data.name,
            "model_fingerprint": fingerprint(layers),
            "sensitivity": options.sensitivity,
            "allocator": options.allocator,
            "transforms": " ".join(options.transforms) or "none",
            "planned_weight_bits": plan.predicted["weight_bits"],
            "planned_size_mib": plan.predicted["size_mib"],
            "planned_latency_ms": plan.predicted["latency_ms"],
            **found.facts,
            **facts,
        },
        commands=commands,
        histograms=histograms(mixed.model, graph, plan, next(iter(work.calibration))[:SPREAD_OVER]),
        disagreements=found.disagreements,
    )
    reports.save(f"{folder}/report.json", report)
    return report


def _uniform_int8(layers: list[LayerSpec], target: Target, keep: dict[str, str], mixed: PrecisionPlan) -> PrecisionPlan:
    """The plan to compare with: int8 wherever a layer may take it."""
    pairs = menu_of(layers, target, ["fp32", "fp16", "w8a8"], keep)
    choices = {name: Choice(*row[-1], why="uniform") for name, row in pairs.items()}
    return plans.uniform(layers, target, "int8", "int8")._replace(choices=choices, transforms=mixed.transforms)
