"""The module that quantization-aware training trains: a float graph with grids that move or learn in it."""

from typing import Any, NamedTuple

import torch
from torch import fx, nn

from edge_mpq import graph as ir
from edge_mpq import simulation
from edge_mpq.errors import PlanError, UsageError
from edge_mpq.layers import layers_of
from edge_mpq.placement import points_of
from edge_mpq.quantizers.affine import AffineQuantizer
from edge_mpq.records import formats
from edge_mpq.records import target as targets
from edge_mpq.records.plan import PrecisionPlan
from edge_mpq.records.ranges import RangeTable
from edge_mpq.records.target import Target
from edge_mpq.training import batchnorm
from edge_mpq.training.grids import ActivationGrid, WeightGrid, weight_grid
from edge_mpq.transforms import APPLIED

# lsq: steps are learned.  moving: they follow the data.
RULES = ("lsq", "moving")


class Origin(NamedTuple):
    """What a trainee was made from: the float graph (normalizations not folded yet), and for what."""

    graph: fx.GraphModule
    example: torch.Tensor
    plan: PrecisionPlan
    target: Target
    ranges: RangeTable


class Trainee(nn.Module):
    """Inputs [N, ...] -> what the plan's engine would answer, with gradients.

    Parameters keep the names of the float graph under ``graph``; beside them stand the steps.
    Made by :func:`edge_mpq.training.qat.prepare`.
    """

    steps: torch.Tensor

    def __init__(self, origin: Origin, rule: str = "lsq", warm_up: int = 0):
        super().__init__()
        if rule not in RULES:
            raise UsageError(f"there is no rule {rule!r}", "choose one of " + ", ".join(RULES))
        self.origin, self.rule, self.warm_up, self.frozen = origin, rule, warm_up, False
        folded = folded_graph(origin)
        _check(origin, folded)
        self.graph = ir.copied(origin.graph)
        self.weight_grids = _weight_grids(folded, origin.plan)
        self.activation_grids: dict[str, ActivationGrid] = {}
        done = batchnorm.place(self.graph, folded, self.weight_grids)
        self._place_grids(folded, done)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        if rule != "lsq":
            for step in self._steps():
                step.requires_grad_(False)

    def _place_grids(self, folded: fx.GraphModule, done: set[str]) -> None:
        model, (_, _, plan, target, ranges) = self.graph, self.origin
        model.add_module(simulation.WEIGHTS, nn.Module())
        model.add_module(simulation.ACTIVATIONS, nn.Module())
        for name, nodes in ir.weighted(model).items():
            if name in self.weight_grids and name not in done:
                simulation.place_weight_quantizer(model, name, nodes, self.weight_grids[name])
        shared: dict[tuple[str, str], fx.Node] = {}
        for point, module in simulation.activation_quantizers(points_of(folded, plan, target.scheme), target, ranges):
            if not isinstance(module, AffineQuantizer):  # a float format has no step
                simulation.add_activation_quantizer(model, point, module)
                continue
            node = simulation.add_activation_quantizer(model, point, ActivationGrid(formats.get(point.form), module))
            first = shared.setdefault((point.group, point.form), node)
            if first is not node:  # one scale, so one step
                model.delete_submodule(str(node.target))
                node.target = first.target
            grid: Any = model.get_submodule(str(node.target))
            self.activation_grids[point.tensor] = grid
        model.graph.lint()
        model.recompile()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self._follow()
        outputs = self.graph(inputs)
        if self.training:
            for grid in self.activation_grids.values():
                grid.move()
            self.steps += 1
        return outputs

    def _follow(self) -> None:
        """Which grids follow the data in this step, and which learn."""
        warming = self.rule == "lsq" and self.training and not self.frozen and int(self.steps) < self.warm_up
        for grid in self.weight_grids.values():
            if isinstance(grid, WeightGrid):
                grid.following, grid.step.learning = warming or self.rule == "moving", not warming
        for tensor in self.activation_grids.values():
            tensor.following = warming or (self.rule == "moving" and not self.frozen)
            tensor.step.learning = not warming

    def freeze(self) -> None:
        """From now on normalizations of rounded layers stand on their running statistics, and ranges stand still."""
        self.frozen = True
        for module in self.modules():
            if isinstance(module, batchnorm.NormalizedLayer):
                module.frozen = True

    def parameter_groups(self, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
        """Weights, and the steps, which decay would only shrink."""
        steps = [step for step in self._steps() if step.requires_grad]
        apart = {id(step) for step in steps}
        others = [parameter for parameter in self.parameters() if id(parameter) not in apart]
        groups = [{"params": others, "lr": learning_rate, "weight_decay": weight_decay}]
        return groups + ([{"params": steps, "lr": learning_rate, "weight_decay": 0.0}] if steps else [])

    def _steps(self) -> list[nn.Parameter]:
        return [parameter for name, parameter in self.named_parameters() if name.endswith(".step.growth")]


def folded_graph(origin: Origin) -> fx.GraphModule:
    """A copy of the float graph with its normalizations folded: what plans, placement and export speak of."""
    return simulation.prepared(ir.copied(origin.graph), origin.example)


def _check(origin: Origin, folded: fx.GraphModule) -> None:
    """Raise PlanError when the plan is for another model, another start, or the ranges lack a tensor."""
    plan, target = origin.plan, origin.target
    done = tuple(folded.meta.get(APPLIED, ()))
    if tuple(plan.transforms) != done:
        raise PlanError(
            f"the plan is for a graph after {', '.join(plan.transforms) or 'no transform'}, not "
            f"{', '.join(done) or 'the plain model'}",
            "apply its transforms to the prepared graph first and train that",
        )
    plan.check(layers_of(folded), target)
    simulation.check_ranges(points_of(folded, plan, target.scheme), origin.ranges)


def _weight_grids(folded: fx.GraphModule, plan: PrecisionPlan) -> dict[str, nn.Module]:
    grids = {}
    for name, nodes in ir.weighted(folded).items():
        form = formats.get(plan.choices[name].weight)
        weight = ir.tensor_argument(folded, nodes[0], 1)
        assert weight is not None
        if form.name != "fp32":
            grids[name] = weight_grid(form, weight, simulation.weight_axis(ir.WEIGHTED[nodes[0].target]))
    return grids


def origin_of(model: nn.Module, example: torch.Tensor, plan: PrecisionPlan, ranges: RangeTable) -> Origin:
    """A float model or traced graph, copied; the caller's is left alone."""
    graph = ir.trace(model, example)
    graph = ir.copied(graph) if graph is model else graph
    return Origin(graph, example[:1], plan, targets.get(plan.target), ranges)
