"""LayerSpecs: multiply-adds that can be counted by hand, groups, ties and shared weights."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from edge_mpq import simulation
from edge_mpq.errors import ModelError
from edge_mpq.layers import layers_of
from edge_mpq.records.layer import LayerSpec
from tests import toys


def layers(model: nn.Module, example: torch.Tensor | None = None) -> dict[str, LayerSpec]:
    graph = simulation.prepared(model, toys.pictures(1) if example is None else example)
    return {layer.name: layer for layer in layers_of(graph)}


# What is on the left writes as many values as the middle says; each takes as many products as on the right.
COUNTED = {
    "plain": (nn.Conv2d(3, 5, 3), (5 * 14 * 14) * (3 * 9)),
    "strided": (nn.Conv2d(3, 5, 3, stride=2, padding=1), (5 * 8 * 8) * (3 * 9)),
    "pointwise": (nn.Conv2d(3, 5, 1), (5 * 16 * 16) * 3),
    "depthwise": (nn.Conv2d(3, 6, 3, groups=3), (6 * 14 * 14) * 9),
    "same": (nn.Conv2d(3, 5, 5, padding="same"), (5 * 16 * 16) * (3 * 25)),
    "oblong": (nn.Conv2d(3, 5, (1, 3), dilation=2), (5 * 16 * 12) * (3 * 3)),
    "transposed": (nn.ConvTranspose2d(3, 5, 2, 2), (3 * 16 * 16) * (5 * 4)),  # by what is read
    "transposed in groups": (nn.ConvTranspose2d(3, 6, 3, groups=3), (3 * 16 * 16) * (2 * 9)),
    "over rows": (nn.Linear(16, 7), (3 * 16 * 7) * 16),
}


@pytest.mark.parametrize("case", COUNTED)
def test_multiply_adds_are_those_counted_by_hand(case):
    module: Any = COUNTED[case][0]
    macs = COUNTED[case][1]
    (layer,) = layers(nn.Sequential(module)).values()
    assert layer.macs == macs
    assert layer.weight_shape == tuple(module.weight.shape) and layer.weights == module.weight.numel()
    assert layer.groups == getattr(module, "groups", 1)
    assert layer.input_shape == (3, 16, 16) and layer.name == "0"
    with torch.no_grad():
        assert layer.output_shape == tuple(module(toys.pictures(1)).shape[1:])


def test_one_dimension():
    (layer,) = layers(nn.Sequential(nn.Flatten(2), nn.Conv1d(3, 5, 9, stride=2))).values()
    assert (layer.kind, layer.output_shape, layer.macs) == ("conv1d", (5, 124), 5 * 124 * 27)


@pytest.mark.parametrize("batch_first", [True, False])
def test_attention_counts_every_token_wherever_the_pictures_stand(batch_first):
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.MultiheadAttention(12, 3, batch_first=batch_first)

        def forward(self, tokens):
            x = tokens if batch_first else tokens.transpose(0, 1)
            x = self.inner(x, x, x, need_weights=False)[0]
            return x if batch_first else x.transpose(0, 1)

    found = layers(Attention(), torch.randn(1, 7, 12))
    assert {name: (layer.weight_shape, layer.macs) for name, layer in found.items()} == {
        "inner.in_proj": ((36, 12), 7 * 36 * 12),
        "inner.out_proj": ((12, 12), 7 * 12 * 12),
    }
    assert all(layer.kind == "linear" for layer in found.values())


def test_pictures_folded_into_frames_are_counted_as_many():
    class Frames(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 4, 3, padding=1)

        def forward(self, pictures):
            return self.conv(pictures.reshape(-1, 1, 16, 16)).reshape(-1, 12, 16, 16)

    assert layers(Frames())["conv"].macs == 3 * (4 * 16 * 16) * 9


def test_a_shared_layer_is_one_layer_with_the_work_of_both_applications():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.shared = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, pictures):
            return self.shared(functional.max_pool2d(self.shared(pictures), 2))

    found = layers(Twice())
    assert list(found) == ["shared"]
    assert found["shared"].macs == 3 * 27 * (16 * 16 + 8 * 8) and found["shared"].weights == 81


def test_what_meets_in_an_add_or_a_concat_is_tied():
    ties = {layer.name: layer.tie for layer in toys.layers("residual")}
    groups: dict[str | None, set[str]] = {}
    for name, tie in ties.items():
        groups.setdefault(tie, set()).add(name)
    alone = groups.pop(None)
    assert sorted(map(sorted, groups.values())) == [["deep.0", "short.0"], ["left.0", "right.0"], ["stem.0", "two.0"]]
    assert "head" in alone and "depthwise.0" in alone


def test_a_concat_of_concats_ties_them_all():
    class Dense(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c, self.d = (nn.Conv2d(3, 4, 1) for _ in range(4))

        def forward(self, pictures):
            a, b, c = self.a(pictures), self.b(pictures), self.c(pictures)
            return torch.cat([a, b], 1), torch.cat([functional.relu(b), c], 1), self.d(pictures)

    class Joined(nn.Module):
        def __init__(self):
            super().__init__()
            self.dense = Dense()

        def forward(self, pictures):
            one, other, alone = self.dense(pictures)
            return one.mean() * other.mean() * alone.mean((1, 2, 3))

    found = layers(Joined())
    assert found["dense.a"].tie == found["dense.b"].tie == found["dense.c"].tie is not None
    assert found["dense.d"].tie is None


def test_a_model_without_layers_is_refused():
    with pytest.raises(ModelError, match="no convolution or linear layer"):
        layers(nn.Sequential(nn.MaxPool2d(2)))


@pytest.mark.parametrize("kind", toys.KINDS)
def test_every_parameter_of_a_layer_is_counted(kind):
    weights = {name: value.numel() for name, value in toys.graph(kind).named_parameters() if value.dim() > 1}
    assert sum(layer.weights for layer in toys.layers(kind)) == sum(weights.values())
