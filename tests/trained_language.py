"""A small GPT that has learned some Python help by heart, and windows of that text: for what needs a language model.

Everything is cached and shared: a test that changes a model or graph takes a copy of it.
"""

import functools

import torch
from torch import fx
from torch.nn.functional import cross_entropy

from apps.data import text
from apps.models.gpt import GPT
from edge_mpq import graph as ir
from edge_mpq import simulation
from edge_mpq.training.loop import Batch, fit

# Toys are too small to share among threads: handing out the work costs more than it.
torch.set_num_threads(1)

CONTEXT, EACH = 64, 16


@functools.cache
def source() -> text.Text:
    """The text; its vocabulary of 104 characters too."""
    return text.open_text()


@functools.cache
def gpt() -> GPT:
    """2 blocks of width 64, trained for about 20 seconds to a perplexity near 7."""
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        model = GPT(len(source().vocabulary), CONTEXT, dim=64, depth=2, heads=4)
        fit(model, lambda epoch: text.drawn(source().train, CONTEXT, 32, 300, seed=epoch), 1, 1e-2, precision="fp32")
    return model


@functools.cache
def graph() -> fx.GraphModule:
    """The traced graph of :func:`gpt`, for windows of ``CONTEXT`` tokens."""
    return simulation.prepared(gpt(), source().train[:CONTEXT][None])


def copied() -> fx.GraphModule:
    """:func:`graph`, as one's own."""
    return ir.copied(graph())


def batches(split: str = "train", count: int = 8, seed: int = 1000) -> list[Batch]:
    """``count`` batches of 16 windows: (tokens, next tokens), int64 [16, 64] both.

    train: from anywhere by ``seed``, other windows than those trained on.  validation: evenly over text never
    trained on.
    """
    if split == "validation":
        return text.apart(source().validation, CONTEXT, EACH, count * EACH)
    return text.drawn(source().train, CONTEXT, EACH, count, seed)


def calibration(count: int = 8, seed: int = 1000) -> list[torch.Tensor]:
    """The tokens of :func:`batches`, without labels: int64 [16, 64] each."""
    return [tokens for tokens, _ in batches("train", count, seed)]


@torch.no_grad()
def loss(model: torch.nn.Module, count: int = 8) -> float:
    """Mean cross entropy, in nats a character, of ``count`` validation batches."""
    return sum(cross_entropy(model(tokens), labels).item() for tokens, labels in batches("validation", count)) / count
