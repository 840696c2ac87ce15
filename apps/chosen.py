"""A quantized model and how it came to be: by a plan of chosen methods, or by a recipe."""

import importlib.util
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import fx

import edge_mpq
from apps import half
from apps.planned import Planned, planned
from apps.recipe_task import task_of
from apps.terminal import bar, say
from apps.work import Work
from edge_mpq import recipes, transforms
from edge_mpq.calibration import fitted, ranges_of
from edge_mpq.errors import PlanError
from edge_mpq.placement import every_tensor
from edge_mpq.records.ranges import RangeTable
from edge_mpq.records.target import Target
from edge_mpq.simulation import prepared
from export.bundle_from_torch import Quantized


class Options(NamedTuple):
    """How to plan and quantize, as on the command line; a recipe has methods of its own."""

    budget: str | None = None
    sensitivity: str = "fisher"
    allocator: str = "milp"
    formats: list[str] | None = None
    observer: str = "mse"
    rounding: str = "feedback"
    threads: int = 1
    transforms: Sequence[str] = ()
    recipe: str | None = None


class Chosen(NamedTuple):
    """A quantized form, the float graph it was made of, and what a report says of the way there.

    given: the float graph of the model as it came, where the recipe trained or rewrote another.
    keep: layer -> why it stays in fp32.  facts: seconds of each step, and the methods' names.
    """

    graph: fx.GraphModule
    ranges: RangeTable
    form: Quantized
    by: Planned
    keep: dict[str, str]
    facts: dict[str, Any]
    given: fx.GraphModule | None = None


class Laps:
    """Seconds of consecutive steps by name."""

    def __init__(self) -> None:
        self.facts: dict[str, float] = {}
        self._since = time.perf_counter()

    def __call__(self, name: str) -> None:
        """The step that ends now was called ``name``."""
        now = time.perf_counter()
        self.facts[name], self._since = now - self._since, now


def runs_here(target: Target) -> bool:
    """Whether the target's engine is on this machine."""
    return target.backend != "simulation" and importlib.util.find_spec(target.backend) is not None


def chosen(work: Work, options: Options) -> Chosen:
    """``work`` quantized as ``options`` say; PlanError for a recipe whose outcome no engine computes."""
    return _by_methods(work, options) if options.recipe is None else _by_recipe(work, options, options.recipe)


def _by_methods(work: Work, options: Options) -> Chosen:
    target, lap = work.target, Laps()
    graph = transforms.apply_all(options.transforms, prepared(work.model, work.example), work.calibration, target, bar)
    lap("trace_s")
    symmetric = target.scheme.activation == "int8"
    ranges = ranges_of(graph, every_tensor(graph), work.calibration, options.observer, symmetric, bar)
    keep = half.harmed(graph, target, work.calibration, bar)
    for name, why in keep.items():
        say(f"{name} stays in fp32: {why}")
    lap("calibrate_s")
    by = planned(
        work,
        graph,
        ranges,
        keep,
        runs_here(target),
        options.budget,
        options.sensitivity,
        options.allocator,
        options.formats,
        options.threads,
        options.rounding,
    )
    ranges = fitted(ranges, graph, by.plan, target, work.calibration, bar)
    lap("plan_s")
    model, _ = edge_mpq.quantize(
        graph, by.plan, work.calibration, rounding=options.rounding, ranges=ranges, progress=bar
    )
    lap("quantize_s")
    named = {
        "sensitivity": options.sensitivity,
        "allocator": options.allocator,
        "transforms": " ".join(options.transforms) or "none",
    }
    return Chosen(graph, ranges, Quantized(by.plan, model), by, keep, {**named, **lap.facts})


def _by_recipe(work: Work, options: Options, name: str) -> Chosen:
    lap, recipe = Laps(), recipes.get(name)
    task = task_of(work, options.budget, options.formats, seed=0)
    torch.manual_seed(task.seed)
    lap("trace_s")
    outcome = recipe.run(task, bar)
    lap("recipe_s")
    if not outcome.deployable:
        raise PlanError(f"recipe {name}: {outcome.note}", f"edge-mpq compare --recipes {name} shows it simulated")
    by = Planned(outcome.plan, None, [], {})
    facts = {"recipe": name, "paper": recipe.PAPER, "trials": outcome.evaluations, **lap.facts}
    given = None if outcome.graph is task.graph else task.graph
    return Chosen(outcome.graph, outcome.ranges, Quantized(outcome.plan, outcome.quantized), by, {}, facts, given)
