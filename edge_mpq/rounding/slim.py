"""Rounding of block-wise weights as SliM-LLM does: bits by salience, ends by salience, error feedback.

Huang et al., SliM-LLM: Salience-Driven Mixed-Precision Quantization for Large Language Models, ICML
2025, arXiv 2405.14917.  In each layer salient blocks of inputs get a bit more, as many others a bit less
(edge_mpq.column_bits); the ends of blocks are drawn in where that pays (edge_mpq.clipping); then columns
are rounded with feedback, on grids that are found beforehand for all of them.  Neither step is sure to
help once feedback has made up for the errors that it saw: each layer keeps of them what brings the model's
answers nearest to the float ones on the batches given.  Layers without blocks are rounded with feedback.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import fx
from torch.nn import functional

from edge_mpq import clipping, column_bits, salience, simulation
from edge_mpq import graph as ir
from edge_mpq.calibration import few, inputs_of
from edge_mpq.column_bits import METRICS, WIDTHS, Columns
from edge_mpq.errors import UsageError
from edge_mpq.hessians import second_moments
from edge_mpq.likelihood import classes
from edge_mpq.progress import Progress, silent
from edge_mpq.quantizers.blocks import BlockQuantizer
from edge_mpq.rounding import feedback

# Pictures, or texts, on which what a layer keeps is decided.
JUDGED = 64

# A grid, and the weight on it.
Rounded = tuple[BlockQuantizer, torch.Tensor]


class Options(NamedTuple):
    """allocates: whether blocks get unlike bits.  clips: whether their ends move.

    widths: bits that blocks may have; a block moves to the next width below or above its format's, and
    stays where there is none: (2, 4, 8) are those that a runtime stores as they are.  metric: one of
    edge_mpq.column_bits.  formula: one of edge_mpq.salience.  emphasis: what errors of salient weights
    count.  floats: share of a layer's inputs that may stay float.  guarded: whether a layer may also do
    without any of these.
    """

    allocates: bool = True
    clips: bool = True
    widths: tuple[int, ...] = WIDTHS
    metric: str = "kl"
    formula: str = "inverse"
    emphasis: float = 1.0
    floats: float = 0.0
    guarded: bool = True


class Rule(NamedTuple):
    """The rule with other options than its own: ``quantize(..., rounding=Rule(Options(widths=(2, 4, 8))))``."""

    options: Options = Options()

    @torch.no_grad()
    def apply(
        self, quantized: fx.GraphModule, graph: fx.GraphModule, batches: Iterable, progress: Progress = silent
    ) -> None:
        """Replace grids and weights of narrow layers in ``quantized``, in place; UsageError for unknown options."""
        options, batches = checked(self.options), list(batches)
        narrow = {
            name: nodes[0]
            for name, nodes in ir.weighted(graph).items()
            if feedback.is_narrow(quantized, name, nodes[0])
        }
        if not narrow:
            return
        moments = second_moments(graph, narrow, batches, progress)
        mixed = in_blocks(quantized, narrow)
        inputs = column_bits.inputs_seen(graph, mixed, batches, progress) if options.allocates else {}
        others: dict[str, list[Rounded]] = {}
        for name, node in progress(narrow.items(), "rounding by salience"):
            if name not in mixed:
                feedback.round_layer(quantized, name, node, moments[name])
                continue
            weight = ir.attribute(quantized, str(node.args[1].target)).detach()
            found = list(alternatives(weight, moments[name], mixed[name], inputs.get(name), options))
            place(quantized, name, *found[0 if options.guarded else -1])
            others[name] = found[1:] if options.guarded else []
        _improve(quantized, graph, others, few(batches, JUDGED), progress)


def apply(quantized: fx.GraphModule, graph: fx.GraphModule, batches: Iterable, progress: Progress = silent) -> None:
    """Round with the defaults of :class:`Options`; see :meth:`Rule.apply`."""
    Rule().apply(quantized, graph, batches, progress)


def checked(options: Options) -> Options:
    """``options``, or UsageError naming every value there is not."""
    faults = [
        f"{axis} {value!r} is none of {', '.join(known)}"
        for axis, value, known in (
            ("metric", options.metric, METRICS),
            ("formula", options.formula, salience.FORMULAS),
        )
        if value not in known
    ]
    if not 0 <= options.floats < 1:
        faults.append(f"floats {options.floats} is no share")
    if not set(options.widths) <= set(WIDTHS):
        faults.append(f"widths {options.widths} are not all of 1 to {max(WIDTHS)} bits")
    if faults:
        raise UsageError("; ".join(faults), "see edge_mpq.rounding.slim.Options")
    return options


def alternatives(
    weight: torch.Tensor, moment: torch.Tensor, grid: BlockQuantizer, inputs: torch.Tensor | None, options: Options
) -> Iterator[Rounded]:
    """What a layer may become, all by feedback: on its own ``grid`` first, with all that the options say last."""
    yield grid, feedback.rounded(weight, moment, grid)
    worth = salience.of_weights(weight, moment, options.formula)
    plain = column_bits.alike(int(grid.bits[0]), len(grid.bits))
    chosen = plain if inputs is None else allocation(weight, worth, grid, inputs, options)
    for columns in [plain] if chosen.is_like(plain) else [plain, chosen]:
        if columns is not plain:
            made = columns.grid(weight, grid.symmetric)
            yield made, feedback.rounded(weight, moment, made)
        if options.clips:
            made = clipping.clipped(weight, columns, grid.symmetric, worth, options.emphasis)
            yield made, feedback.rounded(weight, moment, made)


def allocation(
    weight: torch.Tensor, worth: torch.Tensor, grid: BlockQuantizer, inputs: torch.Tensor, options: Options
) -> Columns:
    """The columns of ``grid`` with unlike bits, the same on average, by the salience ``worth`` [K, C]."""
    floats = round(options.floats * worth.shape[1])
    choices = column_bits.candidates(worth, int(grid.bits[0]), grid.block, options.widths, floats)
    return column_bits.allocated(weight, inputs, choices, grid.symmetric, options.metric)


def in_blocks(quantized: fx.GraphModule, layers: Iterable[str]) -> dict[str, BlockQuantizer]:
    """The grids of those ``layers`` whose weights are block-wise."""
    grids = {name: simulation.weight_quantizer(quantized, name) for name in layers}
    return {name: grid for name, grid in grids.items() if isinstance(grid, BlockQuantizer)}


def place(quantized: fx.GraphModule, name: str, grid: BlockQuantizer, weight: torch.Tensor) -> None:
    """Give layer ``name`` another grid, and a weight."""
    source = ir.weight_of(ir.weighted(quantized)[name][0])
    assert source is not None
    simulation.set_weight_quantizer(quantized, name, grid)
    ir.set_parameter(quantized, str(source.target), weight)


def _improve(
    quantized: fx.GraphModule,
    graph: fx.GraphModule,
    others: dict[str, list[Rounded]],
    batches: Sequence,
    progress: Progress,
) -> None:
    """Layer after layer, take of ``others`` what brings the answers nearest to those of ``graph``, if any does."""
    inputs = [inputs_of(batch) for batch in batches]
    wanted = [classes(graph(batch)).log_softmax(1) for batch in inputs]

    def divergence() -> float:
        given = [classes(quantized(batch)).log_softmax(1) for batch in inputs]
        pairs = zip(given, wanted, strict=True)
        return sum(functional.kl_div(mine, its, reduction="sum", log_target=True).item() for mine, its in pairs)

    least = divergence() if any(others.values()) else 0.0
    for name, found in progress(others.items(), "keeping what helps"):
        source = ir.weight_of(ir.weighted(quantized)[name][0])
        assert source is not None
        best = in_blocks(quantized, [name])[name], ir.attribute(quantized, str(source.target)).detach()
        for one in found:
            place(quantized, name, *one)
            error = divergence()
            if error < least:
                best, least = one, error
        place(quantized, name, *best)
