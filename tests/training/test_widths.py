"""Narrower layers: which go together, which channels stay, and that a narrow graph computes what a masked one does."""

import functools

import pytest
import torch
from torch import fx, nn
from torch.nn import functional

from edge_mpq import graph as ir
from edge_mpq import simulation
from edge_mpq.layers import layers_of
from edge_mpq.partial import PartialRun
from edge_mpq.training import widths
from tests import toys

SIZE = 16


class Plain(nn.Module):
    """A chain: a depthwise layer of two outputs each, a squeeze-and-excite gate, and a linear over all places."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.twice = toys.Unit(3, 8), toys.Unit(8, 16, groups=8)
        self.squeeze, self.gate = nn.Conv2d(16, 4, 1), nn.Conv2d(4, 16, 1)
        self.hidden, self.head = nn.Linear(16 * 4, 12), nn.Linear(12, toys.CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.twice(self.stem(x))
        x = x * torch.sigmoid(self.gate(functional.silu(self.squeeze(x.mean((2, 3), keepdim=True)))))
        x = functional.adaptive_avg_pool2d(x, 2).flatten(1)
        return self.head(functional.hardswish(self.hidden(x)))


class Tokens(nn.Module):
    """Linears over tokens whose batch is not the first axis."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.up, self.down = nn.Conv2d(3, 8, 4, 4), nn.Linear(8, 24), nn.Linear(24, toys.CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.patches(x).flatten(2).permute(2, 0, 1)
        return self.down(functional.gelu(self.up(tokens))).mean(0)


class Joining(nn.Module):
    """A Concat of two layers meets a third in an Add; a transposed convolution; the picture in a Concat."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.both = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(3, 6, 3, 2, 1), nn.Conv2d(3, 10, 3, 2, 1)
        self.grow, self.last = nn.ConvTranspose2d(10, 8, 2, 2), nn.Conv2d(11, toys.CLASSES, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        met = torch.cat([self.left(x), self.right(x)], 1) + self.both(x)
        return self.last(torch.cat([x, self.grow(met.relu())], 1)).mean((2, 3))


class Refusing(nn.Module):
    """Layers whose channels are counted or mixed by what is no layer."""

    def __init__(self) -> None:
        super().__init__()
        self.sliced, self.again, self.before = nn.Conv2d(3, 8, 3), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 8, 1)
        self.norm, self.grouped = nn.BatchNorm2d(8), nn.Conv2d(8, 8, 1, groups=2)
        self.viewed, self.head = nn.Conv2d(8, 6, 1), nn.Linear(6, toys.CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.again(self.again(self.sliced(x)[:, 2:6]))
        x = self.viewed(self.grouped(self.norm(functional.relu(self.before(x)))))
        return self.head(x.mean((2, 3)).unflatten(1, (2, 3)).flatten(1))


OWN = {"plain": Plain, "tokens": Tokens, "joining": Joining, "refusing": Refusing}


@functools.cache
def graph(kind: str) -> fx.GraphModule:
    if kind not in OWN:
        return toys.graph(kind)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return simulation.prepared(toys.settled(OWN[kind]()), toys.pictures(1))


@functools.cache
def found(kind: str) -> widths.Widths:
    return widths.widths_of(graph(kind))


def masked(kind: str, kept: torch.Tensor) -> fx.GraphModule:
    model = ir.copied(graph(kind))
    for name, mask in widths.masks(model, found(kind).channels, kept).items():
        source = str(ir.weighted(model)[name][0].args[1].target)
        ir.set_parameter(model, source, ir.attribute(model, source) * mask)
    return model


def drawn(kind: str, seed: int) -> list[float]:
    draw = torch.Generator().manual_seed(seed)
    shares = torch.tensor([0.3, 0.5, 0.75, 1.0])
    return shares[torch.randint(4, (len(found(kind).groups),), generator=draw)].tolist()


def off(one: torch.Tensor, other: torch.Tensor) -> float:
    return (one - other).abs().max().item()


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("kind", ["residual", "shortcut", "transformer", "unet", "plain", "tokens", "joining"])
@torch.no_grad()
def test_the_narrow_graph_computes_what_the_masked_one_does(kind, seed):
    kept, x = found(kind).kept(drawn(kind, seed)), toys.pictures(4, seed=1)
    narrow = widths.narrowed(graph(kind), found(kind).channels, kept)
    assert off(narrow(x), masked(kind, kept)(x)) < 1e-6
    assert off(narrow(x), graph(kind)(x)) > 1e-3  # it is another function than the whole
    whole, layers = (layers_of(one) for one in (graph(kind), narrow))
    assert [layer.name for layer in layers] == [layer.name for layer in whole]
    assert sum(layer.weights for layer in layers) < sum(layer.weights for layer in whole)
    assert sum(layer.macs for layer in layers) < sum(layer.macs for layer in whole)
    run = PartialRun(narrow)
    run.run(x[:3])
    for node, value in run.values.items():  # what is known of shapes is so
        if isinstance(value, torch.Tensor) and node.op == "call_function":
            known = node.meta["val"].shape
            assert any(not isinstance(extent, int) for extent in known), node  # of the batch
            assert all(a == b for a, b in zip(known, value.shape, strict=True) if isinstance(a, int)), node


@torch.no_grad()
def test_a_mask_of_other_channels_is_another_function():
    half = [0.5] * len(found("plain").groups)
    kept, x = found("plain").kept(half), toys.pictures(4)
    other = kept.clone()
    (hidden,) = found("plain").groups[-1].strata
    other[hidden] = kept[hidden.flip(0)]
    narrow = widths.narrowed(graph("plain"), found("plain").channels, kept)
    assert off(narrow(x), masked("plain", kept)(x)) < 1e-6 and off(narrow(x), masked("plain", other)(x)) > 1e-3


@pytest.mark.parametrize("kind", ["residual", "transformer"])
@torch.no_grad()
def test_full_width_leaves_everything_as_it_is(kind):
    kept = found(kind).kept([1.0] * len(found(kind).groups))
    assert kept.all() and not widths.masks(graph(kind), found(kind).channels, kept)
    narrow = widths.narrowed(graph(kind), found(kind).channels, kept)
    assert layers_of(narrow) == layers_of(graph(kind))
    assert torch.equal(narrow(toys.pictures(2)), graph(kind)(toys.pictures(2)))


def test_what_meets_in_an_add_or_passes_a_depthwise_layer_is_one_group_and_the_classes_stay():
    assert [group.layers for group in found("residual").groups] == [
        ("stem.0", "two.0"),
        ("one.0",),
        ("down.0",),
        ("deep.0", "short.0", "depthwise.0"),
        ("pointwise.0",),
        ("left.0",),
        ("right.0",),
        ("last.0",),
    ]
    assert found("residual").whole == {"head": "the model's output"}
    assert [group.layers for group in found("plain").groups] == [
        ("stem.0", "twice.0", "gate"),
        ("squeeze",),
        ("hidden",),
    ]


def test_a_shortcut_that_pads_channels_keeps_the_same_share_of_both_parts():
    group = found("shortcut").groups[0]
    assert group.layers == ("stem.0", "deep.0") and sorted(map(len, group.strata)) == [8, 8]
    kept = found("shortcut").kept([0.5, 1.0, 1.0])
    narrow = widths.narrowed(graph("shortcut"), found("shortcut").channels, kept)
    shapes = {layer.name: layer.weight_shape for layer in layers_of(narrow)}
    assert shapes["stem.0"] == (4, 3, 3, 3) and shapes["deep.0"] == (8, 16, 3, 3) and shapes["last.0"] == (16, 8, 3, 3)


def test_a_concat_that_meets_another_layer_is_cut_in_the_same_places():
    (group, grow) = found("joining").groups
    assert group.layers == ("left", "right", "both") and sorted(map(len, group.strata)) == [4, 6]
    kept = found("joining").kept([0.5, 1.0])
    narrow = widths.narrowed(graph("joining"), found("joining").channels, kept)
    shapes = {layer.name: layer.weight_shape[:2] for layer in layers_of(narrow)}
    assert (shapes["left"], shapes["right"], shapes["both"], shapes["grow"]) == ((2, 3), (3, 3), (5, 3), (5, 8))
    assert shapes["last"] == (toys.CLASSES, 11) and grow.layers == ("grow",)


def test_what_counts_or_mixes_channels_keeps_them_and_the_reason_is_told():
    assert not found("refusing").groups
    why = found("refusing").whole
    assert "slice" in why["sliced"] and why["again"] == "again is applied 2 times"
    assert "batch_norm" in why["before"] and why["grouped"] == "grouped has 2 groups"
    assert "unflatten" in why["viewed"] and why["head"] == "the model's output"
    # Of a transformer, what lies between two linears can be narrower; the stream behind normalizations cannot.
    assert [group.layers for group in found("transformer").groups] == [("up",), ("neck",)]
    assert {"patches", "attention.in_proj", "attention.out_proj", "down"} <= set(found("transformer").whole)
    assert found("unet").whole["grow"] == "grow has 2 groups" == found("unet").whole["middle.0"]


def test_the_channels_of_a_lesser_width_are_among_those_of_a_greater_one_and_the_heaviest_stays():
    heavy = ir.copied(graph("residual"))
    with torch.no_grad():
        ir.attribute(heavy, "one.0.weight")[5] *= 100
        ir.attribute(heavy, "one.0.weight")[2] *= 0.01
    told = widths.widths_of(heavy)
    place = [group.layers for group in told.groups].index(("one.0",))
    order, numbers = told.groups[place].strata[0], told.channels.writes["one.0"]
    assert order[0] == numbers[5] and order[-1] == numbers[2]
    kept = [told.kept([share] * len(told.groups)) for share in (0.01, 0.5, 0.75, 1.0)]
    for less, more in zip(kept, kept[1:], strict=False):
        assert (less <= more).all() and less.sum() < more.sum()
    assert all(kept[0][numbers].any() for numbers in told.channels.writes.values())
    assert kept[1][numbers].sum() == 4 and kept[2][numbers].sum() == 6
