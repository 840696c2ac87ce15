"""A toy that has learned something, and one whose layers bear few bits very unequally: for what ranks layers."""

import functools

import torch
from torch import fx
from torch.nn import functional

from edge_mpq import graph as ir
from edge_mpq import simulation
from tests.toys import CLASSES, Residual, copied, pictures


def labelled(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures with labels: each is one of ``CLASSES`` fixed patterns at some strength, in noise."""
    patterns = pictures(CLASSES, seed=100)
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (count,), generator=draw)
    strengths = 0.2 + 0.6 * torch.rand(count, 1, 1, 1, generator=draw)
    return pictures(count, seed + 1000) + strengths * patterns[labels], labels


@functools.cache
@torch.enable_grad()
def trained() -> fx.GraphModule:
    """The residual toy after a few seconds of training on :func:`labelled`, traced and folded."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        learner = Residual().train()
        optimizer = torch.optim.Adam(learner.parameters())
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, 120)
        for step in range(120):
            inputs, labels = labelled(64, seed=step)
            loss = functional.cross_entropy(learner(inputs), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return simulation.prepared(learner.eval(), pictures(1))


@functools.cache
def unbalanced() -> fx.GraphModule:
    """The trained toy, its function unchanged, with channels of very unlike size in the inputs of some layers.

    Channels that one layer writes are scaled, and the weights of the next that read them
    scaled back: rows of weights with heavy tails, by degrees, which few bits cannot hold.
    """
    graph = copied(trained())
    draw = torch.Generator().manual_seed(0)
    for first, second, spread in (
        ("one.0", "two.0", 1.0),
        ("down.0", "deep.0", 2.0),
        ("depthwise.0", "pointwise.0", 0.6),
        ("left.0", "last.0", 1.3),  # the first channels of a concat
        ("last.0", "head", 1.6),
    ):
        wide = ir.attribute(graph, first + ".weight").detach()
        factor = torch.exp(spread * torch.randn(len(wide), generator=draw))
        ir.set_parameter(graph, first + ".weight", wide * factor.view(-1, 1, 1, 1))
        ir.set_parameter(graph, first + ".bias", ir.attribute(graph, first + ".bias") * factor)
        reading = ir.attribute(graph, second + ".weight").detach().clone()
        reading[:, : len(wide)] /= factor.view(1, -1, *[1] * (reading.dim() - 2))
        ir.set_parameter(graph, second + ".weight", reading)
    return graph
