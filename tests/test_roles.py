"""Roles: mixtures are found by their shape, and what only looks like one is none."""

import pytest
import torch
from torch import nn

from apps.models.vit import VisionTransformer
from edge_mpq import simulation
from edge_mpq.errors import ModelError
from edge_mpq.roles import Role, blocks, roles_of
from tests import toys, trained_mixture


def kinds(graph: torch.fx.GraphModule, **options) -> dict[str, str]:
    return {name: role.kind for name, role in roles_of(graph, **options).items()}


def test_every_layer_of_a_mixture_has_its_role():
    roles = roles_of(trained_mixture.small())
    for block in range(2):
        assert roles[f"blocks.{block}.attn.c_attn"] == Role("attention", block)
        assert roles[f"blocks.{block}.mlp.router"] == Role("router", block)
        for part in ("up", "down"):
            assert roles[f"blocks.{block}.mlp.shared.{part}"] == Role("shared", block)
            for expert in range(trained_mixture.EXPERTS):
                assert roles[f"blocks.{block}.mlp.experts.{expert}.{part}"] == Role("routed", block, expert)
    assert roles["head"] == Role("dense")
    assert [len(names) for names in blocks(roles)] == [2 + 2 + 2 * trained_mixture.EXPERTS] * 2


class Gated(nn.Module):
    """An expert of three layers without biases, as in Mixtral and DeepSeek."""

    def __init__(self, hidden: int):
        super().__init__()
        self.gate_proj, self.up_proj = nn.Linear(8, hidden, bias=False), nn.Linear(8, hidden, bias=False)
        self.down_proj = nn.Linear(hidden, 8, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down_proj(nn.functional.silu(self.gate_proj(x)) * self.up_proj(x))


class Sparse(nn.Module):
    """Tokens in one row, experts of one size, a wider shared one, and a linear as wide as the router that is none."""

    def __init__(self, experts: int = 4):
        super().__init__()
        self.before = nn.Linear(8, experts)
        self.back = nn.Linear(experts, 8)
        self.gate, self.experts = nn.Linear(8, experts, bias=False), nn.ModuleList(Gated(12) for _ in range(experts))
        self.shared_experts = Gated(24)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = (x + self.back(self.before(x).relu())).flatten(0, 1)
        best = self.gate(rows).softmax(-1)
        kept = best * (best >= best.topk(2, -1).values[:, -1:])
        mixed = torch.stack([expert(rows) for expert in self.experts], -1) @ kept.unsqueeze(-1)
        return (mixed.squeeze(-1) + self.shared_experts(rows)).unflatten(0, x.shape[:2])


def test_other_names_and_flattened_tokens_are_no_obstacle():
    model = nn.Sequential(Sparse())
    found = kinds(simulation.prepared(model, torch.randn(1, 5, 8)))
    assert found["0.gate"] == "router" and found["0.before"] == found["0.back"] == "dense"
    assert {found[f"0.experts.{expert}.{part}_proj"] for expert in range(4) for part in ("gate", "up", "down")} == {
        "routed"
    }
    assert found["0.shared_experts.down_proj"] == "shared"


def test_blocks_that_follow_each_other_are_no_experts_even_beside_a_head_of_as_many_classes():
    model = VisionTransformer(16, 4, 8, depth=3, heads=2, num_classes=3)
    found = kinds(simulation.prepared(model.eval(), toys.pictures(1)))
    assert set(found.values()) == {"attention", "dense"}
    assert set(kinds(toys.graph("residual")).values()) == {"dense"}
    assert kinds(toys.graph("transformer"))["attention.in_proj"] == "attention"


class Branches(nn.Module):
    """Convolutions side by side, and one of as many channels as there are branches beside them."""

    def __init__(self) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU()) for _ in range(2))
        self.gate = nn.Conv2d(3, 2, 1)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        left, right = self.gate(pictures).sigmoid().chunk(2, 1)
        one, other = (branch(pictures) for branch in self.branches)
        return left * one + right * other


def test_branches_beside_a_convolution_are_no_experts():
    graph = simulation.prepared(Branches(), toys.pictures(1))
    assert set(kinds(graph).values()) == {"dense"}


def test_a_mixture_can_be_named_and_a_wrong_name_is_told():
    graph = simulation.prepared(nn.Sequential(Sparse()), torch.randn(1, 5, 8))
    assert kinds(graph, routers={}) == dict.fromkeys(kinds(graph), "dense")
    assert kinds(graph, routers={"0.experts": "0.before"})["0.before"] == "router"
    with pytest.raises(ModelError, match=r"0\.experts2, 0\.gates"):
        roles_of(graph, routers={"0.experts2": "0.gates"})
