"""LRP-QViT: bits by relevance, after clipping what normalizations write channel by channel.

Ranjan and Savakis, LRP-QViT: Mixed-Precision Vision Transformer Quantization via Layer-wise
Relevance Propagation, 2024, arXiv 2401.11243: no plan is tried, and no weight is learned.  Its score
and clip are reconstructions (edge_mpq.sensitivity.relevance, edge_mpq.transforms.channel_clip).
Its logarithmic grid for what softmax writes is left out: no engine runs one.  Bits between 8 and 4
are simulated; what deploys are those that the target stores.
"""

from edge_mpq.progress import Progress, silent
from edge_mpq.quantizing import quantize
from edge_mpq.recipes import Outcome, Task
from edge_mpq.recipes._planned import at_fewest_bits, planned

PAPER = (
    "N. Ranjan, A. Savakis, LRP-QViT: Mixed-Precision Vision Transformer Quantization via Layer-wise "
    "Relevance Propagation, arXiv 2401.11243, 2024"
)


def run(task: Task, progress: Progress = silent) -> Outcome:
    """Clip, score by relevance, the plan of least total harm, rounding to nearest; see the family's contract."""
    rewrites = [at_fewest_bits("channel_clip", task)]
    graph, ranges, made, trials = planned(task, progress, rewrites, sensitivity="relevance", rounding="nearest")
    quantized, _ = quantize(graph, made, task.calibration, rounding="nearest", ranges=ranges, progress=progress)
    return Outcome(made, graph, quantized, ranges, trials)
