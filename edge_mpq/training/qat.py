"""Quantization-aware training of any precision plan: the weights and steps that are best once rounded.

The model trains with the rounding of its target in it, gradients passing straight through
(Jacob et al., arXiv 1712.05877); steps are learned (Esser et al., arXiv 1902.08153) or follow
the data.  What comes back is a simulated graph like that of edge_mpq.quantize, on the grids
that were learned, so every way out takes it.  Dropout is left out, as in every traced graph.
"""

from typing import Any, NamedTuple

import torch
from torch import fx, nn

from edge_mpq import graph as ir
from edge_mpq import simulation
from edge_mpq.progress import Progress, silent
from edge_mpq.quantizers.affine import AffineQuantizer
from edge_mpq.records.plan import PrecisionPlan
from edge_mpq.records.ranges import RangeTable
from edge_mpq.training import loop
from edge_mpq.training.distillation import Loss, distilled
from edge_mpq.training.grids import WeightGrid, bounds
from edge_mpq.training.log import Epoch
from edge_mpq.training.trainee import Trainee, folded_graph, origin_of


class Trained(NamedTuple):
    """What training gave.

    model: the simulated graph.  ranges: with those of rounded tensors as learned.  graph: the
    trained float graph, folded, for the ways out, since normalizations that do not fold and
    the like have been trained too.
    """

    model: fx.GraphModule
    ranges: RangeTable
    log: list[Epoch]
    graph: fx.GraphModule


def prepare(
    model: nn.Module,
    example: torch.Tensor,
    plan: PrecisionPlan,
    ranges: RangeTable,
    rule: str = "lsq",
    warm_up: int = 0,
) -> Trainee:
    """A copy of ``model`` to train under ``plan``; any loop may do it, ``loop.fit`` does.

    example: one batch of inputs.  ranges: of a calibration, where the steps start.  rule:
    ``lsq`` learns steps, ``moving`` has them follow the data.  warm_up: so many first steps of
    ``lsq`` follow the data before they are learned.

    Raises PlanError when the plan or the ranges are for another model, ModelError when it
    cannot be traced.
    """
    return Trainee(origin_of(model, example, plan, ranges), rule, warm_up)


def fit(
    model: nn.Module,
    example: torch.Tensor,
    plan: PrecisionPlan,
    ranges: RangeTable,
    batches: loop.Batches,
    epochs: int,
    learning_rate: float = 3e-4,
    device: str = "cpu",
    progress: Progress = silent,
    *,
    rule: str = "lsq",
    warm_up: int = 0,
    frozen: float = 1 / 3,
    loss: Loss = loop.classification,
    teacher: nn.Module | None = None,
    distillation: float = 0.0,
    temperature: float = 4.0,
    precision: str = "fp32",
    **options: Any,
) -> Trained:
    """Fine-tune ``model`` under ``plan``.

    batches, epochs, loss, options: as ``loop.fit`` takes them, which does the work.  frozen: the
    last share of epochs, in which normalizations of rounded layers use their running statistics
    and moving ranges stand still.  distillation: the weight of the teacher's answers against
    the labels, at ``temperature``; teacher: ``model`` itself as it came, unless another is
    given.  precision: of the matrix work; codes of eight bits fill bf16 to its last bit, so
    fp32 is right unless the formats are narrow.
    """
    trainee = prepare(model, example, plan, ranges, rule, warm_up)
    if distillation:
        asked = folded_graph(trainee.origin) if teacher is None else teacher.eval()
        loss = distilled(loss, asked, distillation, temperature)
    last = epochs - round(epochs * frozen)

    def before_epoch(epoch: int, _: nn.Module) -> None:
        if epoch >= last:
            trainee.freeze()

    log = loop.fit(
        trainee,
        batches,
        epochs,
        learning_rate,
        device,
        progress,
        loss=loss,
        precision=precision,
        before_epoch=before_epoch,
        **options,
    )
    return Trained(finish(trainee), learned_ranges(trainee), log, trained_graph(trainee))


@torch.no_grad()
def finish(trainee: Trainee) -> fx.GraphModule:
    """The simulated graph of what was trained: as from ``simulation.simulate``, on the learned grids."""
    _, _, plan, target, ranges = trainee.origin
    quantized = simulation.simulate(trained_graph(trainee), plan, target, ranges)
    for tensor, grid in trainee.activation_grids.items():
        _set(simulation.activation_quantizer(quantized, tensor), grid.step.scale, grid.step.zero)
    for name, nodes in ir.weighted(quantized).items():
        learner = trainee.weight_grids.get(name)
        if not isinstance(learner, WeightGrid):
            continue
        if learner.following:  # its last step was taken before the last change of the weight
            weight = ir.weight_of(nodes[0])
            assert weight is not None
            learner(ir.attribute(quantized, str(weight.target)))
        scale = learner.step.scale
        least = simulation.least_scale(quantized, nodes[0], len(scale))
        _set(simulation.weight_quantizer(quantized, name), torch.maximum(scale, least), learner.step.zero)
    if target.scheme.weights == "integer":
        simulation.round_biases(quantized)
    return quantized


def _set(grid: nn.Module | None, scale: torch.Tensor, zero: torch.Tensor) -> None:
    assert isinstance(grid, AffineQuantizer)
    grid.scale.copy_(scale)
    grid.zero.copy_(zero)


@torch.no_grad()
def trained_graph(trainee: Trainee) -> fx.GraphModule:
    """The float graph with the weights that were trained, normalizations folded."""
    state = trainee.graph.state_dict()
    graph = ir.copied(trainee.origin.graph)
    graph.load_state_dict({name: state[name] for name in graph.state_dict()})
    return folded_graph(trainee.origin._replace(graph=graph))


@torch.no_grad()
def learned_ranges(trainee: Trainee) -> RangeTable:
    """The ranges that training started from, with those of rounded tensors as they are now."""
    table = trainee.origin.ranges
    ends = {tensor: bounds(grid.step.learned()) for tensor, grid in trainee.activation_grids.items()}
    learned = {tensor: (low.item(), high.item()) for tensor, (low, high) in ends.items()}
    return table._replace(tensors={**table.tensors, **learned}, rule=trainee.rule)
