"""What most recipes begin with: rewrites, ranges, a plan."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import fx

from edge_mpq import menu as menus
from edge_mpq import transforms
from edge_mpq.calibration import USUAL_BITS, fitted, ranges_of
from edge_mpq.placement import every_tensor
from edge_mpq.planning import plan
from edge_mpq.progress import Progress
from edge_mpq.recipes import Task
from edge_mpq.records import formats
from edge_mpq.records.plan import PrecisionPlan
from edge_mpq.records.ranges import RangeTable


class Planned(NamedTuple):
    """The float graph after rewrites, the ranges of its tensors, its plan, and how many models the plan took."""

    graph: fx.GraphModule
    ranges: RangeTable
    plan: PrecisionPlan
    trials: int


def ranged(task: Task, graph: fx.GraphModule, progress: Progress, rule: str = "mse") -> RangeTable:
    """The ranges of all tensors of ``graph`` by observer ``rule``, as the task's target rounds."""
    symmetric = task.target.scheme.activation == "int8"
    return ranges_of(graph, every_tensor(graph), task.calibration, rule, symmetric, progress)


def at_fewest_bits(rewrite: str, task: Task) -> str:
    """The name of transform ``rewrite`` for the fewest bits that integer activations may have in the task."""
    offered = [formats.get(activation) for _, activation in menus.runnable(task.target, task.formats)]
    return transforms.at_bits(rewrite, min((form.bits for form in offered if not form.is_float), default=USUAL_BITS))


def planned(
    task: Task,
    progress: Progress,
    rewrites: Sequence[str] = (),
    graph: fx.GraphModule | None = None,
    ranges: RangeTable | None = None,
    **methods: Any,
) -> Planned:
    """The plan within the task's budget, and ranges of least squared error at the bits it gives each tensor.

    rewrites: transforms, in order.  graph: the task's after rewrites of the recipe's own, which a plan
    does not name.  ranges: of that graph, where they are known or by another rule.  methods:
    ``sensitivity``, ``allocator``, ``scores``, ``keep``, ``rounding`` as edge_mpq.plan takes them.
    """
    graph = transforms.apply_all(rewrites, graph or task.graph, task.calibration, task.target, progress)
    ranges = ranges or ranged(task, graph, progress)
    made = plan(
        graph,
        task.example,
        task.calibration,
        task.target,
        task.budget,
        formats=task.formats,
        validation=task.validation,
        ranges=ranges,
        transforms=rewrites,
        progress=progress,
        **methods,
    )
    ranges = fitted(ranges, graph, made, task.target, task.calibration, progress)
    return Planned(graph, ranges, made, int(made.predicted.get("trials", 0)))
