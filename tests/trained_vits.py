"""A small vision transformer that has learned something, and one whose normalizations write channels of unlike size."""

import functools

import torch
from torch import fx
from torch.nn import functional

from apps.models.vit import VisionTransformer
from edge_mpq import graph as ir
from edge_mpq import simulation
from tests.toys import CLASSES, copied, pictures
from tests.trained_toys import labelled

WIDTH, BLOCKS, STEPS = 24, 3, 180


@functools.cache
@torch.enable_grad()
def trained() -> fx.GraphModule:
    """Three blocks of 16 tokens after a few seconds of training on :func:`labelled`, traced."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        learner = VisionTransformer(16, 4, WIDTH, BLOCKS, 2, CLASSES).train()
        optimizer = torch.optim.Adam(learner.parameters())
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, STEPS)
        for step in range(STEPS):
            inputs, labels = labelled(64, seed=step)
            loss = functional.cross_entropy(learner(inputs), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return simulation.prepared(learner.eval(), pictures(1))


@functools.cache
def outlying() -> fx.GraphModule:
    """The trained toy, its function unchanged, with a few channels behind each normalization far greater than others.

    So they are in large vision transformers (Li et al., RepQ-ViT, arXiv 2212.08254, figure 1).
    """
    graph = copied(trained())
    draw = torch.Generator().manual_seed(0)
    for block in range(BLOCKS):
        for norm, reader in (("norm1", "attn.qkv"), ("norm2", "mlp.fc1")):
            factor = torch.exp(1.5 * torch.randn(WIDTH, generator=draw))
            for what in ("weight", "bias"):
                path = f"blocks.{block}.{norm}.{what}"
                ir.set_parameter(graph, path, ir.attribute(graph, path) * factor)
            path = f"blocks.{block}.{reader}.weight"
            ir.set_parameter(graph, path, ir.attribute(graph, path) / factor)
    return graph
