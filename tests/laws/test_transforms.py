"""Laws that every transform keeps, present and future, and where normalizations fold and where they stay."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from edge_mpq import graph as ir
from edge_mpq import transforms
from edge_mpq.errors import UsageError
from edge_mpq.progress import silent
from edge_mpq.records import target as targets
from tests import toys

BY_BITS = ["channel_clip", "channel_offset", "noisy_bias"]
every_transform = pytest.mark.parametrize("name", [*transforms.names(), *(f"{name}:bits=4" for name in BY_BITS)])


class Twice(nn.Module):
    """One convolution applied twice, a normalization behind the second time."""

    def __init__(self) -> None:
        super().__init__()
        self.shared, self.norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return self.norm(self.shared(functional.relu(self.shared(pictures))))


class ReadTwice(nn.Module):
    """A convolution whose output is read beside its normalization."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        x = self.conv(pictures)
        return x + self.norm(x)


class Tokens(nn.Module):
    """A linear over tokens; BatchNorm1d normalizes the tokens, not the linear's outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(16, 16), nn.BatchNorm1d(16)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return self.norm(self.linear(pictures.mean(1)))


class Functional(nn.Module):
    """A normalization behind a convolution whose weight or bias is no module's, beside one of bias ``other``."""

    def __init__(self, weight: str, bias: str = "", other: str = "") -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)
        self.kernel, self.offset = nn.Parameter(torch.randn(4, 3, 1, 1)), nn.Parameter(torch.randn(4))
        self.weight, self.bias, self.other = weight, bias, other

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        weight, bias = self.get_parameter(self.weight), self.get_parameter(self.bias) if self.bias else None
        x = self.norm(functional.conv2d(pictures, weight, bias))
        return x + functional.conv2d(pictures, self.kernel, self.get_parameter(self.other)) if self.other else x


class Attention(nn.Module):
    """Attention without biases behind a normalization: its projection is a parameter, of no linear."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(16), nn.MultiheadAttention(16, 2, bias=False, batch_first=True)
        nn.init.uniform_(self.norm.bias)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        x = self.norm(pictures.mean(1))
        return self.attention(x, x, x, need_weights=False)[0]


def chain(*modules: nn.Module) -> nn.Module:
    return nn.Sequential(*modules)


FOLDING = {
    "convolution": lambda: chain(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5)),
    "convolution without bias": lambda: chain(nn.Conv2d(3, 5, 3, bias=False), nn.BatchNorm2d(5)),
    "same padding": lambda: chain(nn.Conv2d(3, 5, 3, padding="same"), nn.BatchNorm2d(5)),
    "depthwise": lambda: chain(nn.Conv2d(3, 6, 3, groups=3, bias=False), nn.BatchNorm2d(6)),
    "transposed": lambda: chain(nn.ConvTranspose2d(3, 4, 2, 2), nn.BatchNorm2d(4)),
    "transposed in groups": lambda: chain(nn.ConvTranspose2d(3, 6, 3, groups=3, bias=False), nn.BatchNorm2d(6)),
    "one dimension": lambda: chain(nn.Flatten(2), nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4)),
    "linear": lambda: chain(nn.Flatten(1), nn.Linear(768, 5, bias=False), nn.BatchNorm1d(5)),
    "without gain": lambda: chain(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5, affine=False)),
    "bias elsewhere": lambda: Functional("conv.weight", "offset"),
    "weight elsewhere": lambda: Functional("kernel"),
    "weight and bias elsewhere": lambda: Functional("kernel", "offset"),
    "without the bias beside it": lambda: Functional("conv.weight", other="conv.bias"),
    "two in a row": lambda: chain(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.BatchNorm2d(5)),
}
STAYING = {
    "first": lambda: chain(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 1)),
    "behind an activation": lambda: chain(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.BatchNorm2d(4)),
    "behind a shared layer": Twice,
    "behind a layer read twice": ReadTwice,
    "behind a layer whose bias is another's too": lambda: Functional("conv.weight", "conv.bias", "conv.bias"),
    "behind a linear over tokens": Tokens,
}
CASES = {**FOLDING, **STAYING, "attention without biases": Attention}


def applied(name: str, graph: torch.fx.GraphModule, target: str = "cpu-x86-vnni") -> torch.fx.GraphModule:
    """``graph`` after a transform that has seen pictures."""
    return transforms.get(name).apply(graph, toys.batches(), targets.get(target), silent)


def traced(case: str) -> tuple[nn.Module, torch.fx.GraphModule]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        made = toys.settled(CASES[case]())
    return made, ir.trace(made, toys.pictures(1))


def norms(graph: torch.fx.GraphModule) -> int:
    return sum(node.target in ir.BATCH_NORM for node in graph.graph.nodes)


def test_the_door_lists_the_transforms() -> None:
    assert "batchnorm_fold" in transforms.names()
    with pytest.raises(UsageError, match="choose one of .*batchnorm_fold"):
        transforms.get("nothing")


@pytest.mark.parametrize("name", BY_BITS)
def test_bits_behind_a_name_are_what_it_chooses_by(name):
    plain, same, few = (
        applied(one, ir.trace(toys.model("transformer"), toys.pictures(1))).state_dict()
        for one in (name, f"{name}:bits=8", f"{name}:bits=4")
    )
    assert plain.keys() == same.keys() and all(torch.equal(plain[key], same[key]) for key in plain)
    assert plain.keys() != few.keys() or any(not torch.equal(plain[key], few[key]) for key in plain)
    for wrong in (f"{name}:bits=9", f"{name}:bits=", f"{name}:size=4", "smooth:bits=4"):
        with pytest.raises(UsageError):
            transforms.get(wrong)


@every_transform
@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_the_float_function_stays(name, case):
    made, graph = traced(case)
    before = {key: value.clone() for key, value in made.state_dict().items()}
    changed = applied(name, graph)
    for count in (1, 5):
        x = toys.pictures(count, seed=count)
        assert torch.allclose(changed(x), made(x), rtol=1e-5, atol=1e-5)
    assert all(torch.equal(value, before[key]) for key, value in made.state_dict().items())
    changed.graph.lint()


@every_transform
@pytest.mark.parametrize("kind", toys.KINDS)
@torch.no_grad()
def test_toy_models_stay_too_and_a_second_time_changes_nothing(name, kind):
    graph = applied(name, ir.trace(toys.model(kind), toys.pictures(1)))
    x = toys.pictures(4, seed=7)
    once = graph(x)
    assert torch.allclose(once, toys.model(kind)(x), rtol=1e-5, atol=1e-5)
    names = [node.name for node in graph.graph.nodes]
    assert torch.allclose(applied(name, graph)(x), once, rtol=1e-5, atol=1e-5)
    assert [node.name for node in graph.graph.nodes] == names


@every_transform
def test_layers_keep_their_names(name):
    graph = ir.trace(toys.model("residual"), toys.pictures(1))
    before = list(ir.weighted(graph))
    assert list(ir.weighted(applied(name, graph))) == before


# What is peculiar to folding normalizations.


@pytest.mark.parametrize("case", FOLDING)
def test_normalizations_behind_a_layer_are_folded(case):
    _, graph = traced(case)
    assert norms(graph) > 0
    assert norms(transforms.get("batchnorm_fold").apply(graph)) == 0


@pytest.mark.parametrize("case", STAYING)
def test_other_normalizations_stay(case):
    _, graph = traced(case)
    assert norms(graph) == 1
    assert norms(transforms.get("batchnorm_fold").apply(graph)) == 1


def test_a_folded_layer_has_a_bias_under_its_own_name():
    _, graph = traced("convolution without bias")
    graph = transforms.get("batchnorm_fold").apply(graph)
    (node,) = ir.weighted(graph)["0"]
    assert str(node.args[2].target) == "0.bias"
    assert "1.running_mean" not in graph.state_dict()
