"""Change the weight of one layer in a way that knows no bits, and see how far the answers move.

What is measured tells layers apart, not formats; the power of the noise that rounding puts into
what a layer computes, as a share of its signal's, tells formats apart (edge_mpq/sensitivity/relevance.py), and
their product both.
"""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import fx

from edge_mpq import graph as ir
from edge_mpq.allocators import ScoreTable
from edge_mpq.calibration import inputs_of
from edge_mpq.cost import Menu
from edge_mpq.errors import CalibrationError
from edge_mpq.partial import PartialRun
from edge_mpq.progress import Progress
from edge_mpq.records.ranges import RangeTable
from edge_mpq.records.target import Target
from edge_mpq.sensitivity import kl
from edge_mpq.sensitivity._one_at_a_time import widen
from edge_mpq.sensitivity.relevance import layer_noise

# A weight -> what it is changed to, one after the other.
Probes = Callable[[torch.Tensor], Sequence[torch.Tensor]]


def scores(
    graph: fx.GraphModule,
    menu: Menu,
    calibration: Iterable,
    ranges: RangeTable,
    target: Target,
    progress: Progress,
    probes: Probes,
    what: str,
) -> ScoreTable:
    """layer -> pair -> divergence of the answers under the probes, in nats a picture, times the share of noise."""
    batches = list(calibration)
    far = moved(graph, menu, batches, probes, progress, what)
    noise = layer_noise(graph, menu, batches, ranges, target, progress)
    return {name: widen({pair: far[name] * noise[name][pair] for pair in pairs}) for name, pairs in menu.items()}


@torch.no_grad()
def moved(
    graph: fx.GraphModule, names: Iterable[str], batches: Iterable, probes: Probes, progress: Progress, what: str
) -> dict[str, float]:
    """layer -> mean divergence of the answers over its probes, the other layers as they are, in nats a picture."""
    wanted = set(names)
    parameters = {name: found[0].args[1] for name, found in ir.weighted(graph).items() if name in wanted}
    changed = {name: probes(ir.attribute(graph, str(node.target)).detach()) for name, node in parameters.items()}
    far, seen = dict.fromkeys(parameters, 0.0), 0
    run = PartialRun(graph)
    for batch in progress(batches, what):
        reference = run.run(inputs_of(batch))
        for name, parameter in parameters.items():
            each = [kl.divergence(reference, run.rerun({parameter: weight})) for weight in changed[name]]
            far[name] += sum(each) / len(each) * len(reference)
        seen += len(reference)
    if not seen:
        raise CalibrationError("there is no calibration picture", "give --data a folder with pictures")
    return {name: total / seen for name, total in far.items()}
