"""CPTQuant: a precision for every layer by one cheap score of it, rounding to nearest.

Three scores are the publication's: ``canonical_correlation`` (CMPQ), ``pruning`` (PMPQ) and ``noise``
(TDMPQ as its code has it; ``importance`` and ``fisher`` are the Taylor terms of its name).  By default the
plan is that of least harm within the budget.  With ``mode="kmeans"`` it is the publication's, sorted
clusters of the score, which knows no budget.  A reconstruction from abstract and published code: there
quantized layers were put beside the model and not into it, so its figures are of the float model.
"""

from edge_mpq import menu as menus
from edge_mpq import sensitivity
from edge_mpq.allocators import kmeans
from edge_mpq.calibration import few, fitted
from edge_mpq.errors import UsageError
from edge_mpq.layers import layers_of
from edge_mpq.planning import ties_of
from edge_mpq.progress import Progress, silent
from edge_mpq.quantizing import quantize
from edge_mpq.recipes import Outcome, Task
from edge_mpq.recipes._planned import Planned, planned, ranged
from edge_mpq.records.layer import fingerprint
from edge_mpq.records.plan import Choice, PrecisionPlan
from edge_mpq.sensitivity import canonical_correlation, noise, pruning

PAPER = (
    "A. Nanda, S. B. Balija, D. Sahoo, CPTQuant: A Novel Mixed Precision Post-Training Quantization "
    "Techniques for Large Language Models, arXiv 2412.03599, 2024"
)
MODES = ("budget", "kmeans")
# Scores that the publication clusters; others are clustered by their harm in the narrowest formats.
ALONE = {"canonical_correlation": canonical_correlation.alone, "pruning": pruning.alone, "noise": noise.alone}


def run(task: Task, progress: Progress = silent, score: str = "pruning", mode: str = "budget") -> Outcome:
    """Score, plan and round; see the family's contract.  UsageError for a mode there is not."""
    if mode not in MODES:
        raise UsageError(f"CPTQuant has no mode {mode!r}", "choose one of " + ", ".join(MODES))
    if mode == "budget":
        found = planned(task, progress, sensitivity=score, rounding="nearest")
    else:
        found = _clustered(task, score, progress)
    graph, ranges, made, trials = found
    quantized, _ = quantize(graph, made, task.calibration, rounding="nearest", ranges=ranges, progress=progress)
    note = "" if mode == "budget" else f"clusters of {score}, which know nothing of the budget {task.budget}"
    return Outcome(made, graph, quantized, ranges, trials, note=note)


def _clustered(task: Task, score: str, progress: Progress) -> Planned:
    """The plan of the clusters of a score, whatever it costs."""
    graph, batches, layers = task.graph, few(task.calibration), layers_of(task.graph)
    ranges = ranged(task, graph, progress)
    menu = menus.menu_of(layers, task.target, task.formats)
    if score in ALONE:
        values = ALONE[score](graph, menu, batches, progress)
    else:
        table = sensitivity.get(score).scores(graph, menu, batches, ranges, task.target, progress)
        values = {name: max(row.values()) for name, row in table.items()}
    chosen = kmeans.clustered(values, menu, ties_of(layers))
    choices = {name: Choice(*pair, why=f"{score} {values[name]:.2g}") for name, pair in chosen.items()}
    made = PrecisionPlan(fingerprint(layers), task.target.name, choices, sensitivity=score, allocator="kmeans")
    return Planned(graph, fitted(ranges, graph, made, task.target, task.calibration, progress), made, 0)
