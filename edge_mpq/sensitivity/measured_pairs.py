"""What two rounded layers do together, measured: second differences of the KL divergence.

I_ij(p) = D_ij - D_i - D_j: the divergence of the model's answers with both layers in formats p, less
those with one of them; for layers that stand within ``WITHIN`` places of each other.  The cross
terms of Deng et al., Mixed-Precision Quantization with Cross-Layer Dependencies (CLADO), 2023,
arXiv 2307.05657, in order of L * WITHIN runs for L layers; how scores of layers are raised by them:
edge_mpq/sensitivity/_pairs.py.
"""

from collections.abc import Iterable

import torch
from torch import fx

from edge_mpq.allocators import Interacting, JointTable
from edge_mpq.calibration import inputs_of
from edge_mpq.cost import Menu, Pair
from edge_mpq.errors import CalibrationError
from edge_mpq.partial import PartialRun
from edge_mpq.progress import Progress, silent
from edge_mpq.records.ranges import RangeTable
from edge_mpq.records.target import Target
from edge_mpq.sensitivity import kl
from edge_mpq.sensitivity._pairs import interacting, roundings

WITHIN = 8


@torch.no_grad()
def scores(
    graph: fx.GraphModule,
    menu: Menu,
    calibration: Iterable,
    ranges: RangeTable,
    target: Target,
    progress: Progress = silent,
    within: int = WITHIN,
) -> Interacting:
    """layer -> pair -> KL divergence in nats a picture, with its interactions; ``within`` of len(menu) tries all."""
    tried = roundings(graph, menu, ranges, target)
    place = {name: index for index, name in enumerate(menu)}
    together = [
        (one, other)
        for one in tried
        for other in tried
        if one[1] == other[1] and 0 < place[other[0]] - place[one[0]] <= within
    ]
    alone: dict[tuple[str, Pair], float] = dict.fromkeys(tried, 0.0)
    both = dict.fromkeys(together, 0.0)
    run, seen = PartialRun(graph), 0
    for batch in progress(calibration, "sensitivity (measured_pairs)"):
        reference = run.run(inputs_of(batch))
        for key, rounding in tried.items():
            answers = run.rerun(rounding.changed, rounding.rounders)
            alone[key] += kl.divergence(reference, answers) * len(reference)
        for one, other in together:
            first, second = tried[one], tried[other]
            answers = run.rerun({**first.changed, **second.changed}, {**first.rounders, **second.rounders})
            both[one, other] += kl.divergence(reference, answers) * len(reference)
        seen += len(reference)
    if not seen:
        raise CalibrationError("there is no calibration picture", "give --data a folder with pictures")
    alone = {key: harm / seen for key, harm in alone.items()}
    joint: JointTable = {}
    for (one, other), harm in both.items():
        joint.setdefault((one[0], other[0]), {})[one[1], other[1]] = harm / seen - alone[one] - alone[other]
    return interacting(menu, alone, joint)
