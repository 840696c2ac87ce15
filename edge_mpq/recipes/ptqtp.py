"""PTQTP: weights of four bits as two planes of trits, without training and without data.

The plan is the default's, within whatever budget; every weight that it gives four bits takes the nine
values of two planes in place of the fifteen of INT4, and the rest is rounded to nearest.  Block-wise
weights (``w4b128``) take planes with scales of their own where the target has two-bit blocks to run them as two
products and a sum.  Everywhere else the planes are tied, which is an INT4 tensor of any engine: by block, or by
output channel where the plan has no blocks, as in convolutions.

At equal bytes INT4 itself errs less (edge_mpq.quantizers.trit_planes); this is here to be compared.
"""

from collections.abc import Iterable

import torch
from torch import fx

from edge_mpq import graph as ir
from edge_mpq import hessians, simulation
from edge_mpq.errors import UsageError
from edge_mpq.progress import Progress, silent
from edge_mpq.quantizers import trit_planes
from edge_mpq.quantizers.affine import AffineQuantizer
from edge_mpq.quantizers.blocks import BlockQuantizer
from edge_mpq.quantizing import quantize
from edge_mpq.recipes import Outcome, Task
from edge_mpq.recipes._planned import planned
from edge_mpq.records.target import Target
from edge_mpq.rounding import feedback
from edge_mpq.simulation import set_weight_quantizer

PAPER = (
    "H. Xiao, R. Yang, Q. Yang, W. Xu, Z. Li, Y. Su, Z. Liu, H. Yang, N. Wong, PTQTP: Post-Training Quantization "
    "to Trit-Planes for Large Language Models, arXiv 2509.16989"
)


class TritPlanes:
    """Rounding that puts every weight of four bits on trit planes; the others go to the nearest point of their grid.

    variant: one of edge_mpq.quantizers.trit_planes, for blocks that ``target`` runs as two planes.
    weighted: whether errors count by the mean square of what they meet, which needs batches.
    """

    def __init__(self, target: Target, variant: str = "free", weighted: bool = False):
        self.target, self.variant, self.weighted = target, variant, weighted

    @torch.no_grad()
    def apply(
        self, quantized: fx.GraphModule, graph: fx.GraphModule, batches: Iterable, progress: Progress = silent
    ) -> None:
        """Replace grids and weights in place; see edge_mpq.rounding."""
        layers = {name: nodes[0] for name, nodes in ir.weighted(quantized).items() if _is_narrow(quantized, name)}
        known = [name for name, node in layers.items() if self.weighted and feedback.is_narrow(quantized, name, node)]
        meant = hessians.second_moments(graph, known, batches, progress) if known else {}
        for name, node in progress(layers.items(), "trit planes"):
            moment = meant.get(name)
            importance = moment[0].diagonal() if moment is not None and len(moment) == 1 else None
            self._put(quantized, name, node, importance)

    def _put(self, quantized: fx.GraphModule, name: str, node: fx.Node, importance: torch.Tensor | None) -> None:
        grid = simulation.weight_quantizer(quantized, name)
        source = ir.weight_of(node)
        assert source is not None
        path = str(source.target)
        weight = ir.attribute(quantized, path).detach()
        if isinstance(grid, BlockQuantizer):
            variant = self.variant if f"int2b{grid.block}" in self.target.weight_formats else "tied"
            planes = trit_planes.fitted(weight, grid.block, variant, importance)
            set_weight_quantizer(quantized, name, planes if variant != "tied" else trit_planes.integer_grid(planes))
            ir.set_parameter(quantized, path, planes(weight))
        elif isinstance(grid, AffineQuantizer):
            turned = weight.transpose(0, grid.axis or 0)
            rows = turned.reshape(len(turned), -1)
            counts = None if importance is None else importance[None]
            least = simulation.least_scale(quantized, node, len(rows))
            step = torch.maximum(trit_planes.tied_steps(rows, counts), least)
            step = torch.where(step > 0, step, grid.scale)
            codes = torch.round(rows / step[:, None]).clamp(-4, 4)
            set_weight_quantizer(quantized, name, AffineQuantizer(step, torch.zeros_like(step), 4, True, grid.axis))
            tied = (codes * step[:, None]).reshape(turned.shape).transpose(0, grid.axis or 0)
            ir.set_parameter(quantized, path, tied.contiguous())


def _is_narrow(quantized: fx.GraphModule, name: str) -> bool:
    grid = simulation.weight_quantizer(quantized, name)
    if isinstance(grid, BlockQuantizer):
        return grid.symmetric and bool((grid.bits == 4).all())
    return isinstance(grid, AffineQuantizer) and grid.bits == 4


def run(task: Task, progress: Progress = silent, variant: str = "free", weighted: bool = False) -> Outcome:
    """The recipe; see the family's contract, and :class:`TritPlanes` for the options, UsageError for others."""
    if variant not in trit_planes.VARIANTS:
        raise UsageError(f"no trit planes are called {variant!r}", "choose one of " + ", ".join(trit_planes.VARIANTS))
    rule = TritPlanes(task.target, variant, weighted)
    graph, ranges, made, trials = planned(task, progress, rounding=rule)
    quantized, _ = quantize(graph, made, task.calibration, rounding=rule, ranges=ranges, progress=progress)
    return Outcome(made, graph, quantized, ranges, trials)
