"""Gradient-based PTQ: bits by importance in closed form, weights rounded up or down by gradient.

Yvinec, Dapogny, Bailly, Gradient-Based Post-Training Quantization: Challenging the Status Quo,
arXiv 2308.07662, of which only the abstract could be read: the parts are those it names, each a
reconstruction (sensitivity/importance, allocators/reverse_waterfilling, rounding/learned).
"""

from edge_mpq.progress import Progress, silent
from edge_mpq.quantizing import quantize
from edge_mpq.recipes import Outcome, Task
from edge_mpq.recipes._planned import planned
from edge_mpq.reconstruction import Options, checked
from edge_mpq.rounding.learned import Rule

PAPER = "Yvinec, Dapogny, Bailly: Gradient-Based Post-Training Quantization, arXiv 2308.07662 (from its abstract)"


def run(task: Task, progress: Progress = silent, options: Options = Options()) -> Outcome:  # noqa: B008  immutable
    """The recipe; see the family's contract.  options: the axes, all but their seed, which is the task's."""
    rule = Rule(checked(options)._replace(seed=task.seed))
    graph, ranges, made, trials = planned(
        task, progress, sensitivity="importance", allocator="reverse_waterfilling", rounding=rule
    )
    quantized, _ = quantize(graph, made, task.calibration, rounding=rule, ranges=ranges, progress=progress)
    if options.grid == "uniform":
        return Outcome(made, graph, quantized, ranges, trials)
    note = "weights on grids of powers, which no engine multiplies by"
    return Outcome(made, graph, quantized, ranges, trials, deployable=False, note=note)
