"""Scale and shift of channels move into whoever writes and reads them, wherever that is exact, and nowhere else."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import fx, nn
from torch.nn import functional

from edge_mpq import graph as ir
from edge_mpq import simulation
from edge_mpq.partial import PartialRun
from edge_mpq.transforms._fold import fold, insert
from edge_mpq.transforms._sites import Site, sites
from tests import toys

WIDTH = 12


class Tokens(nn.Module):
    """Patches as tokens, a body, the mean of the tokens: [N, 3, 16, 16] -> [N, WIDTH]."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.patches, self.body = nn.Conv2d(3, WIDTH, 4, 4), body

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return self.body(self.patches(pictures).flatten(2).transpose(1, 2)).mean(1)


class Shared(nn.Module):
    """One normalization read by three projections, and attention written out: softmax, dropout, product."""

    def __init__(self, heads: int = 3, biased: bool = True, post: bool = False) -> None:
        super().__init__()
        self.heads, self.post = heads, post
        self.norm = nn.LayerNorm(WIDTH)
        self.query, self.key, self.value = (nn.Linear(WIDTH, WIDTH, bias=biased) for _ in range(3))
        self.drop, self.proj = nn.Dropout(0.1), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        normal = self.norm(x)
        query, key, value = (
            layer(normal).unflatten(2, (self.heads, -1)).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        weights = self.drop((query @ key.transpose(2, 3)).softmax(-1))
        mixed = self.proj((weights @ value).transpose(1, 2).flatten(2))
        return mixed + (normal if self.post else x)


class Own(nn.Module):
    """Attention of a tensor with itself: the values are queries and keys too."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.after = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.before(x)
        return self.after(functional.scaled_dot_product_attention(x, x, x))


class Applied(nn.Module):
    """A normalization read by one layer applied twice."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.layer = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(functional.gelu(self.layer(self.norm(x))))


class Mixed(nn.Module):
    """What looks like moving channels and is not: a mean over them, and a pool along them."""

    def __init__(self, pools: bool) -> None:
        super().__init__()
        self.norm, self.pools = nn.LayerNorm(WIDTH), pools
        self.layer = nn.Linear(WIDTH if pools else 16, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(x)
        if self.pools:
            return self.layer(functional.max_pool2d(x.unsqueeze(1), (1, 3), 1, (0, 1)).squeeze(1))
        return self.layer(x.mean(2)).unsqueeze(1)


def convolved(*modules: nn.Module) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), *modules)


def tokens(*modules: nn.Module) -> Callable[[], nn.Module]:
    return lambda: Tokens(nn.Sequential(*modules))


# name -> (model, readers of each site, whether each bears a shift).
WITH = {
    "attention in one projection": (lambda: toys.model("transformer"), [1, 1, 1], [True, True, True]),
    "attention in three": (lambda: Tokens(Shared()), [3, 1], [True, True]),
    "attention without biases": (lambda: Tokens(Shared(biased=False)), [3, 1], [True, True]),
    "norm without gain": (
        tokens(nn.LayerNorm(WIDTH, elementwise_affine=False), nn.Linear(WIDTH, WIDTH, bias=False)),
        [1],
        [True],
    ),
    "two linears": (tokens(nn.Linear(WIDTH, 7), nn.Linear(7, WIDTH)), [1, 1], [True, True]),
    "linear, relu": (tokens(nn.Linear(WIDTH, 7), nn.ReLU(), nn.Linear(7, WIDTH)), [1, 1], [True, False]),
    "padded": (convolved(nn.Conv2d(8, 6, 3, padding=1)), [1], [False]),
    "same padding": (convolved(nn.Conv2d(8, 6, 3, padding="same")), [1], [False]),
    "unpadded": (convolved(nn.Conv2d(8, 6, 1)), [1], [True]),
    "unpadded in groups": (convolved(nn.Conv2d(8, 6, 3, groups=2, bias=False)), [1], [True]),
    "depthwise": (convolved(nn.ReLU(), nn.Conv2d(8, 16, 3, groups=8)), [1], [False]),
    "transposed": (convolved(nn.ConvTranspose2d(8, 6, 2, 2, groups=2)), [1], [False]),
    "from transposed": (
        lambda: nn.Sequential(nn.ConvTranspose2d(3, 6, 2, 2, groups=3), nn.Conv2d(6, 4, 1)),
        [1],
        [True],
    ),
    "pools": (
        convolved(nn.ReLU(), nn.MaxPool2d(3, 2, 1), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(128, 5)),
        [1],
        [False],
    ),
    "average of all": (convolved(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)), [1], [True]),
    "batch norm": (convolved(nn.ReLU(), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 1)), [1], [True]),
}
WITHOUT = {
    "read by the sum behind it": lambda: Tokens(Shared(post=True)).body,
    "gelu": convolved(nn.GELU(), nn.Conv2d(8, 4, 1)),
    "relu6": convolved(nn.ReLU6(), nn.Conv2d(8, 4, 1)),
    "average of padding": convolved(nn.AvgPool2d(3, 1, 1), nn.Conv2d(8, 4, 1)),
    "applied twice": lambda: Tokens(Applied()).body,
    "values that are queries": lambda: Tokens(Own()).body,
    "mean over channels": lambda: Tokens(Mixed(pools=False)).body,
    "pool over channels": lambda: Tokens(Mixed(pools=True)).body,
}


def prepared(make: Callable[[], nn.Module], tokens_in: bool = False) -> tuple[nn.Module, fx.GraphModule, torch.Tensor]:
    """A settled model with its graph and pictures, or tokens where the model reads those."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        model = toys.settled(make())
        for module in model.modules():
            if isinstance(module, nn.LayerNorm) and module.elementwise_affine:
                nn.init.normal_(module.weight, 1.0, 0.3)
                nn.init.normal_(module.bias)
    x = toys.pictures(5, seed=4)
    x = x.reshape(5, 16, 48)[..., :WIDTH] if tokens_in else x
    return model, simulation.prepared(model, x), x


def drawn(site: Site, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """A shift, where the site bears one, and a scale over two magnitudes."""
    draw = torch.Generator().manual_seed(seed)
    count = len(site.free)
    shift = torch.randn(count, generator=draw) if site.shifts else torch.zeros(count)
    return shift, torch.exp(1.5 * torch.randn(count, generator=draw))


def read(graph: fx.GraphModule, node: fx.Node, x: torch.Tensor) -> torch.Tensor:
    """What a layer reads when the graph runs on ``x``."""
    run = PartialRun(graph)
    run.run(x)
    return run.values[node.args[0]]


@pytest.mark.parametrize("case", WITH)
@torch.no_grad()
def test_channels_are_scaled_and_shifted_and_the_function_stays(case):
    make, readers, shifts = WITH[case]
    model, graph, x = prepared(make)
    expected = graph(x)
    found = sites(graph)
    assert [len(site.readers) for site in found] == readers
    assert [site.shifts for site in found] == shifts
    for seed, site in enumerate(found):
        shift, scale = drawn(site, seed)
        before = [read(graph, reader.node, x) for reader in site.readers]
        fold(graph, site, shift, scale)
        for reader, values in zip(site.readers, before, strict=True):
            free = site.free[reader.channels]
            along = [-1, *[1] * (values.dim() - 2)] if reader.node.target in ir.CONV else [-1]
            moved = (values - shift[reader.channels].view(along)) / scale[reader.channels].view(along)
            wanted = torch.where(free.view(along), moved, values)
            assert torch.allclose(read(graph, reader.node, x), wanted, rtol=1e-4, atol=1e-4)
    graph.graph.lint()
    assert torch.allclose(graph(x), expected, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("case", WITHOUT)
def test_what_others_read_or_mix_stays(case):
    reads_tokens = case not in ("gelu", "relu6", "average of padding")
    _, graph, _ = prepared(WITHOUT[case], reads_tokens)
    of_norms = [site for site in sites(graph) if site.source.target == ir.aten.layer_norm.default]
    assert not of_norms
    if case != "read by the sum behind it":  # whose values can still be folded
        assert not sites(graph)


def test_queries_and_keys_stay_where_one_projection_makes_all_three():
    _, graph, _ = prepared(lambda: toys.model("transformer"))
    site = sites(graph)[1]
    assert site.free.tolist() == [False] * 32 + [True] * 16
    assert site.readers[0].channels.tolist() == list(range(32, 48))


@torch.no_grad()
def test_a_shift_would_break_what_pads_with_zeros_and_is_refused():
    _, graph, x = prepared(WITH["padded"][0])
    (site,) = sites(graph)
    shift, scale = torch.ones(8), torch.ones(8)
    with pytest.raises(ValueError, match="bears no shift"):
        fold(graph, site, shift, scale)
    expected = graph(x)
    fold(graph, site._replace(shifts=True), shift, scale)
    assert (graph(x) - expected)[..., 1:-1, 1:-1].abs().max() < 1e-5  # inside the border it holds
    assert (graph(x) - expected).abs().max() > 1e-2


@torch.no_grad()
def test_a_pair_is_put_where_nothing_folds_and_is_itself_a_site_from_then_on():
    _, graph, x = prepared(tokens(nn.GELU(), nn.Linear(WIDTH, WIDTH)))
    expected = graph(x)
    assert not sites(graph)
    (layer,) = ir.weighted(graph)["body.1"]
    made = insert(graph, [layer])
    assert torch.equal(graph(x), expected)
    for seed in range(2):
        (site,) = sites(graph)
        assert site.source is made.source and site.shifts and [r.node for r in site.readers] == [layer]
        fold(graph, site, *drawn(site, seed))
        assert torch.allclose(graph(x), expected, rtol=1e-4, atol=2e-5)
    assert "body.1.gelu_shift" in graph.state_dict()


@pytest.mark.parametrize("case", ["attention in one projection", "attention in three", "padded", "norm without gain"])
@torch.no_grad()
def test_the_exported_model_computes_the_same(case):
    pytest.importorskip("onnxruntime")
    from export import onnx_from_torch
    from tests.export import exported

    _, graph, x = prepared(WITH[case][0])
    expected = graph(x).numpy()
    for site in sites(graph):
        fold(graph, site, *drawn(site))
    for layer in ir.weighted(graph).values():
        if layer[0].target == ir.aten.linear.default:
            insert(graph, layer)
            break
    model = onnx_from_torch.onnx_from_graph(graph, onnx_from_torch.NEWEST_OPSET)
    assert np.abs(exported.answers(model, x) - expected).max() < 1e-4
