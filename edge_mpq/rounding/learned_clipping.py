"""Rounding to nearest on block-wise grids whose ends are learned, with bits by salience: SliM-LLM+.

Huang et al., SliM-LLM, ICML 2025, arXiv 2405.14917, put their bits (edge_mpq.column_bits) under the learned weight
clipping of Shao et al., OmniQuant, ICLR 2024, arXiv 2308.13137.  A unit reaches from one place where a
single tensor goes on to the next, half a block of a transformer; its inputs are those that the units already
rounded give it, its aim what the float unit makes of float inputs.  A unit takes the ends and bits that
err least on the batches given, be it those it started from.  Layers without blocks are rounded with feedback.
"""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import fx

from edge_mpq import column_bits, salience
from edge_mpq import graph as ir
from edge_mpq.calibration import inputs_of
from edge_mpq.hessians import second_moments
from edge_mpq.progress import Progress, silent
from edge_mpq.quantizers.blocks import BlockQuantizer
from edge_mpq.reconstruction import units
from edge_mpq.reconstruction.clipping import ClippedWeight
from edge_mpq.reconstruction.learning import Pictures
from edge_mpq.rounding import feedback, slim
from edge_mpq.rounding.learned import STEP, taught

# OmniQuant's rate, or what lets an end travel so far in all where steps are fewer than its thousands.
RATE, TRAVEL = 1e-2, 10.0

# layer -> its grid
Grids = dict[str, BlockQuantizer]


class Rule(NamedTuple):
    """The rule with other options than its own.

    epochs: how often a unit sees every batch.  options: of salience and bits, as in edge_mpq.rounding.slim.
    """

    epochs: int = 20
    options: slim.Options = slim.Options()

    def apply(
        self, quantized: fx.GraphModule, graph: fx.GraphModule, batches: Iterable, progress: Progress = silent
    ) -> None:
        """Replace grids and weights of narrow layers in ``quantized``, in place; UsageError for unknown options."""
        options = slim.checked(self.options)
        pictures = [part for batch in batches for part in inputs_of(batch).split(STEP)]
        floats = {name: nodes[0] for name, nodes in ir.weighted(graph).items()}
        narrow = {name: node for name, node in floats.items() if feedback.is_narrow(quantized, name, node)}
        if not narrow:
            return
        moments = second_moments(graph, narrow, pictures, progress)
        plain = slim.in_blocks(quantized, narrow)
        for name in narrow.keys() - plain.keys():
            feedback.round_layer(quantized, name, narrow[name], moments[name])
        inputs = column_bits.inputs_seen(graph, plain, pictures, progress) if options.allocates else {}
        split = {}
        for name, seen in inputs.items():
            weight = ir.attribute(quantized, str(narrow[name].args[1].target)).detach()
            worth = salience.of_weights(weight, moments[name], options.formula)
            columns = slim.allocation(weight, worth, plain[name], seen, options)
            split[name] = columns.grid(weight, plain[name].symmetric)
        cut = units.blocks(quantized, plain)
        for unit, _, read in progress(taught(quantized, graph, cut, pictures), "learning where weights end", len(cut)):
            starts = [{name: grids[name] for name in unit.layers} for grids in (plain, split) if grids]
            if not options.guarded:
                starts = starts[-1:]
            found = [one for start in starts for one in _learned(quantized, unit, read, start, self.epochs)]
            for name, grid in min(found, key=lambda pair: pair[0])[1].items():
                weight = ir.attribute(quantized, str(narrow[name].args[1].target)).detach()
                slim.place(quantized, name, grid, grid(weight).detach())


def apply(quantized: fx.GraphModule, graph: fx.GraphModule, batches: Iterable, progress: Progress = silent) -> None:
    """Learn with the defaults of :class:`Rule`."""
    Rule().apply(quantized, graph, batches, progress)


@torch.enable_grad()
def _learned(
    quantized: fx.GraphModule, unit: units.Unit, read: Pictures, start: Grids, epochs: int
) -> list[tuple[float, Grids]]:
    """The grids of one unit before and after learning, with the squared error of its output."""
    nodes = {name: ir.weighted(quantized)[name] for name in unit.layers}
    sources = {name: ir.weight_of(found[0]) for name, found in nodes.items()}
    weights = {name: ir.attribute(quantized, str(source.target)).detach() for name, source in sources.items() if source}
    clipped = {name: ClippedWeight(weights[name], grid) for name, grid in start.items()}
    segment = units.Segment(quantized, unit.source, unit.output)

    def error(number: int, now: dict[str, torch.Tensor]) -> torch.Tensor:
        changed = {node.args[1]: now[name] for name, found in nodes.items() for node in found}
        answer = segment(read.rounded[number], {**read.sizes[number], **changed})
        return (answer - read.targets[number]).square().sum()

    @torch.no_grad()
    def whole(grids: Grids) -> float:
        now = {name: grid(weights[name]) for name, grid in grids.items()}
        return sum(error(number, now).item() for number in range(len(read.rounded)))

    rate = max(RATE, TRAVEL / max(1, epochs * len(read.rounded)))
    optimizer = torch.optim.AdamW([one.reach for one in clipped.values()], rate, weight_decay=0.0)
    for _ in range(epochs):
        for number in range(len(read.rounded)):
            optimizer.zero_grad()
            error(number, {name: one() for name, one in clipped.items()}).backward()
            optimizer.step()
    found = {name: one.grid() for name, one in clipped.items()}
    return [(whole(start), start), (whole(found), found)]
