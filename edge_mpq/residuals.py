"""The residual blocks of a graph, and how much each changes what passes it: the cosine between its two ends.

A block is an Add of a tensor and of something computed from it.  Where the skip has a layer of its own,
as where a network halves its maps, what goes in and what comes out have no common axes, and there
is no block.

Axis letters: T tokens, or places of a map, of all pictures of a batch; D channels.
"""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import fx
from torch.nn import functional

from edge_mpq import graph as ir
from edge_mpq.calibration import inputs_of
from edge_mpq.errors import CalibrationError
from edge_mpq.partial import PartialRun
from edge_mpq.progress import Progress, silent


class Residual(NamedTuple):
    """skip, output: nodes of what goes in and, behind a fused activation, of what comes out.

    layers: those between, in order.  axis: of the channels.
    """

    skip: fx.Node
    output: fx.Node
    layers: tuple[str, ...]
    axis: int

    def ends(self, run: PartialRun) -> tuple[torch.Tensor, torch.Tensor]:
        """What goes in and what comes out in a run, [T, D] both."""
        skip, output = (run.values[node].movedim(self.axis, -1).flatten(0, -2) for node in (self.skip, self.output))
        return skip, output


def residuals(graph: fx.GraphModule) -> list[Residual]:
    """Every residual block with a layer in it, in graph order; blocks may stand in blocks."""
    layer_of = {node: name for name, nodes in ir.weighted(graph).items() for node in nodes}
    place = {node: index for index, node in enumerate(graph.graph.nodes)}
    before: dict[fx.Node, int] = {}  # the places of all that a node depends on, as the bits of a number
    for node in graph.graph.nodes:
        before[node] = 0
        for source in node.all_input_nodes:
            before[node] |= before[source] | 1 << place[source]

    def depends(node: fx.Node, source: fx.Node) -> bool:
        return bool(before[node] >> place[source] & 1)

    found = []
    for node in graph.graph.nodes:
        both = [source for source in node.args[:2] if isinstance(source, fx.Node)] if node.target in ir.ADD else []
        if len(both) != 2:
            continue
        skip, branch = both if depends(both[1], both[0]) else both[::-1]
        if not depends(branch, skip) or ir.shape(skip) != ir.shape(branch):
            continue
        inside = [at for at in layer_of if (at is branch or depends(branch, at)) and depends(at, skip)]
        if inside:
            axis = -1 if ir.WEIGHTED[inside[-1].target] == "linear" else 1
            found.append(Residual(skip, ir.tail(node), tuple(dict.fromkeys(layer_of[at] for at in inside)), axis))
    return found


def innermost(found: Iterable[Residual]) -> dict[str, Residual]:
    """layer -> the smallest block it stands in."""
    smallest: dict[str, Residual] = {}
    for block in sorted(found, key=lambda block: -len(block.layers)):
        smallest.update(dict.fromkeys(block.layers, block))
    return smallest


@torch.no_grad()
def cosines(
    graph: fx.GraphModule, blocks: list[Residual], batches: Iterable, progress: Progress = silent
) -> list[float]:
    """The mean cosine between what goes into each block and what comes out; CalibrationError without a batch."""
    total, seen = [0.0] * len(blocks), 0
    run = PartialRun(graph)
    for batch in progress(batches, "what blocks change"):
        values = inputs_of(batch)
        run.run(values)
        seen += len(values)
        for index, block in enumerate(blocks):
            total[index] += functional.cosine_similarity(*block.ends(run), dim=-1).mean().item() * len(values)
    if not seen:
        raise CalibrationError("there is no calibration picture", "give --data a folder with pictures")
    return [cosine / seen for cosine in total]
