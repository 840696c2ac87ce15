"""Toy models that hold every shape the core must handle, traced once a process.

The functions are cached, and what they return is shared: a test that changes a graph
takes a copy of it (:func:`copied`).
"""

import functools
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional

from edge_mpq import calibration, placement, simulation
from edge_mpq import graph as ir
from edge_mpq.layers import layers_of
from edge_mpq.records import plan as plans
from edge_mpq.records import target as targets
from edge_mpq.records.layer import LayerSpec
from edge_mpq.records.plan import Choice, PrecisionPlan
from edge_mpq.records.ranges import RangeTable

# Toys are too small to share among threads: handing out the work costs more than it.
torch.set_num_threads(1)

CLASSES = 5


class Unit(nn.Sequential):
    """Convolution, batch normalization and, unless told otherwise, ReLU."""

    def __init__(self, before: int, after: int, kernel: int = 3, active: bool = True, **options: Any) -> None:
        convolution = nn.Conv2d(before, after, kernel, padding=kernel // 2, bias=False, **options)
        super().__init__(convolution, nn.BatchNorm2d(after), nn.ReLU() if active else nn.Identity())


class Residual(nn.Module):
    """Stem, max pool, an identity block, a downsampling block, a depthwise pair, a concat, average pool, head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Unit(3, 8)
        self.pool = nn.MaxPool2d(2)
        self.one, self.two = Unit(8, 8), Unit(8, 8, active=False)
        self.down, self.deep = Unit(8, 16, stride=2), Unit(16, 16, active=False)
        self.short = Unit(8, 16, 1, active=False, stride=2)
        self.depthwise, self.pointwise = Unit(16, 16, groups=16), Unit(16, 8, 1)
        self.left, self.right = Unit(8, 6), Unit(8, 10, 1)
        self.last = Unit(16, 12, 1)
        self.head = nn.Linear(12, CLASSES)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        x = self.pool(self.stem(pictures))
        x = functional.relu(x + self.two(self.one(x)))
        x = functional.relu(self.deep(self.down(x)) + self.short(x))
        x = self.pointwise(self.depthwise(x))
        x = self.last(torch.cat([self.left(x), self.right(x)], 1))
        return self.head(functional.adaptive_avg_pool2d(x, 1).flatten(1))


class Transformer(nn.Module):
    """Patches, one encoder block with multi-head attention, a hard-swish and a linear with batch normalization."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.neck, self.norm = nn.Linear(width, width, bias=False), nn.BatchNorm1d(width)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        x = self.patches(pictures).flatten(2).transpose(1, 2)
        normal = self.first(x)
        x = x + self.attention(normal, normal, normal, need_weights=False)[0]
        x = x + self.down(functional.gelu(self.up(self.second(x))))
        return self.head(functional.hardswish(self.norm(self.neck(x.mean(1)))))


class UNet(nn.Module):
    """One level down and up: a grouped transposed convolution, a skip by concat, a map of one logit."""

    def __init__(self) -> None:
        super().__init__()
        self.encode, self.middle = Unit(3, 8), Unit(8, 16)
        self.grow, self.norm = nn.ConvTranspose2d(16, 8, 2, 2, groups=2, bias=False), nn.BatchNorm2d(8)
        self.decode = Unit(16, 8)
        self.head = nn.Conv2d(8, 1, 1)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        fine = self.encode(pictures)
        coarse = self.middle(functional.max_pool2d(fine, 2))
        up = functional.relu(self.norm(self.grow(coarse)))
        return self.head(self.decode(torch.cat([fine, up], 1)))


class OddOnes(nn.Module):
    """What only older opsets stumble over: pad, split, nearest resize, reductions over an axis."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        x = functional.pad(self.stem(pictures), (1, 0, 0, 1))
        left, right = x.split(4, 1)
        x = torch.cat([left * right.sigmoid(), right], 1)
        x = functional.interpolate(x, scale_factor=2.0, mode="nearest")
        return self.head(x.amax(3).mean(2))


class Shortcut(nn.Module):
    """A residual block of the CIFAR kind: its skip takes every second pixel and pads the channels with zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.down, self.deep = Unit(3, 8), Unit(8, 16, stride=2), Unit(16, 16, active=False)
        self.last = Unit(16, 16)
        self.head = nn.Linear(16, CLASSES)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        x = self.stem(pictures)
        skip = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 4, 4))
        x = self.last(functional.relu(self.deep(self.down(x)) + skip))
        return self.head(x.mean((2, 3), keepdim=True).flatten(1))


KINDS = {"residual": Residual, "shortcut": Shortcut, "transformer": Transformer, "unet": UNet, "odd": OddOnes}


def settled(model: nn.Module, seed: int = 0) -> nn.Module:
    """``model`` with every normalization at statistics and gains like a trained one's, in eval mode."""
    draw = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            for value, low, high in (
                (module.weight, 0.5, 1.5),
                (module.bias, -0.5, 0.5),
                (module.running_mean, -0.3, 0.3),
                (module.running_var, 0.2, 1.0),
            ):
                if value is not None:
                    value.data.uniform_(low, high, generator=draw)
    return model.eval()


def pictures(count: int = 16, seed: int = 0, size: int = 16) -> torch.Tensor:
    """Smooth noise, whose neighbouring pixels are correlated as in photographs: [count, 3, size, size]."""
    draw = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, 3, size // 4, size // 4, generator=draw)
    smooth = functional.interpolate(coarse, (size, size), mode="bilinear", align_corners=False)
    return smooth + 0.1 * torch.randn(count, 3, size, size, generator=draw)


def batches(count: int = 2, each: int = 8, seed: int = 0) -> list[torch.Tensor]:
    """Calibration data."""
    return list(pictures(count * each, seed).split(each))


@functools.cache
def model(kind: str) -> nn.Module:
    """The float model ``residual``, ``transformer``, ``unet`` or ``odd``."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return settled(KINDS[kind]())


@functools.cache
def graph(kind: str) -> fx.GraphModule:
    """The traced graph of a toy, normalizations folded."""
    return simulation.prepared(model(kind), pictures(1))


@functools.cache
def layers(kind: str) -> list[LayerSpec]:
    """The layers of a toy."""
    return layers_of(graph(kind))


@functools.cache
def ranges(kind: str, symmetric: bool = False) -> RangeTable:
    """The ranges of every tensor of a toy."""
    return calibration.ranges_of(graph(kind), placement.every_tensor(graph(kind)), batches(), symmetric=symmetric)


def copied(source: fx.GraphModule) -> fx.GraphModule:
    """A graph of one's own."""
    return ir.copied(source)


def planned(
    kind: str, target: str, weight: str = "int8", activation: str = "int8", **others: tuple[str, str]
) -> PrecisionPlan:
    """Every layer at ``weight`` and ``activation``, save ``others``; dots in their names are written ``__``."""
    made = plans.uniform(layers(kind), targets.get(target), weight, activation)
    return made._replace(choices={**made.choices, **{k.replace("__", "."): Choice(*v) for k, v in others.items()}})


def weight_grid(quantized: fx.GraphModule, layer: str) -> Any:
    """The quantizer of a layer's weight."""
    return simulation.weight_quantizer(quantized, layer)


def tensor_grid(quantized: fx.GraphModule, tensor: str) -> Any:
    """The quantizer of a rounded tensor."""
    return simulation.activation_quantizer(quantized, tensor)


def weight(quantized: fx.GraphModule, layer: str) -> torch.Tensor:
    """The parameter of a layer, before its quantizer."""
    source = ir.weight_of(ir.weighted(quantized)[layer][0])
    assert source is not None
    return ir.attribute(quantized, str(source.target)).detach()


def simulated(kind: str, plan: PrecisionPlan) -> fx.GraphModule:
    """The fake-quantized graph of a toy under ``plan``."""
    target = targets.get(plan.target)
    return simulation.simulate(graph(kind), plan, target, ranges(kind, target.scheme.activation == "int8"))
