"""Rounding up or down, learned by gradient so that each layer or block answers as in float.

Inputs are those that the layers already rounded give, targets those of the float model
(edge_mpq.reconstruction tells the papers and the axes).  A unit keeps the nearest points where
the learned ones do no better on the pictures given.  Only layers of at most six bits are
touched; at eight, the nearest point is as good.  Block-wise layers learn nothing and are rounded with feedback.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import fx

from edge_mpq import graph as ir
from edge_mpq import simulation
from edge_mpq.calibration import inputs_of
from edge_mpq.hessians import second_moments
from edge_mpq.progress import Progress, silent
from edge_mpq.quantizers.affine import AffineQuantizer
from edge_mpq.reconstruction import Options, checked, units
from edge_mpq.reconstruction.learning import Learner, Pictures
from edge_mpq.reconstruction.losses import loss_of
from edge_mpq.rounding import feedback, slim

# Pictures of a step: batches are cut to this, and a step takes one of them.
STEP = 32


class Rule(NamedTuple):
    """The rule with other options than its own: ``quantize(..., rounding=Rule(Options(unit="block")))``."""

    options: Options = Options()

    def apply(
        self, quantized: fx.GraphModule, graph: fx.GraphModule, batches: Iterable, progress: Progress = silent
    ) -> None:
        """Replace the weights of narrow layers in ``quantized`` by rounded ones, in place.

        Holds, for all pictures, one unit's inputs and outputs and the tensors of both graphs that are
        still to be read.  Raises UsageError for options that there are not.
        """
        options = checked(self.options)
        pictures = [part for batch in batches for part in inputs_of(batch).split(STEP)]
        cut = _units(quantized, options)
        if not pictures:
            return
        _round_blocks(quantized, graph, pictures, progress)
        found = learners(quantized, graph, cut, pictures, options)
        for learner in progress(found, f"learning to round ({options.unit}s)", len(cut)):
            learner.learn()


def learners(
    quantized: fx.GraphModule,
    graph: fx.GraphModule,
    cut: Sequence[units.Unit],
    pictures: Sequence[torch.Tensor],
    options: Options,
) -> Iterator[Learner]:
    """Each unit of ``cut`` before it learns, once those before it have learned."""
    for unit, teacher, seen in taught(quantized, graph, cut, pictures):
        output = next(node for node in graph.graph.nodes if node.name == unit.output.name)
        loss = loss_of(options.loss, graph, output, pictures, options.seed)
        yield Learner(quantized, unit, teacher, seen, loss, options)


def taught(
    quantized: fx.GraphModule, graph: fx.GraphModule, cut: Sequence[units.Unit], pictures: Sequence[torch.Tensor]
) -> Iterator[tuple[units.Unit, units.Segment, Pictures]]:
    """Each unit of ``cut``, the same part of the float graph, and what both see once those before it are done."""
    floats = {node.name: node for node in graph.graph.nodes}
    ahead, behind = units.Walk(graph, pictures), units.Walk(quantized, pictures)
    for unit in cut:
        source, output = floats[units.unrounded(unit.source).name], floats[unit.output.name]
        teacher = units.Segment(graph, source, output)
        first = units.between(unit.source, unit.output)[0]
        inputs, read = ahead.before(teacher.nodes[0], source), behind.before(first, unit.source)
        sizes = [{**mine, **its} for mine, its in zip(ahead.sizes(), behind.sizes(), strict=True)]
        answers = [teacher(one, known).detach() for one, known in zip(inputs, sizes, strict=True)]
        yield unit, teacher, Pictures(read, inputs, answers, sizes)


def apply(quantized: fx.GraphModule, graph: fx.GraphModule, batches: Iterable, progress: Progress = silent) -> None:
    """Learn with the defaults of edge_mpq.reconstruction.Options; see :meth:`Rule.apply`."""
    Rule().apply(quantized, graph, batches, progress)


def _round_blocks(
    quantized: fx.GraphModule, graph: fx.GraphModule, pictures: Sequence[torch.Tensor], progress: Progress
) -> None:
    """Round narrow block-wise weights with feedback, before anything learns beside them."""
    nodes = {name: found[0] for name, found in ir.weighted(graph).items()}
    narrow = [name for name in slim.in_blocks(quantized, nodes) if feedback.is_narrow(quantized, name, nodes[name])]
    moments = second_moments(graph, narrow, pictures, progress) if narrow else {}
    for name, moment in moments.items():
        feedback.round_layer(quantized, name, nodes[name], moment)


def _units(quantized: fx.GraphModule, options: Options) -> list[units.Unit]:
    """The units that hold a narrow layer whose grid is its channels'."""
    grids = {name: simulation.weight_quantizer(quantized, name) for name in ir.weighted(quantized)}
    narrow = [
        name for name, grid in grids.items() if isinstance(grid, AffineQuantizer) and grid.bits <= feedback.MOST_BITS
    ]
    return (units.blocks if options.unit == "block" else units.layers)(quantized, narrow)
