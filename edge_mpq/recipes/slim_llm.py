"""SliM-LLM: bits by salience within layers, ends of blocks by salience, error feedback.

The plan is the default's, within whatever budget, and gives each layer one block-wise format
(``u2b32``); edge_mpq.rounding.slim then spends that format's bits unequally on the layer's blocks of inputs, the
same on average, so a plan's Choice names the average and says in its ``why`` how many inputs have which
bits.  ``container_mib`` of ``predicted`` is what codes then take in the types that engines have: 1 bit in
two, 3 in four.  Layers without blocks are rounded with feedback.  TensorRT has blocks of four bits alone: there
only ends move.
"""

from torch import fx

from edge_mpq import graph as ir
from edge_mpq import simulation
from edge_mpq.cost import size
from edge_mpq.layers import layers_of
from edge_mpq.progress import Progress, silent
from edge_mpq.quantizers.blocks import FLOAT, BlockQuantizer
from edge_mpq.quantizing import quantize
from edge_mpq.recipes import Outcome, Task
from edge_mpq.recipes._planned import planned
from edge_mpq.records.plan import PrecisionPlan
from edge_mpq.rounding import Rounding, slim
from edge_mpq.rounding.slim import Options

PAPER = (
    "Huang et al., SliM-LLM: Salience-Driven Mixed-Precision Quantization for Large Language Models, ICML 2025, "
    "arXiv 2405.14917"
)


def run(task: Task, progress: Progress = silent, options: Options = Options()) -> Outcome:  # noqa: B008  immutable
    """The recipe; see the family's contract, and edge_mpq.rounding.slim for the options."""
    if task.target.backend == "tensorrt":
        options = options._replace(allocates=False)
    return rounded(task, slim.Rule(options), progress)


def rounded(task: Task, rule: Rounding, progress: Progress) -> Outcome:
    """The default's plan, its model rounded by ``rule``, and what became of the layers' bits written into the plan."""
    found = planned(task, progress, rounding=rule)
    quantized, _ = quantize(
        found.graph, found.plan, task.calibration, rounding=rule, ranges=found.ranges, progress=progress
    )
    return Outcome(described(found.plan, quantized), found.graph, quantized, found.ranges, evaluations=found.trials)


def described(plan: PrecisionPlan, quantized: fx.GraphModule) -> PrecisionPlan:
    """``plan`` that says which bits the inputs of each layer have, and what room that takes in an engine's types."""
    grids = {name: simulation.weight_quantizer(quantized, name) for name in ir.weighted(quantized)}
    columns = {name: grid.columns() for name, grid in grids.items() if isinstance(grid, BlockQuantizer)}
    mixed = {name: counts for name, counts in columns.items() if len(counts) > 1}
    choices = {
        name: choice._replace(why=f"{choice.why}; {_inputs(mixed[name])}") if name in mixed else choice
        for name, choice in plan.choices.items()
    }
    pairs = {name: (choice.weight, choice.activation) for name, choice in choices.items()}
    stored = size.container_mib(layers_of(quantized), pairs, columns)
    return plan._replace(choices=choices, predicted={**plan.predicted, "container_mib": stored})


def _inputs(counts: dict[int, int]) -> str:
    """``inputs by bits: 16 at 1, 32 at 2, 16 at 3``"""
    parts = [f"{count} at {bits}" for bits, count in sorted(counts.items()) if bits != FLOAT]
    return (
        "inputs by bits: " + ", ".join(parts) + (f"; {counts[FLOAT]} of them in float too" if FLOAT in counts else "")
    )
