"""Short quantization-aware trainings of the toys."""

import functools
from typing import Any

import torch
from torch import fx

from edge_mpq import graph as ir
from edge_mpq.records import target as targets
from edge_mpq.training import loop, qat
from edge_mpq.training.trainee import Trainee
from tests import toys, trained_toys

UINT8, INT8 = "cpu-x86-vnni", "jetson-orin-nano"


@functools.cache
def unfolded(kind: str) -> fx.GraphModule:
    """The traced graph of a toy with its normalizations in it: tracing takes most of the time of a short training."""
    return ir.trace(toys.model(kind), toys.pictures(1))


def labelled(kind: str) -> loop.Batches:
    """Three batches an epoch, with labels that fit the toy: classes, or a map of yes and no."""

    def batches(epoch: int) -> list:
        made = [trained_toys.labelled(8, seed=10 * epoch + index) for index in range(3)]
        return made if kind != "unet" else [(x, (x[:, 0] > 0.2).long()) for x, _ in made]

    return batches


def trained(kind: str, plan: Any, epochs: int = 3, **options: Any) -> qat.Trained:
    table = toys.ranges(kind, targets.get(plan.target).scheme.activation == "int8")
    return qat.fit(unfolded(kind), toys.pictures(1), plan, table, labelled(kind), epochs, 2e-3, **options)


def trainee(kind: str, plan: Any, *options: Any) -> Trainee:
    table = toys.ranges(kind, targets.get(plan.target).scheme.activation == "int8")
    return qat.prepare(unfolded(kind), toys.pictures(1), plan, table, *options)


def walk(learner: Trainee, kind: str, steps: int = 4, rate: float = 2e-3) -> None:
    """A few steps by hand, leaving the learner in training mode."""
    optimizer = torch.optim.AdamW(learner.train().parameter_groups(rate, 0.0))
    batches = [batch for epoch in range(steps) for batch in labelled(kind)(epoch)][:steps]
    for inputs, labels in batches:
        loss = loop.classification(learner(inputs), inputs, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def same(one: fx.GraphModule, other: fx.GraphModule) -> bool:
    mine, theirs = one.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)
