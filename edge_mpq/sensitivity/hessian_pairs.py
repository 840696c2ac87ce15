"""The Hessian between layers: what the rounding errors of two of them do together, to second order.

I_ij(p, q) = d_i(p)^T H d_j(q) for the errors d of layers i and j in formats p and q, of weights and
reads, and harm alone 1/2 d_i^T H d_i.  H = J^T A J is the Hessian of the loss
(edge_mpq/sensitivity/_curvature.py): one forward product J d for each layer and pair gives the
whole table, at the cost of half a product H d.

How scores of layers are raised: edge_mpq/sensitivity/_pairs.py.  The cross terms as in Deng et al.,
Mixed-Precision Quantization with Cross-Layer Dependencies (CLADO), 2023, arXiv 2307.05657, which measures them.
"""

from collections.abc import Callable, Iterable

import torch
from torch import fx
from torch.autograd import forward_ad
from torch.nn.attention import SDPBackend, sdpa_kernel

from edge_mpq.allocators import Interacting, JointTable
from edge_mpq.calibration import inputs_of
from edge_mpq.cost import Menu
from edge_mpq.errors import CalibrationError
from edge_mpq.likelihood import classes
from edge_mpq.partial import PartialRun
from edge_mpq.progress import Progress, silent
from edge_mpq.records.ranges import RangeTable
from edge_mpq.records.target import Target
from edge_mpq.sensitivity._curvature import felt
from edge_mpq.sensitivity._pairs import Rounding, interacting, roundings


@torch.no_grad()
def scores(
    graph: fx.GraphModule,
    menu: Menu,
    calibration: Iterable,
    ranges: RangeTable,
    target: Target,
    progress: Progress = silent,
) -> Interacting:
    """layer -> pair -> predicted rise of the loss in nats a picture, with its interactions."""
    tried = roundings(graph, menu, ranges, target)
    products, seen = torch.zeros(len(tried), len(tried), dtype=torch.float64), 0
    run = PartialRun(graph)
    with sdpa_kernel(SDPBackend.MATH):  # the fused kernels of attention have no forward derivative
        for batch in progress(calibration, "sensitivity (hessian_pairs)"):
            logits = run.run(inputs_of(batch))
            moved = torch.stack([felt(classes(logits), _motion(run, one)).flatten() for one in tried.values()])
            products += (moved @ moved.T).double()
            seen += len(logits)
    if not seen:
        raise CalibrationError("there is no calibration picture", "give --data a folder with pictures")
    table = (products / seen).tolist()
    alone = {key: 0.5 * table[index][index] for index, key in enumerate(tried)}
    joint: JointTable = {}
    for row, (name, pair) in enumerate(tried):
        for column, (other, its) in enumerate(tried):
            if row < column and name != other:
                joint.setdefault((name, other), {})[pair, its] = table[row][column]
    return interacting(menu, alone, joint)


def _motion(run: PartialRun, rounding: Rounding) -> torch.Tensor:
    """J d: how fast the logits of the batch in ``run`` move as a rounding begins, [N, K, ...]."""
    with forward_ad.dual_level():
        changed = {
            node: forward_ad.make_dual(run.values[node], rounded - run.values[node])
            for node, rounded in rounding.changed.items()
        }
        rounders = {node: _beginning(rounder) for node, rounder in rounding.rounders.items()}
        logits, motion = forward_ad.unpack_dual(classes(run.rerun(changed, rounders)))
        return torch.zeros_like(logits) if motion is None else motion


def _beginning(rounder: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
    """Reads that begin to move as ``rounder`` will move them, beside any motion they already have."""

    def moving(values: torch.Tensor) -> torch.Tensor:
        at_rest = forward_ad.unpack_dual(values).primal
        return values + forward_ad.make_dual(torch.zeros_like(at_rest), rounder(at_rest) - at_rest)

    return moving
