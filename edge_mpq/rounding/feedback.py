"""Rounding with error feedback: each weight's error is made up for by those not yet rounded.

Columns of W are rounded one by one; the error of a column, divided by its conditional
precision, is subtracted from the later columns so that the output error tr(D H D^T) stays
least.  Frantar et al., GPTQ, ICLR 2023 (after Hassibi and Stork, Optimal Brain Surgeon,
1993): H is damped by 1 % of its mean diagonal, columns are taken by falling diagonal.
Only layers of at most six bits are touched; at eight, the nearest point is as good.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import fx

from edge_mpq import graph as ir
from edge_mpq import simulation
from edge_mpq.hessians import groups_of, rows_of, second_moments
from edge_mpq.progress import Progress, silent
from edge_mpq.quantizers.affine import AffineQuantizer
from edge_mpq.quantizers.blocks import BlockQuantizer

MOST_BITS = 6
DAMPING = 0.01


def apply(quantized: fx.GraphModule, graph: fx.GraphModule, batches: Iterable, progress: Progress = silent) -> None:
    """Replace the weights of narrow layers in ``quantized`` by rounded ones, in place."""
    layers = {name: nodes[0] for name, nodes in ir.weighted(graph).items() if is_narrow(quantized, name, nodes[0])}
    if not layers:
        return
    moments = second_moments(graph, layers, batches, progress)
    for name, node in progress(layers.items(), "rounding with feedback"):
        round_layer(quantized, name, node, moments[name])


def round_layer(quantized: fx.GraphModule, name: str, node: fx.Node, moment: torch.Tensor) -> None:
    """Round the weight of one layer, applied by ``node`` of the float graph, in place."""
    grid = simulation.weight_quantizer(quantized, name)
    path = str(node.args[1].target)
    assert isinstance(grid, AffineQuantizer | BlockQuantizer)
    weight = ir.attribute(quantized, path).detach()
    ir.set_parameter(quantized, path, rounded(weight, moment, grid, groups_of(node)))


def is_narrow(quantized: fx.GraphModule, name: str, node: fx.Node) -> bool:
    """Whether a layer has few bits and a form whose inputs :mod:`edge_mpq.hessians` knows."""
    grid = simulation.weight_quantizer(quantized, name)
    if not isinstance(grid, AffineQuantizer | BlockQuantizer):
        return False
    plain = ir.WEIGHTED[node.target] in ("linear", "conv2d") and node.target != ir.aten.conv2d.padding
    return plain and int(torch.as_tensor(grid.bits).max()) <= MOST_BITS


@torch.no_grad()
def rounded(
    weight: torch.Tensor, moment: torch.Tensor, grid: AffineQuantizer | BlockQuantizer, groups: int = 1
) -> torch.Tensor:
    """``weight`` [K, C/G, ...] on the grid of its channels (axis 0) or blocks, least in error under H ``moment``.

    moment: [G, C, C].
    """
    rows = rows_of(weight, groups).clone()
    order, factor = factored(moment, grid.kept if isinstance(grid, BlockQuantizer) else ())
    points = _Points(grid, groups, rows.shape[2], order)
    back = torch.empty_like(rows)
    back[:, :, order] = torch.from_numpy(_on_grid(rows[:, :, order].numpy(), points, factor.numpy()))
    return back.reshape(weight.shape)


def factored(moment: torch.Tensor, last: torch.Tensor | Sequence[int] = ()) -> tuple[torch.Tensor, torch.Tensor]:
    """The order [C] in which columns are rounded, and upper Cholesky factors [G, C, C] of H^-1 in that order.

    moment: [G, C, C].  last: columns that come behind all others, as those do that are not rounded
    and can make up for everything.
    """
    urgency = torch.diagonal(moment, dim1=1, dim2=2).sum(0)
    urgency[torch.as_tensor(last, dtype=torch.int64)] = -1
    order = urgency.argsort(descending=True)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped(moment[:, order][:, :, order])))
    return order, torch.linalg.cholesky(inverse, upper=True).float()


class _Points:
    """The grid of each column of rows [G, K/G, C], in the order ``order`` of columns."""

    def __init__(self, grid: AffineQuantizer | BlockQuantizer, groups: int, columns: int, order: torch.Tensor):
        if isinstance(grid, BlockQuantizer):
            lowest, highest = (bound.repeat_interleave(grid.block)[order] for bound in grid.bounds())
            scale, zero = (part.repeat_interleave(grid.block, 1)[None, :, order] for part in (grid.scale, grid.zero))
            signs, stays = (grid.bits == 1).repeat_interleave(grid.block)[order], grid.stays()[order]
        else:
            lowest, highest = (torch.full((columns,), float(bound)) for bound in (grid.lowest, grid.highest))
            scale = grid.scale.view(groups, -1, 1).expand(-1, -1, columns)
            zero = torch.zeros(1, 1, columns)
            signs = stays = torch.zeros(columns, dtype=torch.bool)
        self.signs, self.stays = signs.numpy(), stays.numpy()
        self.lowest, self.highest = lowest.numpy(), highest.numpy()
        self.scale, self.zero = scale.numpy(), zero.float().numpy()

    def nearest(self, values: np.ndarray, column: int) -> np.ndarray:
        """The points nearest to ``values`` [G, K/G, 1] of one column; ``values`` where that stays float."""
        if self.stays[column]:
            return values
        scale, zero = self.scale[:, :, column : column + 1], self.zero[:, :, column : column + 1]
        nearest = np.where(values < 0, -1.0, 1.0) if self.signs[column] else np.rint(values / scale)
        codes = np.clip(nearest + zero, self.lowest[column], self.highest[column])
        return (codes - zero) * scale


def damped(moment: torch.Tensor) -> torch.Tensor:
    """H ``moment`` [G, C, C] in float64, made invertible by a share of its mean diagonal."""
    hessian = moment.double()
    mean = torch.diagonal(hessian, dim1=1, dim2=2).mean(1).clamp(min=1e-12)
    return hessian + DAMPING * mean.view(-1, 1, 1) * torch.eye(hessian.shape[1], dtype=hessian.dtype)


def _on_grid(rows: np.ndarray, points: _Points, factor: np.ndarray) -> np.ndarray:
    """The point of every weight of ``rows`` [G, K/G, C], which it uses up.

    In numpy: thousands of steps on small arrays, where torch would wake its threads for each.
    """
    chosen = np.empty_like(rows)
    for column in range(rows.shape[2]):
        current = rows[:, :, column : column + 1]
        chosen[:, :, column : column + 1] = points.nearest(current, column)
        error = (current - chosen[:, :, column : column + 1]) / factor[:, column : column + 1, column : column + 1]
        rows[:, :, column + 1 :] -= error * factor[:, column : column + 1, column + 1 :]
    return chosen
