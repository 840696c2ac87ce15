"""Error feedback that makes up for the layers before as well: what is read is rounded, what is aimed at is not.

Each layer is rounded in turn.  It reads what the layers already rounded give it, x~, and aims at
what the float model makes of its own inputs, W x.  Least squares moves the weights first,
W' = W + W E[(x - x~) x~^T] (H + damping)^-1 with H = E[x~ x~^T]; then edge_mpq.rounding.feedback rounds W'
under H, and both together are the least of |W x - W^ x~|^2 that it can find.  Li et al., GPTAQ:
Efficient Finetuning-Free Quantization for Asymmetric Calibration, ICML 2025, arXiv 2504.02692, state the
problem; they spread the correction over the columns as they are rounded.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import fx

from edge_mpq import graph as ir
from edge_mpq import simulation
from edge_mpq.calibration import inputs_of
from edge_mpq.hessians import columns_of, groups_of, rows_of
from edge_mpq.progress import Progress, silent
from edge_mpq.quantizers.affine import AffineQuantizer
from edge_mpq.quantizers.blocks import BlockQuantizer
from edge_mpq.reconstruction import units
from edge_mpq.rounding import feedback

# Positions of a feature map are strongly correlated: these many columns a layer and batch will do.
MOST_COLUMNS = 4096


@torch.no_grad()
def apply(quantized: fx.GraphModule, graph: fx.GraphModule, batches: Iterable, progress: Progress = silent) -> None:
    """Replace the weights of narrow layers in ``quantized`` by rounded ones, in place.

    Holds, for all pictures, the tensors of both graphs that are still to be read.
    """
    floats = {name: nodes[0] for name, nodes in ir.weighted(graph).items()}
    narrow = [name for name, node in floats.items() if feedback.is_narrow(quantized, name, node)]
    pictures = [inputs_of(batch) for batch in batches]
    ahead, behind = units.Walk(graph, pictures), units.Walk(quantized, pictures)
    draw = torch.Generator().manual_seed(0)
    for unit in progress(units.layers(quantized, narrow), "rounding with feedback"):
        name = unit.layers[0]
        node, first = floats[name], units.between(unit.source, unit.output)[0]
        read, wanted = behind.before(first, unit.source), ahead.before(node, node.args[0])
        moment, missed = _moments(node, read, wanted, draw)
        grid = simulation.weight_quantizer(quantized, name)
        assert isinstance(grid, AffineQuantizer | BlockQuantizer)
        path, groups = str(node.args[1].target), groups_of(node)
        weight = ir.attribute(quantized, path).detach()
        aimed = corrected(rows_of(weight, groups), moment, missed).reshape(weight.shape)
        ir.set_parameter(quantized, path, feedback.rounded(aimed, moment, grid, groups))


def _moments(
    node: fx.Node, read: Sequence[torch.Tensor], wanted: Sequence[torch.Tensor], draw: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """E[x~ x~^T] and E[(x - x~) x~^T], both [G, C, C], of what a layer reads and should have read, by batches."""
    moment = missed = torch.zeros(())
    count = 0
    for one, other in zip(read, wanted, strict=True):
        columns, floats = columns_of(node, one), columns_of(node, other)
        if columns.shape[2] > MOST_COLUMNS:
            some = torch.randint(columns.shape[2], (MOST_COLUMNS,), generator=draw)
            columns, floats = columns[:, :, some], floats[:, :, some]
        moment = moment + columns @ columns.transpose(1, 2)
        missed = missed + (floats - columns) @ columns.transpose(1, 2)
        count += columns.shape[2]
    return moment / count, missed / count


def corrected(rows: torch.Tensor, moment: torch.Tensor, missed: torch.Tensor) -> torch.Tensor:
    """``rows`` [G, K/G, C] that come nearest, on the inputs of ``moment``, to what they make of the ones missed."""
    damped = feedback.damped(moment)
    return rows + torch.linalg.solve(damped, (rows @ missed).double().transpose(1, 2)).transpose(1, 2).float()
