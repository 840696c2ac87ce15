"""The ways to train and quantize one wildfire model: float, in mixed precision, after training, and while training.

Briley and Afghah, Hardware Acceleration for Real-Time Wildfire Detection Onboard Drone
Networks, INFOCOM workshops 2024, arXiv 2401.08105, compare quantization-aware training,
automatic mixed precision and quantization after training; of their tables and training only
the abstract could be read, so what is varied beyond that is a reconstruction.
"""

import argparse
import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import fx, nn

from apps import half
from apps.data.calibration import Calibration
from apps.data.subset import Subset
from apps.leaderboard import runs_here
from apps.planned import planned
from apps.terminal import bar, say
from apps.train_session import Session
from apps.wildfire import training
from apps.wildfire.training import Job
from apps.work import Work
from edge_mpq import quantize
from edge_mpq.calibration import ranges_of
from edge_mpq.cost import Menu, Pair
from edge_mpq.layers import layers_of
from edge_mpq.loading import load_model
from edge_mpq.menu import menu_of
from edge_mpq.placement import every_tensor
from edge_mpq.records import formats as number_formats
from edge_mpq.records import plan as plans
from edge_mpq.records.layer import LayerSpec
from edge_mpq.records.plan import Choice, PrecisionPlan
from edge_mpq.records.ranges import RangeTable
from edge_mpq.records.target import Target
from edge_mpq.simulation import prepared
from edge_mpq.training import qat
from export.bundle_from_torch import Quantized

# Learning on grids starts from a trained model: a tenth of the rate of training suffices.
QAT_RATE = 2e-4
BITS = 5
# A layer that is left in fp32 between integers costs conversions, and the speed that is compared here.
FORMATS = ["w8a8", "w4a8"]


class Way(NamedTuple):
    """A model ready to be exported.  graph: its float form, folded.  form: its plan and simulation, None in float.

    refused: why there is none on the target, or ''.  train_s: training, on top of the model it starts from.
    """

    name: str
    graph: fx.GraphModule | None
    form: Quantized | None = None
    train_s: float = 0.0
    refused: str = ""


class HeldOutWork(Work):
    """Work whose plans are tried on pictures that were held out of training."""

    held: list

    def validation(self) -> list:
        return self.held


def all_ways(args: argparse.Namespace, job: Job, target: Target) -> Iterator[Way]:
    """Every way, in the order of a table.  Training goes on where an earlier run into the same folder stopped."""
    whole, seconds = _trained(args, job, "fp32", "fp32")
    example = job.held[0][0][:1]
    graph = prepared(whole, example)
    yield Way("fp32", graph, train_s=seconds)
    precision = "fp16" if args.device != "cpu" and torch.cuda.is_available() else "bf16"
    mixed, seconds = _trained(args, job, "amp", precision)
    yield Way("AMP-trained", prepared(mixed, example), train_s=seconds)
    calibration = Calibration(Subset(job.parts.data.train, job.parts.learned), job.recipe, args.calibration)
    ranges = ranges_of(graph, every_tensor(graph), calibration, "mse", target.scheme.activation == "int8", bar)
    keep = half.harmed(graph, target, calibration, bar)
    work = HeldOutWork(args.model, whole, job.parts.data, job.recipe, example, calibration, target)
    work.held = job.held
    formats = args.formats or (FORMATS if target.has_int8 else None)
    layers = layers_of(graph)
    budget = args.budget or usual_budget(layers, menu_of(layers, target, formats, keep))
    chosen = planned(work, graph, ranges, keep, runs_here(target), budget, "fisher", "milp", formats, args.threads).plan
    made = {"int8": _int8(graph, target, keep), "mixed": chosen}
    for name, plan in made.items():
        yield _after(f"PTQ {name}", graph, plan, calibration, ranges) if plan else _refused(f"PTQ {name}", target)
    for name, plan in made.items():
        title = f"QAT {name}"
        yield _aware(args, job, title, whole, example, plan, ranges) if plan else _refused(title, target)


def usual_budget(layers: Sequence[LayerSpec], menu: Menu) -> str:
    """The budget where none is given: ``BITS`` a weight, and of layers that may not have so few what they may.

    So there is a mix of 8 and 4 bits on integers, and half precision where there are none.
    """
    shared: dict[str, set[Pair]] = {}
    for layer in layers:  # tied layers take a pair that all of them may take
        key = layer.tie or layer.name
        shared[key] = shared.get(key, set(menu[layer.name])) & set(menu[layer.name])
    spent = 0
    for layer in layers:
        pairs = shared[layer.tie or layer.name] or menu[layer.name]
        spent += layer.weights * max(BITS, min(number_formats.get(weight).bits for weight, _ in pairs))
    return f"size<={math.ceil(1e4 * spent / sum(layer.weights for layer in layers)) / 1e4}bits"


def _trained(args: argparse.Namespace, job: Job, name: str, precision: str) -> tuple[nn.Module, float]:
    """The task's model trained in ``precision``, and the seconds that took."""
    settings = _settings(args, job, name, {"precision": precision}, job.score)
    say(f"training in {precision}")
    model = load_model(args.model, args.weights, args.seed)
    log = training.fitted(job, model, args.epochs, settings, not args.no_balance)
    return model, sum(epoch.seconds for epoch in log)


def _settings(args: argparse.Namespace, job: Job, name: str, facts: dict[str, Any], score: Any) -> dict[str, Any]:
    """Of a training of its own folder, which goes on where it was cut."""
    own = {"out": f"{args.out}/{name}", "resume": True, "precision": facts["precision"]}
    session = Session(argparse.Namespace(**{**vars(args), **own}))
    return session.settings({**training.facts_of(args, job), **facts}, score)


def _int8(graph: fx.GraphModule, target: Target, keep: dict[str, str]) -> PrecisionPlan | None:
    """int8 wherever a layer may take it; None where the target has no integers."""
    if not target.has_int8:
        return None
    layers = layers_of(graph)
    menu = menu_of(layers, target, ["fp32", "fp16", "w8a8"], keep)
    choices = {name: Choice(*row[-1], why="uniform") for name, row in menu.items()}
    return plans.uniform(layers, target, "int8", "int8")._replace(choices=choices)


def _refused(name: str, target: Target) -> Way:
    runs = ", ".join(target.activation_formats)
    why = f"{target.title} has no INT8 kernels: it runs {runs}, so integers would cost accuracy and win no time"
    return Way(name, None, refused=why)


def _after(name: str, graph: fx.GraphModule, plan: PrecisionPlan, calibration: Calibration, ranges: RangeTable) -> Way:
    model, _ = quantize(graph, plan, calibration, ranges=ranges, progress=bar)
    return Way(name, graph, Quantized(plan, model))


def _aware(
    args: argparse.Namespace,
    job: Job,
    name: str,
    whole: nn.Module,
    example: torch.Tensor,
    plan: PrecisionPlan,
    ranges: RangeTable,
) -> Way:
    """``whole`` fine-tuned under ``plan``; codes of eight bits want fp32 to be rounded in."""
    digest = hashlib.sha256(json.dumps(plans.to_json(plan), sort_keys=True).encode()).hexdigest()[:16]
    facts = {"precision": "fp32", "plan": digest, "ranges": ranges.data}
    settings = _settings(args, job, name.replace(" ", "-").lower(), facts, None)
    settings["learning_rate"] = QAT_RATE if args.rate is None else 0.1 * args.rate
    say(f"{name}: {args.qat_epochs} epochs")
    trained = qat.fit(
        whole,
        example,
        plan,
        ranges,
        job.shuffled,
        args.qat_epochs,
        progress=bar,
        loss=job.task.loss(job.labels, not args.no_balance),
        **settings,
    )
    seconds = sum(epoch.seconds for epoch in trained.log)
    return Way(name, trained.graph, Quantized(plan, trained.model), seconds)
