"""Learn one unit: descend from the float weights to points of their grids that answer alike."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import fx, nn

from edge_mpq import graph as ir
from edge_mpq import simulation
from edge_mpq.quantizers import power
from edge_mpq.quantizers.affine import AffineQuantizer
from edge_mpq.reconstruction import Options
from edge_mpq.reconstruction.losses import Loss
from edge_mpq.reconstruction.soft import SoftWeight
from edge_mpq.reconstruction.units import Segment, Unit
from edge_mpq.records import formats

# AdaRound's schedule: the error alone first, then a pull to the grid points whose power falls.
ALONE = 0.2
POWERS = (8.0, 2.0)
# Weight of the pull, in units of the error that rounding to nearest makes.
PULL = 30.0
# How far a variable may travel in all, whatever the number of steps.
TRAVEL = 10.0
# Steps and biases move by little, or they would undo what weights have found.
SLOWER = 0.01
NOISE = 0.1

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "adamax": torch.optim.Adamax,
    "sgd": torch.optim.SGD,
}


class Pictures(NamedTuple):
    """One unit's data, a tensor a batch: what it reads in the quantized prefix and in float, and the float output.

    sizes: what nodes of both graphs that are numbers say of the batch.
    """

    rounded: Sequence[torch.Tensor]
    floats: Sequence[torch.Tensor]
    targets: Sequence[torch.Tensor]
    sizes: Sequence[Mapping[fx.Node, Any]]


class Learner:
    """One unit of ``quantized`` while its weights are learned; ``teacher`` is the same part of the float graph."""

    def __init__(
        self, quantized: fx.GraphModule, unit: Unit, teacher: Segment, seen: Pictures, loss: Loss, options: Options
    ):
        self.quantized, self.unit, self.teacher, self.seen = quantized, unit, teacher, seen
        self.loss, self.options = loss, options
        self.segment = Segment(quantized, unit.source, unit.output)
        self.nodes = {name: ir.weighted(quantized)[name] for name in unit.layers}
        self.weights = {name: self._soft(name) for name in unit.layers}
        self.shifts = {path: torch.zeros_like(bias).requires_grad_(True) for path, bias in self._biases().items()}
        self.draw = torch.Generator().manual_seed(options.seed)

    def _soft(self, name: str) -> SoftWeight:
        grid: nn.Module | None = simulation.weight_quantizer(self.quantized, name)
        assert isinstance(grid, AffineQuantizer) and grid.axis is not None
        weight = ir.attribute(self.quantized, self._path(name))
        if self.options.grid == "power":
            grid = power.fitted(formats.get(f"int{grid.bits}"), weight, grid.axis)
            simulation.set_weight_quantizer(self.quantized, name, grid)
        return SoftWeight(weight, grid, self.options.variable, "scale" in self.options.dof)

    def _path(self, name: str) -> str:
        return str(ir.weight_of(self.nodes[name][0]).target)  # type: ignore[union-attr]

    def _biases(self) -> dict[str, torch.Tensor]:
        """Path -> bias of the unit's layers, where biases may move."""
        nodes = [found[0] for found in self.nodes.values() if "bias" in self.options.dof]
        found = {_bias(node): ir.tensor_argument(self.quantized, node, 2) for node in nodes}
        return {path: bias for path, bias in found.items() if bias is not None}

    @torch.enable_grad()
    def learn(self) -> None:
        """Descend, then put the rounded weights into the graph, unless nearest does better on all pictures."""
        nearest = self.error({})
        unit_of_error = max(nearest / len(self.seen.rounded), torch.finfo(torch.float32).tiny)
        places = [soft.place for soft in self.weights.values()]
        others = [soft.growth for soft in self.weights.values() if soft.growth.requires_grad]
        others += self.shifts.values()
        optimizer = self._optimizer(places, others)
        for step in range(self.options.iterations):
            number, rounded, target = self._minibatch()
            loss = self.loss(number, self._answer(number, rounded, self.changed()), target) / unit_of_error
            done = step / self.options.iterations
            if done > ALONE and self.options.variable != "ste":
                loss = loss + PULL * self._indecision((done - ALONE) / (1 - ALONE))
            parameters = [*places, *others]
            for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
                parameter.grad = gradient
            optimizer.step()
        if self.error(self.changed(rounded=True)) < nearest:
            self._store()

    def _optimizer(self, places: list[torch.Tensor], others: list[torch.Tensor]) -> torch.optim.Optimizer:
        rate = TRAVEL / self.options.iterations
        if self.options.variable == "ste":
            rate /= TRAVEL  # places run from 0 to 1, not along a sigmoid
        options = {"momentum": 0.9} if self.options.optimizer == "sgd" else {}
        # Gradients are of a mean over weights: what adaptive methods divide by, plain descent is given.
        count = sum(place.numel() for place in places) if self.options.optimizer == "sgd" else 1
        groups = [{"params": places, "lr": rate * count}]
        if others:
            groups.append({"params": others, "lr": SLOWER * rate})
        return OPTIMIZERS[self.options.optimizer](groups, **options)

    def _indecision(self, done: float) -> torch.Tensor:
        power = POWERS[1] + (POWERS[0] - POWERS[1]) * 0.5 * (1 + math.cos(math.pi * done))
        parts = [soft.indecision(power) * soft.place.numel() for soft in self.weights.values()]
        return torch.stack(parts).sum() / sum(soft.place.numel() for soft in self.weights.values())

    def _minibatch(self) -> tuple[int, torch.Tensor, torch.Tensor]:
        """Number, input and target of a batch drawn at random, augmented as the options say."""
        number = self._number()
        rounded, floats, target = self.seen.rounded[number], self.seen.floats[number], self.seen.targets[number]
        if self.options.drop:
            kept = torch.rand(rounded.shape, generator=self.draw) >= self.options.drop
            rounded = torch.where(kept, rounded, floats)
        if self.options.augment == "none":
            return number, rounded, target
        if self.options.augment == "mixup":
            other = self._number()
            if self.seen.rounded[other].shape == rounded.shape:
                share = torch.rand((), generator=self.draw)
                rounded = share * rounded + (1 - share) * self.seen.rounded[other]
                floats = share * floats + (1 - share) * self.seen.floats[other]
        else:
            noise = NOISE * floats.std() * torch.randn(floats.shape, generator=self.draw)
            rounded, floats = rounded + noise, floats + noise
        with torch.no_grad():
            return number, rounded, self.teacher(floats, self.seen.sizes[number])

    def _number(self) -> int:
        return int(torch.randint(len(self.seen.rounded), (), generator=self.draw))

    def changed(self, rounded: bool = False) -> dict[fx.Node, torch.Tensor]:
        """The unit's weights and biases as they stand, or ``rounded``, by the nodes they take the place of."""
        now = {name: soft.rounded()[0] if rounded else soft() for name, soft in self.weights.items()}
        found = {node.args[1]: now[name] for name, nodes in self.nodes.items() for node in nodes}
        for nodes in self.nodes.values():
            for node in nodes:
                if _bias(node) in self.shifts:
                    found[node.args[2]] = ir.attribute(self.quantized, _bias(node)) + self.shifts[_bias(node)]
        return found

    @torch.no_grad()
    def error(self, changed: dict[fx.Node, torch.Tensor]) -> float:
        """The loss over all pictures, as the quantized prefix shows them."""
        return sum(
            self.loss(number, self._answer(number, rounded, changed), target).item()
            for number, (rounded, target) in enumerate(zip(self.seen.rounded, self.seen.targets, strict=True))
        )

    def _answer(self, number: int, values: torch.Tensor, changed: Mapping[fx.Node, torch.Tensor]) -> torch.Tensor:
        return self.segment(values, {**self.seen.sizes[number], **changed})

    def _store(self) -> None:
        for name, soft in self.weights.items():
            weight, grid = soft.rounded()
            ir.set_parameter(self.quantized, self._path(name), weight)
            soft.grid.scale.copy_(grid.scale)
        for path, shift in self.shifts.items():
            ir.set_parameter(self.quantized, path, ir.attribute(self.quantized, path).detach() + shift.detach())


def _bias(node: fx.Node) -> str:
    """Path of the bias that a layer node adds, or ''."""
    return str(node.args[2].target) if len(node.args) > 2 and isinstance(node.args[2], fx.Node) else ""
