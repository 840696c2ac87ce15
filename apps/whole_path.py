"""Plan, quantize, export, build and measure: from a piece of work to a bundle and its report."""

from datetime import datetime, timezone

import edge_mpq
from apps import first_report, measure
from apps.chosen import Chosen, Laps, Options, chosen, runs_here
from apps.data.kept import keep_frames
from apps.first_report import Written
from apps.terminal import bar
from apps.work import Work
from edge_mpq.histograms import histograms
from edge_mpq.layers import layers_of
from edge_mpq.menu import menu_of
from edge_mpq.planning import cost_tables
from edge_mpq.records import plan as plans
from edge_mpq.records import report as reports
from edge_mpq.records.layer import fingerprint
from edge_mpq.records.plan import Choice
from edge_mpq.records.report import RunReport
from export import bundle_from_torch
from export.bundle_from_torch import Quantized

# Pictures that the histograms of a report are of: their tensors are thousands of values each.
SPREAD_OVER = 16
# What of a plan's own expectations a report repeats.
PREDICTED = ("weight_bits", "size_mib", "latency_ms")


def quantize_into(folder: str, work: Work, options: Options, commands: list[str]) -> RunReport:
    """Plan, quantize and export ``work`` into the bundle ``folder``, build and measure; its report."""
    target = work.target
    made = chosen(work, options)
    graph, plan, lap = made.graph, made.form.plan, Laps()
    layers = layers_of(graph)
    uniform = _uniform_int8(work, made, options.rounding) if target.has_int8 else None
    task = bundle_from_torch.task_of(graph)
    bundle = bundle_from_torch.write(
        folder, work.title, graph, made.form, uniform, target, made.ranges, work.recipe, work.data.classes, task
    )
    keep_frames(folder, work.data.test)
    lap("export_s")
    menu, timing = menu_of(layers, target, options.formats, made.keep), made.by.timing
    latency = cost_tables(layers, menu, target, timing and timing.times)["latency"]
    written = Written(bundle, graph, made.form, uniform, made.by, latency, made.given)
    found = first_report.measured(folder, work, written, runs_here(target), options.threads)
    predicted = {f"planned_{name}": plan.predicted[name] for name in PREDICTED if name in plan.predicted}
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
            **predicted,
            **found.facts,
            **made.facts,
            **lap.facts,
        },
        commands=commands,
        histograms=histograms(made.form.model, graph, plan, next(iter(work.calibration))[:SPREAD_OVER]),
        disagreements=found.disagreements,
    )
    reports.save(f"{folder}/report.json", report)
    return report


def _uniform_int8(work: Work, made: Chosen, rounding: str) -> Quantized:
    """What to compare with: int8 wherever a layer may take it."""
    layers, target = layers_of(made.graph), work.target
    pairs = menu_of(layers, target, ["fp32", "fp16", "w8a8"], made.keep)
    choices = {name: Choice(*row[-1], why="uniform") for name, row in pairs.items()}
    plan = plans.uniform(layers, target, "int8", "int8")
    plan = plan._replace(choices=choices, transforms=made.form.plan.transforms)
    model, _ = edge_mpq.quantize(
        made.graph, plan, work.calibration, rounding=rounding, ranges=made.ranges, progress=bar
    )
    return Quantized(plan, model)
