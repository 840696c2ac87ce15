"""MPTQ-ViT: shifted and smoothed channels, two regions behind GELU, bits by greedy descent.

Three parts (edge_mpq.transforms.shift_smooth, quantizers.twin_region, allocators.greedy_mp), with
rounding to nearest.  What of them a model has no place for falls away: of a convolutional network
only scales move, through its ReLUs.  No engine rounds on two regions, so they are an option;
without it a Sub and Mul behind GELU, where it pays, centres what a symmetric grid then rounds.
"""

import torch
from torch import fx

from edge_mpq import bias_correction
from edge_mpq import graph as ir
from edge_mpq.calibration import few, inputs_of
from edge_mpq.drop import check
from edge_mpq.partial import PartialRun
from edge_mpq.progress import Progress, silent
from edge_mpq.quantizers import twin_region
from edge_mpq.quantizers.affine import AffineQuantizer
from edge_mpq.quantizing import quantize
from edge_mpq.recipes import Outcome, Task
from edge_mpq.recipes._planned import planned
from edge_mpq.records import formats
from edge_mpq.simulation import ACTIVATIONS, attribute_name
from edge_mpq.transforms import shift_smooth

PAPER = "Tai and Wu, MPTQ-ViT: Mixed-Precision Post-Training Quantization for Vision Transformer, arXiv 2401.14895"


def run(task: Task, progress: Progress = silent, twin: bool = False) -> Outcome:
    """The recipe; see the family's contract.  ``twin`` rounds what GELU writes on two regions, in simulation only."""
    mine = None
    if twin:
        mine = ir.copied(task.graph)
        mine = shift_smooth.rewritten(mine, task.calibration, task.target, progress, inserts=False)
    rewrites = () if twin else ("shift_smooth",)
    graph, ranges, made, trials = planned(
        task, progress, rewrites, mine, sensitivity="kl", allocator="greedy_mp", rounding="nearest"
    )
    quantized, _ = quantize(graph, made, task.calibration, rounding="nearest", ranges=ranges, progress=progress)
    count = in_two_regions(quantized, graph, few(task.calibration), progress) if twin else 0
    if count:
        bias_correction.correct(quantized, graph, task.calibration, progress)
        check(quantized, graph, task.budget, task.validation)
    note = f"{count} tensors behind GELU are rounded on two regions, which no engine does" if count else ""
    return Outcome(made, graph, quantized, ranges, trials, not count, note)


@torch.no_grad()
def in_two_regions(quantized: fx.GraphModule, graph: fx.GraphModule, batches: list, progress: Progress = silent) -> int:
    """Round what every GELU of ``quantized`` writes on two regions fitted to ``batches``; how many there were."""
    grids = quantized.get_submodule(ACTIVATIONS)
    behind = {
        node: grids.get_submodule(attribute_name(node.name))
        for node in graph.graph.nodes
        if node.target == ir.aten.gelu.default and hasattr(grids, attribute_name(node.name))
    }
    values: dict[fx.Node, list[torch.Tensor]] = {node: [] for node in behind}
    run = PartialRun(graph)
    for batch in progress(batches, "looking behind GELU"):
        run.run(inputs_of(batch))
        for node, seen in values.items():
            seen.append(run.values[node])
    replaced = 0
    for node, grid in behind.items():
        if isinstance(grid, AffineQuantizer):
            fitted = twin_region.fitted(formats.get(f"int{grid.bits}"), torch.cat(values[node]))
            grids.add_module(attribute_name(node.name), fitted)
            replaced += 1
    return replaced
