"""What edge-mpq does unless told otherwise: Fisher scores, an exact program, rounding with feedback."""

from edge_mpq.calibration import ranges_of
from edge_mpq.placement import every_tensor
from edge_mpq.planning import plan
from edge_mpq.progress import Progress, silent
from edge_mpq.quantizing import quantize
from edge_mpq.recipes import Outcome, Task

PAPER = "edge-mpq: fisher, milp, mse ranges, rounding with error feedback, bias correction"


def run(task: Task, progress: Progress = silent) -> Outcome:
    """The default recipe; see the family's contract."""
    symmetric = task.target.scheme.activation == "int8"
    ranges = ranges_of(task.graph, every_tensor(task.graph), task.calibration, "mse", symmetric, progress)
    made = plan(
        task.graph,
        task.example,
        task.calibration,
        task.target,
        task.budget,
        formats=task.formats,
        validation=task.validation,
        ranges=ranges,
        progress=progress,
    )
    quantized, _ = quantize(task.graph, made, task.calibration, ranges=ranges, progress=progress)
    return Outcome(made, task.graph, quantized, ranges)
