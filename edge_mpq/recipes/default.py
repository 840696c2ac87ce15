"""What edge-mpq does unless told otherwise: Fisher scores, an exact program, rounding with feedback."""

from edge_mpq.progress import Progress, silent
from edge_mpq.quantizing import quantize
from edge_mpq.recipes import Outcome, Task
from edge_mpq.recipes._planned import planned

PAPER = "edge-mpq: fisher, milp, mse ranges, rounding with error feedback, bias correction"


def run(task: Task, progress: Progress = silent) -> Outcome:
    """The default recipe; see the family's contract."""
    graph, ranges, made, trials = planned(task, progress)
    quantized, _ = quantize(graph, made, task.calibration, ranges=ranges, progress=progress)
    return Outcome(made, graph, quantized, ranges, trials)
