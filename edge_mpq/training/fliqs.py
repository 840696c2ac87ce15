"""One-shot search: the model trains while a policy draws the formats of every step, and both settle.

Dotzel et al., FLIQS, arXiv 2308.03290.  There is one set of weights, rounded anew in every step
by the formats drawn for it; gradients pass straight through.  What was trained is the model: it
is not trained again.  Ours is that activations are rounded where the target's engine rounds
them, on ranges measured again from epoch to epoch (the paper's follow each batch, which no
engine does), and that the last part of the training is given to the most probable formats
*within* the budget, where the paper's policy has all but settled by itself.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import fx, nn

from edge_mpq import graph as ir
from edge_mpq import quantizers, simulation
from edge_mpq.allocators import Limit, ScoreTable, milp
from edge_mpq.allocators._problem import Problem, problem, with_changes
from edge_mpq.calibration import ranges_of
from edge_mpq.cost import Menu, Pair
from edge_mpq.partial import PartialRun
from edge_mpq.placement import every_tensor, points_of
from edge_mpq.progress import Progress, silent
from edge_mpq.records import formats
from edge_mpq.records.plan import Choice, PrecisionPlan
from edge_mpq.records.ranges import RangeTable
from edge_mpq.records.target import Target
from edge_mpq.training import loop
from edge_mpq.training.log import Epoch
from edge_mpq.training.policy import REWARDS, Options, Policy

# How often the ranges are measured in a training, at least.
MEASURED = 8
# A parameter of nothing but zeros moves as if it had this root mean square (Shazeer and Stern, arXiv 1804.04235).
LEAST_SIZE = 1e-3


class Step(NamedTuple):
    """One step of a search: its loss, the cost of what was drawn as a share of the budget, and the entropy then."""

    loss: float
    share: float
    entropy: float


class Found(NamedTuple):
    """What a search found.

    choices: layer -> pair, within every limit.  graph: the trained float graph.  ranges: of all its
    tensors.  probabilities: layer -> pair -> what the policy gives it.  steps: those in which formats
    were drawn.  log: of the training.
    """

    choices: dict[str, Pair]
    graph: fx.GraphModule
    ranges: RangeTable
    probabilities: dict[str, dict[Pair, float]]
    steps: list[Step]
    log: list[Epoch]


class Switching(nn.Module):
    """Inputs [N, ...] -> what a traced graph answers under the formats of the moment, with gradients.

    It rounds what :func:`edge_mpq.simulation.simulate` would, save that dead channels keep a scale
    of their own; the graph is a copy.
    """

    def __init__(self, graph: fx.GraphModule, target: Target, ranges: RangeTable, choices: Mapping[str, Pair]):
        super().__init__()
        self.graph, self.target, self.ranges = ir.copied(graph), target, ranges
        self.layers = {node: name for name, nodes in ir.weighted(self.graph).items() for node in nodes}
        self.switch(choices)

    def switch(self, choices: Mapping[str, Pair]) -> None:
        """Round by ``choices`` (layer -> pair) from now on."""
        plan = PrecisionPlan("", self.target.name, {name: Choice(*pair) for name, pair in choices.items()})
        self.choices, self.points = choices, points_of(self.graph, plan, self.target.scheme)
        nodes = {node.name: node for node in self.graph.graph.nodes}
        self.readers = {
            nodes[point.tensor]: set(point.readers) or {reader.name for reader in nodes[point.tensor].users}
            for point in self.points
        }

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        found = simulation.activation_quantizers(self.points, self.target, self.ranges)
        grids = {point.tensor: grid for point, grid in found}
        run, values, rounded = PartialRun(self.graph), dict[fx.Node, Any](), dict[fx.Node, torch.Tensor]()
        for node in self.graph.graph.nodes:
            seen = {
                source: rounded[source] if node.name in self.readers.get(source, ()) else values[source]
                for source in node.all_input_nodes
            }
            if node.op == "output":
                return seen[ir.outputs(self.graph)]
            if node in self.layers:
                seen[node.args[1]] = self._rounded(node, seen[node.args[1]])
            values[node] = inputs if node.op == "placeholder" else run.compute(node, seen)
            if node in self.readers:
                rounded[node] = grids[node.name](values[node])
        raise AssertionError("a graph has an output")

    def parameter_groups(self, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
        """Rates as shares of each parameter's size, which folding has made anything."""
        sizes = ((value, value.detach().square().mean().sqrt().item()) for value in self.parameters())
        return [
            {"params": [value], "lr": learning_rate * max(size, LEAST_SIZE), "weight_decay": weight_decay}
            for value, size in sizes
        ]

    def _rounded(self, node: fx.Node, weight: torch.Tensor) -> torch.Tensor:
        form, axis = formats.get(self.choices[self.layers[node]][0]), simulation.weight_axis(ir.WEIGHTED[node.target])
        return quantizers.of_weight(form, weight, axis)(weight)


class _Search:
    """What happens around the steps of a training: draw, reward, draw again; at last, decide."""

    def __init__(self, made: Problem, ties: Sequence[Sequence[str]], policy: Policy, model: Switching, loss: loop.Loss):
        self.made, self.ties, self.policy, self.model, self.of_outputs = made, ties, policy, model, loss
        self.steps: list[Step] = []
        self.draw()

    def draw(self) -> None:
        """The formats of the next step."""
        self.chosen = self.policy.sample()
        self.model.switch(self.made.answer(self.chosen.numpy()))

    def loss(self, outputs: torch.Tensor, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        value = self.of_outputs(outputs, inputs, labels)
        self.last = value.item()
        return value

    def after_step(self, step: int, model: nn.Module) -> None:
        if step > self.policy.steps:
            return
        share = float((self.made.totals(self.chosen.numpy()) / self.made.most).max())
        options = self.policy.options
        self.steps.append(Step(self.last, share, self.policy.entropy()))
        self.policy.learn(self.chosen, REWARDS[options.reward](self.last, share, options.cost_weight))
        if step < self.policy.steps:
            self.draw()
        else:
            self.model.switch(self.decided())

    def probabilities(self) -> dict[str, dict[Pair, float]]:
        """layer -> pair -> what the policy gives it."""
        rows = zip(self.made.units, self.made.pairs, self.policy.probabilities().tolist(), strict=True)
        found = {name: dict(zip(pairs, row, strict=False)) for unit, pairs, row in rows for name in unit}
        return {name: found[name] for name in self.made.layers}

    def decided(self) -> dict[str, Pair]:
        """The most probable formats within the limits; decisions are independent, so logarithms add up."""
        alike = {name: len(unit) for unit in self.made.units for name in unit}
        unlikely = {
            name: {pair: -math.log(share) / alike[name] for pair, share in row.items()}
            for name, row in self.probabilities().items()
        }
        return milp.allocate(unlikely, self.made.limits, self.ties)


def search(
    graph: fx.GraphModule,
    target: Target,
    menu: Menu,
    limits: Sequence[Limit],
    ties: Sequence[Sequence[str]],
    calibration: Iterable,
    batches: loop.Batches,
    epochs: int,
    learning_rate: float = 1e-3,
    options: Options = Options(),  # noqa: B008  immutable
    seed: int = 0,
    progress: Progress = silent,
    loss: loop.Loss = loop.classification,
    settled: float = 0.25,
    observer: str = "mse",
) -> Found:
    """Train a copy of ``graph`` (traced and folded) and choose its formats from ``menu`` on the way.

    limits, ties: as allocators take them; where there are several limits, the cost is that of the
    tightest.  calibration: batches of inputs, read once an epoch at most.  batches, epochs, loss: as
    ``loop.fit`` takes them.  learning_rate: of a parameter whose root mean square is 1; others in
    proportion.  seed: of the policy's draws.  settled: the last share of the
    steps, in which the formats that were found stand still.  observer: the range rule.

    Raises PlanError before any training when the limits cannot be met, UsageError for options
    that there are not.
    """
    blank: ScoreTable = {name: dict.fromkeys(pairs, 0.0) for name, pairs in menu.items()}
    start = milp.allocate(blank, limits, ties)
    made = with_changes(problem(blank, limits, ties))
    drawn = max(1, round((1 - settled) * epochs * loop.steps_of(batches)))
    policy = Policy([len(pairs) for pairs in made.pairs], drawn, options, seed)
    symmetric, watched = target.scheme.activation == "int8", every_tensor(graph)

    def measured(of: fx.GraphModule) -> RangeTable:
        return ranges_of(of, watched, calibration, observer, symmetric, progress)

    model = Switching(graph, target, measured(graph), start)
    run = _Search(made, ties, policy, model, loss)

    def before_epoch(epoch: int, _: nn.Module) -> None:
        if epoch and epoch % max(1, epochs // MEASURED) == 0:
            model.ranges = measured(model.graph)

    log = loop.fit(
        model,
        batches,
        epochs,
        learning_rate,
        progress=progress,
        loss=run.loss,
        precision="fp32",
        before_epoch=before_epoch,
        after_step=run.after_step,
    )
    model.zero_grad(set_to_none=True)
    return Found(dict(model.choices), model.graph, measured(model.graph), run.probabilities(), run.steps, log)
