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
