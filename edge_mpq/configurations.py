"""The choices beside bits that decide what 8-bit integers cost: five axes, 96 configurations.

The space of Lee, Yu, Kwon, Kim, Quantune, FGCS 2022, arXiv 2202.05048, in this project's terms::

    calibration  one picture, few (a tenth) or many (all of them)
    scheme       of activations: asymmetric, symmetric, symmetric_uint8 (unsigned where nothing is
                 negative), power_of_two (symmetric, and every scale of weights too a power of two)
    clipping     max: the whole range; kl: the range of least divergence
    granularity  channel: each output channel of a weight has a scale; tensor: all share one
    mixed        off: one pair of formats; on: the most sensitive layers in wider ones

Weights are symmetric in all of them, as integer kernels want.  All ride in the grids of the
simulated graph, so export carries them: on targets of uint8 a symmetric grid is one whose zero
stands at 128; on targets of int8 the two schemes that need a zero point or an unsigned code fall away.
"""

import itertools
from collections.abc import Mapping, Sequence

import torch
from torch import fx

from edge_mpq import bias_correction
from edge_mpq import graph as ir
from edge_mpq.calibration import few, inputs_of, ranges_of
from edge_mpq.errors import CalibrationError
from edge_mpq.layers import layers_of
from edge_mpq.placement import every_tensor, points_of
from edge_mpq.progress import Progress, silent
from edge_mpq.quantizers.affine import AffineQuantizer, weight_range
from edge_mpq.records import formats
from edge_mpq.records.plan import PrecisionPlan
from edge_mpq.records.ranges import RangeTable
from edge_mpq.records.target import Target
from edge_mpq.records.tuning import Configuration, Space
from edge_mpq.simulation import round_biases, simulate, weight_axis, weight_quantizer

AXES: dict[str, tuple[str, ...]] = {
    "calibration": ("one", "few", "many"),
    "scheme": ("asymmetric", "symmetric", "symmetric_uint8", "power_of_two"),
    "clipping": ("max", "kl"),
    "granularity": ("tensor", "channel"),
    "mixed": ("off", "on"),
}
SHARE_OF_MANY = 0.1
_RULES = {"max": "minmax", "kl": "entropy"}
_UNSIGNED = ("asymmetric", "symmetric_uint8")


class Configurations:
    """The configurations of one model that a target can run, and the model that each one makes.

    graph: the float model.  plans: ``off`` and, where there is room for it, ``on`` -> the plan.
    calibration: batches of inputs.  Calibrations are kept: there are at most 12.
    Raises CalibrationError without a picture.
    """

    def __init__(
        self, graph: fx.GraphModule, plans: Mapping[str, PrecisionPlan], target: Target, calibration: Sequence
    ):
        self.graph, self.plans, self.target = graph, plans, target
        self.pictures = pictures_of(calibration)
        self._correction = few(calibration)
        signed = target.scheme.activation == "int8"
        runs = {
            "calibration": tuple(self.pictures),
            "scheme": tuple(value for value in AXES["scheme"] if not (signed and value in _UNSIGNED)),
            "mixed": tuple(value for value in AXES["mixed"] if value in plans),
        }
        self.space = Space({axis: runs.get(axis, values) for axis, values in AXES.items()}, features_of(graph))
        self._ranges: dict[tuple[str, str, bool], RangeTable] = {}

    def quantized(
        self, configuration: Configuration, progress: Progress = silent
    ) -> tuple[fx.GraphModule, RangeTable, PrecisionPlan]:
        """The simulated model of one configuration, and what it was made of.

        Weights are rounded to nearest; biases are corrected as everywhere in this project.
        """
        chosen = dict(zip(self.space.axes, configuration, strict=True))
        plan = self.plans[chosen["mixed"]]
        ranges = self._calibrated(chosen, progress)
        ranges = with_scheme(ranges, chosen["scheme"], self.graph, plan, self.target)
        model = simulate(self.graph, plan, self.target, ranges)
        set_weight_scales(model, chosen["granularity"] == "tensor", chosen["scheme"] == "power_of_two")
        bias_correction.correct(model, self.graph, self._correction)
        if self.target.scheme.weights == "integer":
            round_biases(model)
        return model, ranges, plan

    def _calibrated(self, chosen: Mapping[str, str], progress: Progress) -> RangeTable:
        key = chosen["calibration"], _RULES[chosen["clipping"]], chosen["scheme"] not in _UNSIGNED
        if key not in self._ranges:
            batches = self.pictures[key[0]]
            self._ranges[key] = ranges_of(self.graph, every_tensor(self.graph), batches, key[1], key[2], progress)
        return self._ranges[key]


def pictures_of(calibration: Sequence) -> dict[str, list[torch.Tensor]]:
    """``one``, ``few`` and ``many`` -> batches; what would repeat another for want of pictures is left out."""
    batches = [inputs_of(batch) for batch in calibration]
    total = sum(len(batch) for batch in batches)
    if not total:
        raise CalibrationError("there is no calibration picture", "give --data a folder with pictures")
    counts = {"one": 1, "few": int(SHARE_OF_MANY * total), "many": total}
    different = {name: count for name, count in counts.items() if name == "one" or count > 1}
    return {name: first(batches, count) for name, count in different.items()}


def first(batches: Sequence[torch.Tensor], count: int) -> list[torch.Tensor]:
    """The first ``count`` pictures of batches, still in batches."""
    starts = itertools.accumulate((len(batch) for batch in batches), initial=0)
    return [batch[: count - start] for batch, start in zip(batches, starts, strict=False) if start < count]


def with_scheme(
    ranges: RangeTable, scheme: str, graph: fx.GraphModule, plan: PrecisionPlan, target: Target
) -> RangeTable:
    """The ranges that make the grids of ``target`` those of ``scheme``; asymmetric ones stay as measured.

    Tensors that share a grid get the range of their union.
    """
    if scheme == "asymmetric":
        return ranges
    points = points_of(graph, plan, target.scheme)
    shared: dict[str, tuple[float, float]] = {}
    for point in points:
        low, high = ranges.tensors[point.tensor]
        below, above = shared.get(point.group, (0.0, 0.0))
        shared[point.group] = min(low, below), max(high, above)
    grids = {point.tensor: (shared[point.group], formats.get(point.form)) for point in points}
    signed = target.scheme.activation == "int8"
    made = dict(ranges.tensors)
    for tensor, ((low, high), form) in grids.items():
        if form.is_float or (scheme == "symmetric_uint8" and low >= 0):
            continue
        largest = 2 ** (form.bits - 1) - 1
        scale = max(-low, high) / largest
        if scheme == "power_of_two":
            scale = power_of_two(torch.tensor(scale)).item()
        # An unsigned grid is symmetric with its zero in the middle: one code more lies below than above.
        made[tensor] = -scale * (largest if signed else largest + 1), scale * largest
    return ranges._replace(tensors=made)


def power_of_two(scale: torch.Tensor) -> torch.Tensor:
    """The least powers of two that are no smaller, so that nothing is clipped that was not."""
    mantissa, exponent = torch.frexp(scale)
    return torch.ldexp(torch.ones_like(scale), torch.where(mantissa == 0.5, exponent - 1, exponent))


def set_weight_scales(model: fx.GraphModule, per_tensor: bool, powers_of_two: bool) -> None:
    """Coarsen the weight grids of a simulated model in place: one scale a layer, powers of two, or both."""
    for name in ir.weighted(model):
        grid = weight_quantizer(model, name)
        if not isinstance(grid, AffineQuantizer):
            continue
        if per_tensor:
            grid.scale.fill_(grid.scale.max())
        if powers_of_two:
            grid.scale.copy_(power_of_two(grid.scale))


def features_of(graph: fx.GraphModule) -> dict[str, float]:
    """What tells a model from others before anything is measured: depth, size, kinds of layers, spread of weights."""
    layers = layers_of(graph)
    nodes = ir.weighted(graph)
    spreads = []
    for layer in layers:
        weight = ir.tensor_argument(graph, nodes[layer.name][0], 1)
        assert weight is not None
        low, high = weight_range(weight, weight_axis(layer.kind))
        widths = torch.maximum(-low, high).clamp(min=1e-12)
        spreads.append((widths.max() / widths).log2().mean().item())
    macs = sum(layer.macs for layer in layers)

    def share(kinds: list[bool]) -> float:
        return sum(layer.macs for layer, yes in zip(layers, kinds, strict=True) if yes) / macs

    return {
        "layers": float(len(layers)),
        "log2_weights": torch.tensor(float(sum(layer.weights for layer in layers))).log2().item(),
        "depthwise": sum(layer.groups > 1 for layer in layers) / len(layers),
        "pointwise_macs": share([layer.weight_shape[2:] == (1, 1) for layer in layers]),
        "linear_macs": share([layer.kind == "linear" for layer in layers]),
        "weight_spread_bits": sum(spreads) / len(spreads),
    }
