"""Quantize after training: model and plan in, fake-quantized model and its ranges out."""

from collections.abc import Iterable

import torch
from torch import fx, nn

from edge_mpq import bias_correction, transforms
from edge_mpq import rounding as roundings
from edge_mpq.calibration import bits_of, few, inputs_of, ranges_of
from edge_mpq.errors import CalibrationError
from edge_mpq.layers import layers_of
from edge_mpq.placement import every_tensor
from edge_mpq.progress import Progress, silent
from edge_mpq.records import target as targets
from edge_mpq.records.plan import PrecisionPlan
from edge_mpq.records.ranges import RangeTable
from edge_mpq.rounding import Rounding
from edge_mpq.simulation import prepared, round_biases, simulate


def quantize(
    model: nn.Module,
    plan: PrecisionPlan,
    calibration: Iterable,
    observer: str = "mse",
    rounding: str | Rounding = "feedback",
    ranges: RangeTable | None = None,
    progress: Progress = silent,
) -> tuple[fx.GraphModule, RangeTable]:
    """The model that computes what the plan's engine will compute, and the ranges it rounds on.

    calibration: batches of inputs [N, C, H, W], read more than once.  observer: the range
    rule.  rounding: the rule that picks each weight's grid point, by name or as itself (edge_mpq.rounding).
    ranges: of an earlier calibration, which then is not repeated; edge_mpq.calibration.fitted makes those
    of a calibration without a plan those of one.  Biases are corrected for
    the mean error that is left.

    Raises PlanError when the plan is for another model, CalibrationError without pictures.
    """
    first = next(iter(calibration), None)
    if first is None:
        raise CalibrationError("there is no calibration picture", "give --data a folder with pictures")
    target = targets.get(plan.target)
    graph = transforms.apply_all(plan.transforms, prepared(model, inputs_of(first)), calibration, target, progress)
    plan.check(layers_of(graph), target)
    if ranges is None:
        bits, symmetric = bits_of(graph, plan, target.scheme), target.scheme.activation == "int8"
        ranges = ranges_of(graph, every_tensor(graph), calibration, observer, symmetric, progress, bits)
    quantized = simulate(graph, plan, target, ranges)
    rule = roundings.get(rounding) if isinstance(rounding, str) else rounding
    rule.apply(quantized, graph, few(calibration, 256), progress)
    bias_correction.correct(quantized, graph, calibration, progress)
    if target.scheme.weights == "integer":
        round_biases(quantized)
    return quantized, ranges


@torch.no_grad()
def answers(model: nn.Module, batches: Iterable, progress: Progress = silent, what: str = "evaluating") -> torch.Tensor:
    """The outputs of a model over batches of inputs, joined [N, ...]."""
    return torch.cat([model(inputs_of(batch)) for batch in progress(batches, what)])
