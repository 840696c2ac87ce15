"""A network small enough to write its whole Hessian down."""

import functools

import torch
from torch import fx, nn
from torch.nn import functional

from edge_mpq import calibration, placement, simulation
from edge_mpq.records.ranges import RangeTable
from edge_mpq.sensitivity import hessian


@functools.cache
def perceptron() -> tuple[fx.GraphModule, torch.Tensor]:
    """Eight layers with tanh between them, weights such that answers are neither sure nor flat; inputs [24, 6]."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [nn.Linear(6, 8), *(nn.Linear(8, 8) for _ in range(6)), nn.Linear(8, 4)]
        for layer in layers:
            nn.init.normal_(layer.weight, std=1.4 / layer.in_features**0.5)
        first, *others = layers
        network = nn.Sequential(first, *(part for layer in others for part in (nn.Tanh(), layer)))
        inputs = torch.randn(24, 6)
    return simulation.prepared(network.eval(), inputs), inputs


@functools.cache
def ranges() -> RangeTable:
    """The ranges of the perceptron's tensors on its inputs."""
    graph, inputs = perceptron()
    return calibration.ranges_of(graph, placement.every_tensor(graph), [inputs])


@torch.enable_grad()
def exact_hessian(graph: fx.GraphModule, nodes: dict[str, list[fx.Node]], inputs: torch.Tensor) -> torch.Tensor:
    """The summed loss's Hessian, answers the model's own, over all weights and then all reads: by backward twice."""
    logits, weights, _, moves = hessian.differentiable(graph, nodes, inputs)
    parts = [*weights.values(), *moves.values()]
    loss = functional.cross_entropy(logits, logits.detach().softmax(1), reduction="sum")
    slope = torch.cat([part.flatten() for part in torch.autograd.grad(loss, parts, create_graph=True)])
    rows = torch.autograd.grad(slope, parts, torch.eye(len(slope)), is_grads_batched=True, materialize_grads=True)
    return torch.cat([part.flatten(1) for part in rows], 1)
