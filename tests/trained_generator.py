"""A generator that has learned to draw one shape by a prompt, and prompts for it: for what conditional models need.

Everything is cached and shared: a test that changes a graph takes a copy of it.
"""

import functools

import torch
from torch import fx
from torch.nn import functional

from apps.models.conditional_generator import Generator, pack
from edge_mpq import simulation

# Toys are too small to share among threads: handing out the work costs more than it.
torch.set_num_threads(1)

SIDE, STEPS, EACH = 16, 240, 32
# The words of a prompt by place: kind, size, column, row; then three that say nothing.
CHOICES = (3, 3, 4, 4, 1, 1, 1)
# How much greater token 0 is than any word, as in the text encoders of Stable Diffusion.
RATIO = 60.0


def prompts(count: int, seed: int) -> torch.Tensor:
    """Words int64 [count, 7]; every place has numbers of its own."""
    draw = torch.Generator().manual_seed(seed)
    starts = torch.tensor([0, *CHOICES[:-1]]).cumsum(0)
    drawn = [torch.randint(choices, (count,), generator=draw) for choices in CHOICES]
    return torch.stack(drawn, 1) + starts


def drawn(words: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """The picture [N, S, S] of zeros and ones that a prompt asks for; noise [N, S, S] ruffles its edge."""
    kind, size, column, row = (words - torch.tensor([0, *CHOICES[:-1]]).cumsum(0))[:, :4].T
    radius = (2.5 + 1.2 * size).view(-1, 1, 1)
    across = torch.arange(SIDE) - (4.0 + 2.7 * column).view(-1, 1)
    down = torch.arange(SIDE) - (4.0 + 2.7 * row).view(-1, 1)
    x, y = across[:, None, :], down[:, :, None]
    circle, square = (x.square() + y.square()).sqrt(), torch.maximum(x.abs(), y.abs())
    ring = (circle - radius).abs() + radius - 1.2
    kinds = torch.stack([circle, 1.1 * square, ring], 1)
    distance = kinds[torch.arange(len(kind)), kind] - radius
    smooth = functional.avg_pool2d(noise[:, None], 3, 1, 1)[:, 0]
    return (distance + 2.0 * smooth < 0).float()


def labelled(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs [count, 2, S, S] of a generator and the pictures [count, S, S] they ask for."""
    words = prompts(count, seed)
    noise = torch.randn(count, SIDE, SIDE, generator=torch.Generator().manual_seed(seed + 10**6))
    return pack(noise, words), drawn(words, noise)


@functools.cache
def state(seed: int = 0) -> dict[str, torch.Tensor]:
    """The parameters of a generator whose token 0 is no greater than its words, after about 15 seconds."""
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        model = Generator().train()
        optimizer = torch.optim.Adam(model.parameters())
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, STEPS)
        for step in range(STEPS):
            inputs, pictures = labelled(EACH, seed=1000 * seed + step)
            loss = functional.mse_loss(model(inputs)[:, 0].sigmoid(), pictures)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.state_dict()


@functools.cache
def graph(ratio: float = RATIO, seed: int = 0) -> fx.GraphModule:
    """The traced graph of the generator with token 0 ``ratio`` times as great as any word: one function for all."""
    model = Generator()
    model.load_state_dict(state(seed))
    return simulation.prepared(model.eval().strengthen(ratio), labelled(2, 0)[0])


def calibration(count: int = 4, seed: int = 50_000) -> list[torch.Tensor]:
    """``count`` batches of 16 inputs."""
    return [labelled(16, seed + index)[0] for index in range(count)]


@torch.no_grad()
def error(model: torch.nn.Module, count: int = 8) -> float:
    """Mean squared error of the pictures, each pixel in [0, 1], on ``count`` batches of prompts never trained on."""
    errors = []
    for index in range(count):
        inputs, pictures = labelled(EACH, 90_000 + index)
        errors.append(functional.mse_loss(model(inputs)[:, 0].sigmoid(), pictures))
    return float(torch.stack(errors).mean())
