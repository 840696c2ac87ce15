"""A small mixture of experts that has learned some Python help, and windows of that text.

Everything is cached and shared: a test that changes a model or graph takes a copy of it.
"""

import functools

import torch
from torch import fx

from apps.data import text
from apps.models.moe import MixtureLM
from edge_mpq import graph as ir
from edge_mpq import simulation
from edge_mpq.training.loop import fit
from tests import trained_language
from tests.trained_language import CONTEXT

EACH, STEPS = 8, 400
# Of the one that is not trained.
WORDS, LENGTH, EXPERTS = 20, 16, 4


@functools.cache
def mixture() -> MixtureLM:
    """3 blocks of width 64 with 1 shared and 8 routed experts, trained for about 25 seconds of one core."""
    source = trained_language.source()
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(1)
        model = MixtureLM(len(source.vocabulary), CONTEXT)
        fit(model, lambda epoch: text.drawn(source.train, CONTEXT, EACH, STEPS, epoch), 1, 5e-3, precision="fp32")
    return model


@functools.cache
def graph() -> fx.GraphModule:
    """The traced graph of :func:`mixture`, for windows of ``CONTEXT`` tokens."""
    return simulation.prepared(mixture(), trained_language.source().train[:CONTEXT][None])


def copied() -> fx.GraphModule:
    """:func:`graph`, as one's own."""
    return ir.copied(graph())


@functools.cache
def small() -> fx.GraphModule:
    """A mixture that has learned nothing, traced: 2 blocks of width 32 with 1 shared and 4 routed experts."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = MixtureLM(WORDS, LENGTH, dim=32, depth=2, heads=2, hidden=32, experts=EXPERTS)
    return simulation.prepared(model.eval(), torch.zeros(1, LENGTH, dtype=torch.int64))


def tokens(count: int = 8, seed: int = 0) -> torch.Tensor:
    """Texts for :func:`small`, of words that mean nothing: int64 [count, LENGTH]."""
    return torch.randint(WORDS, (count, LENGTH), generator=torch.Generator().manual_seed(seed))


def biased(favourites: dict[int, list[int]]) -> fx.GraphModule:
    """:func:`small` with routers that send every token to ``favourites`` (block -> experts) first.

    What a router reads has mean zero over its channels and a constant in it besides: a shift of the norm before it.
    """
    graph = ir.copied(small())
    for block, experts in favourites.items():
        ir.set_parameter(graph, f"blocks.{block}.norm2.bias", torch.full((32,), 10.0))
        weight = ir.attribute(graph, f"blocks.{block}.mlp.router.weight").detach().clone()
        for place, expert in enumerate(experts):
            weight[expert] = 0.1 / (1 + place)
        others = [expert for expert in range(EXPERTS) if expert not in experts]
        weight[others] = weight[others] - weight[others].mean(1, keepdim=True)
        ir.set_parameter(graph, f"blocks.{block}.mlp.router.weight", weight)
    return graph
