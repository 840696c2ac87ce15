"""Hutchinson's traces: right in the mean, as far off as they should be, and no probe more than it takes."""

import math

import torch
from torch import nn

from edge_mpq import graph as ir
from edge_mpq.sensitivity import hessian
from edge_mpq.simulation import prepared
from tests import toys
from tests.sensitivity.small import exact_hessian, perceptron


def quadratic(draw: torch.Generator, size: int = 40) -> tuple[torch.Tensor, list]:
    """G of 1/2 w^T G^T G w with two blocks, and a list that counts probes of it."""
    return torch.randn(size, size, generator=draw, dtype=torch.float64) / size**0.5, []


def probes(factor: torch.Tensor, draw: torch.Generator, counted: list):
    def one():
        counted.append(1)
        signs = torch.randint(2, (len(factor),), generator=draw).double() * 2 - 1
        return torch.split(factor.T @ signs, [10, len(factor) - 10])

    return one


def traces(factor: torch.Tensor) -> torch.Tensor:
    """The traces of the two diagonal blocks of the quadratic's Hessian."""
    curvature = (factor.T @ factor).diagonal()
    return torch.stack([curvature[:10].sum(), curvature[10:].sum()])


def test_the_traces_of_a_quadratic_are_found_and_the_error_falls_as_one_over_root_of_the_probes():
    draw = torch.Generator().manual_seed(0)
    factor, counted = quadratic(draw)
    exact = traces(factor)
    errors = {}
    for most in (16, 144):
        found = torch.stack([hessian.hutchinson(probes(factor, draw, counted), 0.0, most) for _ in range(40)])
        errors[most] = ((found / exact - 1) ** 2).mean().sqrt().item()
        assert torch.allclose(found.mean(0), exact, rtol=5 * errors[most] / math.sqrt(40))
    assert 0.7 * 3 < errors[16] / errors[144] < 1.4 * 3


def test_a_diagonal_hessian_takes_no_more_than_the_least_and_a_tolerance_is_kept():
    draw, counted = torch.Generator().manual_seed(0), []
    straight = torch.diag(torch.arange(1.0, 41.0, dtype=torch.float64))
    assert torch.allclose(hessian.hutchinson(probes(straight, draw, counted), 0.05, 1000), traces(straight))
    assert len(counted) == hessian.LEAST
    factor, counted = quadratic(draw)
    found = hessian.hutchinson(probes(factor, draw, counted), 0.02, 10**5)
    assert hessian.LEAST < len(counted) < 10**4 and torch.allclose(found, traces(factor), rtol=0.1)


def test_probes_at_the_logits_find_the_traces_of_a_network_s_own_hessian():
    graph, inputs = perceptron()
    nodes = ir.weighted(graph)
    logits, weights, _, moves = hessian.differentiable(graph, nodes, inputs)
    draw = torch.Generator().manual_seed(0)
    parts = [*weights.values(), *moves.values()]
    found = hessian.hutchinson(hessian._probes(logits, parts, draw), 0.0, 400)
    full = exact_hessian(graph, nodes, inputs)
    sizes = [part.numel() for part in parts]
    exact = torch.stack([block.sum() for block in full.diagonal().split(sizes)])
    assert torch.allclose(found, exact.double(), rtol=0.1)
    assert exact.max() > 3 * exact.min()  # not all alike: the blocks are told apart


def test_what_stands_behind_normalization_counts_as_folded_and_at_rest():
    """A graph that planning hands out has no normalization left, and nothing in it trains."""
    graph = prepared(toys.model("residual"), toys.pictures(1))
    assert not graph.graph.find_nodes(op="call_function", target=torch.ops.aten.batch_norm.default)
    assert not any(module.training for module in graph.modules() if not isinstance(module, nn.Identity))
