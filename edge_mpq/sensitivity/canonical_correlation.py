"""How little what a layer writes resembles what the others write, times the noise that rounding puts into it.

harm = (1 - mean over others k of sim(l, k)) |noise|**2 / |signal|**2: sim is the mean of all canonical
correlations between what two layers write of each picture, pooled over its places, and the quotient
that of edge_mpq/sensitivity/relevance.py.  The first correlation alone is near one for any two layers of
a network and ranks them wrongly.

CMPQ of Nanda, Balija and Sahoo, CPTQuant: A Novel Mixed Precision Post-Training Quantization
Techniques for Large Language Models, 2024, arXiv 2412.03599, who take the first correlation and one number
for all widths.  Hotelling, Relations between Two Sets of Variates, 1936.

Axis letters: N pictures, D features kept of a layer.
"""

from collections.abc import Iterable

import torch
from torch import fx

from edge_mpq import graph as ir
from edge_mpq.allocators import ScoreTable
from edge_mpq.calibration import inputs_of
from edge_mpq.cost import Menu
from edge_mpq.errors import CalibrationError
from edge_mpq.partial import PartialRun
from edge_mpq.progress import Progress, silent
from edge_mpq.records.ranges import RangeTable
from edge_mpq.records.target import Target
from edge_mpq.sensitivity._one_at_a_time import widen
from edge_mpq.sensitivity.relevance import layer_noise

# Directions kept of a layer, at most, and pictures that each needs.
MOST, PICTURES = 32, 5
RIDGE = 1e-2


def scores(
    graph: fx.GraphModule,
    menu: Menu,
    calibration: Iterable,
    ranges: RangeTable,
    target: Target,
    progress: Progress = silent,
) -> ScoreTable:
    """layer -> pair -> unlikeness times noise as a share of the layer's signal."""
    batches = list(calibration)
    noise = layer_noise(graph, menu, batches, ranges, target, progress)
    apart = alone(graph, menu, batches, progress)
    return {name: widen({pair: apart[name] * noise[name][pair] for pair in pairs}) for name, pairs in menu.items()}


def alone(
    graph: fx.GraphModule, names: Iterable[str], batches: Iterable, progress: Progress = silent
) -> dict[str, float]:
    """layer -> 1 less its mean similarity with each other layer, 1 where there is none: the score, of no width."""
    kept = {name: whitened(values) for name, values in written(graph, names, batches, progress).items()}
    table = {}
    for name, mine in kept.items():
        others = [correlations(mine, its).mean().item() for other, its in kept.items() if other != name]
        table[name] = 1.0 - sum(others) / len(others) if others else 1.0
    return table


@torch.no_grad()
def written(
    graph: fx.GraphModule, names: Iterable[str], batches: Iterable, progress: Progress = silent
) -> dict[str, torch.Tensor]:
    """layer -> what it writes of every picture, the mean over places [N, channels]; one picture at a time.

    For where the pictures of a batch stand in what a layer writes is the model's own affair.
    """
    wanted = set(names)
    nodes = {name: found[0] for name, found in ir.weighted(graph).items() if name in wanted}
    rows: dict[str, list[torch.Tensor]] = {name: [] for name in nodes}
    run = PartialRun(graph)
    for batch in progress(batches, "what layers write"):
        for picture in inputs_of(batch).split(1):
            run.run(picture)
            for name, node in nodes.items():
                axis = -1 if ir.WEIGHTED[node.target] == "linear" else 1
                rows[name].append(run.values[node].movedim(axis, 0).flatten(1).mean(1))
    if not all(rows.values()):
        raise CalibrationError("there is no calibration picture", "give --data a folder with pictures")
    return {name: torch.stack(found) for name, found in rows.items()}


def whitened(values: torch.Tensor) -> torch.Tensor:
    """The principal directions of ``values`` [N, channels] that N pictures can tell apart, made alike: [N, D].

    So divided that products of two layers are covariances between them, a ridge on either.
    """
    centred = (values - values.mean(0)).double()
    left, sizes, _ = torch.linalg.svd(centred, full_matrices=False)
    count = min(MOST, max(1, len(values) // PICTURES), len(sizes))
    powers = sizes[:count].square()
    return left[:, :count] * (powers / (powers + RIDGE * powers.mean()).clamp(min=1e-30)).sqrt()


def correlations(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """The canonical correlations of two layers, each whitened [N, D]: the greatest first, all within 0 and 1."""
    return torch.linalg.svdvals(one.T @ other)
