"""Gradient-based PTQ: bits by importance in closed form, weights rounded up or down by gradient.

Yvinec, Dapogny, Bailly, Gradient-Based Post-Training Quantization: Challenging the Status Quo,
arXiv 2308.07662, of which only the abstract could be read: the parts are those it names, each a
reconstruction (sensitivity/importance, allocators/reverse_waterfilling, rounding/learned).
"""

from edge_mpq.calibration import ranges_of
from edge_mpq.placement import every_tensor
from edge_mpq.planning import plan
from edge_mpq.progress import Progress, silent
from edge_mpq.quantizing import quantize
from edge_mpq.recipes import Outcome, Task
from edge_mpq.reconstruction import Options
from edge_mpq.rounding.learned import Rule

PAPER = "Yvinec, Dapogny, Bailly: Gradient-Based Post-Training Quantization, arXiv 2308.07662 (from its abstract)"


def run(task: Task, progress: Progress = silent) -> Outcome:
    """The recipe; see the family's contract."""
    symmetric = task.target.scheme.activation == "int8"
    ranges = ranges_of(task.graph, every_tensor(task.graph), task.calibration, "mse", symmetric, progress)
    made = plan(
        task.graph,
        task.example,
        task.calibration,
        task.target,
        task.budget,
        sensitivity="importance",
        allocator="reverse_waterfilling",
        formats=task.formats,
        validation=task.validation,
        ranges=ranges,
        progress=progress,
    )
    rule = Rule(Options(seed=task.seed))
    quantized, _ = quantize(task.graph, made, task.calibration, rounding=rule, ranges=ranges, progress=progress)
    return Outcome(made, task.graph, quantized, ranges)
