"""MPTQ-ViT: shifted and smoothed channels, two regions behind GELU, bits by greedy descent.

Three parts (edge_mpq.transforms.shift_smooth, quantizers.twin_region, allocators.greedy_mp), with
rounding to nearest.  What of them a model has no place for falls away: of a convolutional network
only scales move, through its ReLUs.  No engine rounds on two regions, so they are an option;
without it a Sub and Mul behind GELU, where it pays, centres what a symmetric grid then rounds.
"""

import torch
from torch import fx

from edge_mpq import bias_correction, transforms
from edge_mpq import graph as ir
from edge_mpq.calibration import few, inputs_of, ranges_of
from edge_mpq.partial import PartialRun
from edge_mpq.placement import every_tensor
from edge_mpq.planning import plan
from edge_mpq.progress import Progress, silent
from edge_mpq.quantizers import twin_region
from edge_mpq.quantizers.affine import AffineQuantizer
from edge_mpq.quantizing import quantize
from edge_mpq.recipes import Outcome, Task
from edge_mpq.records import formats
from edge_mpq.simulation import ACTIVATIONS, attribute_name
from edge_mpq.transforms import shift_smooth

PAPER = "Tai and Wu, MPTQ-ViT: Mixed-Precision Post-Training Quantization for Vision Transformer, arXiv 2401.14895"
_REWRITES = ("shift_smooth",)


def run(task: Task, progress: Progress = silent, twin: bool = False) -> Outcome:
    """The recipe; see the family's contract.  ``twin`` rounds what GELU writes on two regions, in simulation only."""
    if twin:
        rewrites: tuple[str, ...] = ()
        graph = ir.copied(task.graph)
        graph = shift_smooth.rewritten(graph, task.calibration, task.target, progress, inserts=False)
    else:
        rewrites = _REWRITES
        graph = transforms.apply_all(rewrites, task.graph, task.calibration, task.target, progress)
    symmetric = task.target.scheme.activation == "int8"
    ranges = ranges_of(graph, every_tensor(graph), task.calibration, "mse", symmetric, progress)
    made = plan(
        graph,
        task.example,
        task.calibration,
        task.target,
        task.budget,
        sensitivity="kl",
        allocator="greedy_mp",
        formats=task.formats,
        validation=task.validation,
        ranges=ranges,
        transforms=rewrites,
        progress=progress,
    )
    quantized, _ = quantize(graph, made, task.calibration, rounding="nearest", ranges=ranges, progress=progress)
    count = in_two_regions(quantized, graph, few(task.calibration), progress) if twin else 0
    if count:
        bias_correction.correct(quantized, graph, task.calibration, progress)
    note = f"{count} tensors behind GELU are rounded on two regions, which no engine does" if count else ""
    return Outcome(made, graph, quantized, ranges, int(made.predicted.get("trials", 0)), not count, note)


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
