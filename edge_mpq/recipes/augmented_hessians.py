"""Augmented Hessians: an order of layers that knows what two of them do together, and bisection along it.

Under a budget of accuracy (``drop<=0.5%``) each precision is given to the longest stretch of the order
that stays within the drop, at about log2 of the layers in whole-model trials, and the plan must hold
on data the search never saw.  Under other budgets the shortest stretch that meets them is taken, and
nothing is tried.  A reconstruction: of the paper only the abstract could be read.
"""

from edge_mpq.progress import Progress, silent
from edge_mpq.quantizing import quantize
from edge_mpq.recipes import Outcome, Task
from edge_mpq.recipes._planned import planned

PAPER = (
    "Schaefer et al., Augmenting Hessians with Inter-Layer Dependencies for Mixed-Precision "
    "Post-Training Quantization, 2023, arXiv 2306.04879"
)


def run(task: Task, progress: Progress = silent) -> Outcome:
    """The recipe; see the family's contract."""
    graph, ranges, made, trials = planned(task, progress, sensitivity="hessian_pairs", allocator="bisection")
    quantized, _ = quantize(graph, made, task.calibration, ranges=ranges, progress=progress)
    return Outcome(made, graph, quantized, ranges, trials)
