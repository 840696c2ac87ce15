"""One-shot search: the model trains while a policy draws the formats of every step, and both settle.

Dotzel et al., FLIQS, arXiv 2308.03290.  There is one set of weights, rounded anew in every step
by the formats drawn for it; gradients pass straight through.  What was trained is the model: it
is not trained again.  Ours is that activations are rounded where the target's engine rounds
them, on ranges measured again from epoch to epoch (the paper's follow each batch, which no
engine does), and that the last part of the training is given to the most probable formats
*within* the budget, where the paper's policy has all but settled by itself.

The same policy may draw how many channels layers keep (the paper's joint search): the others are
masked, and gone from the graph that comes out.  Which layers take one width, in which order
channels leave, and that all drawn widths train one set of weights are reconstructions.
"""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import fx, nn

from edge_mpq.allocators import Limit, ScoreTable, milp
from edge_mpq.allocators._problem import Problem, problem, with_changes
from edge_mpq.calibration import ranges_of
from edge_mpq.cost import Menu, Pair
from edge_mpq.placement import every_tensor
from edge_mpq.progress import Progress, silent
from edge_mpq.records.ranges import RangeTable
from edge_mpq.records.target import Target
from edge_mpq.training import loop
from edge_mpq.training import widths as narrower
from edge_mpq.training.joint import Joint
from edge_mpq.training.log import Epoch
from edge_mpq.training.policy import REWARDS, Options, Policy
from edge_mpq.training.switching import Switching

# How often the ranges are measured in a training, at least.
MEASURED = 8


class Step(NamedTuple):
    """One step of a search: its loss, the cost of what was drawn as a share of the budget, and the entropy then."""

    loss: float
    share: float
    entropy: float


class Width(NamedTuple):
    """The share of its outputs that a layer keeps, and why."""

    share: float
    why: str


class Found(NamedTuple):
    """What a search found.

    choices: layer -> pair, within every limit.  graph: the trained float graph, without the channels
    that were not kept.  ranges: of all its tensors.  probabilities: layer -> pair -> what the policy
    gives it.  steps: those in which formats were drawn.  log: of the training.  widths: of every
    layer, where widths were searched.
    """

    choices: dict[str, Pair]
    graph: fx.GraphModule
    ranges: RangeTable
    probabilities: dict[str, dict[Pair, float]]
    steps: list[Step]
    log: list[Epoch]
    widths: dict[str, Width]


class _Search:
    """What happens around the steps of a training: draw, reward, draw again; at last, decide."""

    def __init__(
        self,
        made: Problem,
        ties: Sequence[Sequence[str]],
        policy: Policy,
        model: Switching,
        loss: loop.Loss,
        joint: Joint | None,
    ):
        self.made, self.ties, self.policy, self.model, self.of_outputs = made, ties, policy, model, loss
        self.joint, self.costs, self.settled = joint, joint or made, False
        self.steps: list[Step] = []
        self.draw()

    def draw(self) -> None:
        """The formats of the next step, and the widths."""
        self.chosen = self.policy.sample()
        self.take(self.chosen.numpy())

    def take(self, chosen: np.ndarray) -> None:
        """Compute with ``chosen`` from now on."""
        masks = {}
        if self.joint is not None:
            masks = narrower.masks(self.model.graph, self.joint.widths.channels, self.joint.kept(chosen))
        self.model.switch(self.made.answer(chosen), masks)

    def loss(self, outputs: torch.Tensor, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        value = self.of_outputs(outputs, inputs, labels)
        self.last = value.item()
        return value

    def after_step(self, step: int) -> None:
        if step > self.policy.steps:
            return
        share = float((self.costs.totals(self.chosen.numpy()) / self.costs.most).max())
        options = self.policy.options
        self.steps.append(Step(self.last, share, self.policy.entropy()))
        self.policy.learn(self.chosen, REWARDS[options.reward](self.last, share, options.cost_weight))
        if step < self.policy.steps:
            self.draw()
        else:
            self.settle()

    def probabilities(self) -> dict[str, dict[Pair, float]]:
        """layer -> pair -> what the policy gives it."""
        rows = zip(self.made.units, self.made.pairs, self.policy.probabilities().tolist(), strict=False)
        found = {name: dict(zip(pairs, row, strict=False)) for unit, pairs, row in rows for name in unit}
        return {name: found[name] for name in self.made.layers}

    def widths(self) -> dict[str, Width]:
        """layer -> the share of its outputs it keeps, once settled."""
        if self.joint is None:
            return {}
        rows = self.policy.probabilities()[len(self.made.units) :].tolist()
        groups = zip(self.joint.widths.groups, self.chosen[len(self.made.units) :].tolist(), rows, strict=True)
        found = {name: Width(1.0, why) for name, why in self.joint.widths.whole.items()}
        for group, choice, row in groups:
            width = Width(self.joint.shares[choice], f"probability {row[choice]:.2g} when the policy settled")
            found.update(dict.fromkeys(group.layers, width))
        return {name: found[name] for name in self.made.layers}

    def settle(self) -> None:
        """The most probable choices within the limits; decisions are independent, so logarithms add up."""
        self.settled = True
        if self.joint is None:
            self.model.switch(self.decided())
            return
        rows = zip(self.policy.probabilities().tolist(), self.joint.counts, strict=True)
        self.chosen = torch.from_numpy(self.joint.best([[-math.log(p) for p in row[:count]] for row, count in rows]))
        self.take(self.chosen.numpy())

    def decided(self) -> dict[str, Pair]:
        """The most probable formats within the limits, where widths are not searched."""
        alike = {name: len(unit) for unit in self.made.units for name in unit}
        unlikely = {
            name: {pair: -math.log(share) / alike[name] for pair, share in row.items()}
            for name, row in self.probabilities().items()
        }
        return milp.allocate(unlikely, self.made.limits, self.ties)

    def graph(self) -> fx.GraphModule:
        """What is trained: once settled, without the channels that nobody reads."""
        if self.joint is None or not self.settled:
            return self.model.graph
        return narrower.narrowed(self.model.graph, self.joint.widths.channels, self.joint.kept(self.chosen.numpy()))


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
    widths: Sequence[float] = (),
) -> Found:
    """Train a copy of ``graph`` (traced and folded) and choose its formats from ``menu`` on the way.

    limits, ties: as allocators take them; where there are several limits, the cost is that of the
    tightest.  calibration: batches of inputs, read once an epoch at most.  batches, epochs, loss: as
    ``loop.fit`` takes them.  learning_rate: of a parameter whose root mean square is 1; others in
    proportion.  seed: of the policy's draws.  settled: the last share of the
    steps, in which the formats that were found stand still.  observer: the range rule.  widths: shares
    of its output channels that a layer may keep (1.0, 0.75), () for all of them; then limits must be
    of what is in proportion to the weights or multiply-adds of a layer.

    Raises PlanError before any training when the limits cannot be met, UsageError for options
    that there are not.
    """
    blank: ScoreTable = {name: dict.fromkeys(pairs, 0.0) for name, pairs in menu.items()}
    joint = Joint(blank, limits, ties, narrower.widths_of(graph), widths) if widths else None
    start = joint.made.answer(joint.start) if joint else milp.allocate(blank, limits, ties)
    made = joint.made if joint else with_changes(problem(blank, limits, ties))
    counts = joint.counts if joint else [len(pairs) for pairs in made.pairs]
    drawn = max(1, round((1 - settled) * epochs * loop.steps_of(batches)))
    policy = Policy(counts, drawn, options, seed)
    symmetric, watched = target.scheme.activation == "int8", every_tensor(graph)

    def measured(of: fx.GraphModule) -> RangeTable:
        return ranges_of(of, watched, calibration, observer, symmetric, progress)

    model = Switching(graph, target, measured(graph), start)
    run = _Search(made, ties, policy, model, loss, joint)

    def before_epoch(epoch: int, _: nn.Module) -> None:
        if epoch and epoch % max(1, epochs // MEASURED) == 0:
            model.ranges = measured(run.graph())

    def after_step(step: int, _: nn.Module) -> None:
        run.after_step(step)
        if joint and step == drawn:  # fewer channels give sums of another size
            model.ranges = measured(run.graph())

    log = loop.fit(
        model,
        batches,
        epochs,
        learning_rate,
        progress=progress,
        loss=run.loss,
        precision="fp32",
        before_epoch=before_epoch,
        after_step=after_step,
    )
    model.zero_grad(set_to_none=True)
    trained = run.graph()
    return Found(dict(model.choices), trained, measured(trained), run.probabilities(), run.steps, log, run.widths())
