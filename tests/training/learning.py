"""A small training that draws from every random generator, and the programs that tests start as processes.

``python -m tests.training.learning killed FOLDER STEP`` trains and kills itself behind a step;
``... together FILE`` trains as one of the processes of torchrun, which write FILE.0 and FILE.1.
"""

import json
import os
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from edge_mpq.training import distributed, loop
from edge_mpq.training.checkpoint import Checkpoints
from edge_mpq.training.log import Epoch
from tests.toys import CLASSES, Unit
from tests.trained_toys import labelled

EPOCHS, PICTURES, SIZE = 3, 100, 16
STEPS = -(-PICTURES // SIZE)  # the last batch of an epoch is short


class Noisy(nn.Module):
    """A convolution, dropout by torch, and gains drawn by numpy and by Python while it trains."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Unit(3, 8)
        self.last = nn.Conv2d(8, 8, 3, bias=False)
        self.drop, self.head = nn.Dropout(0.3), nn.Linear(8, CLASSES)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        gain = 1 + 0.1 * np.random.standard_normal() + 0.1 * random.gauss(0, 1) if self.training else 1.0
        return self.head(self.drop(self.last(self.stem(pictures)).mean((2, 3)) * gain))


def plain() -> nn.Module:
    """A model without randomness or batch normalization."""
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, CLASSES))


def made(make: Callable[[], nn.Module] = Noisy, seed: int = 0) -> nn.Module:
    """A model, every generator standing at ``seed`` behind it."""
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)
    return make()


def batches(epoch: int) -> list[loop.Batch]:
    """The pictures in the order of this epoch."""
    inputs, labels = labelled(PICTURES, seed=0)
    order = torch.randperm(PICTURES, generator=torch.Generator().manual_seed(epoch))
    return [(inputs[chosen], labels[chosen]) for chosen in order.split(SIZE)]


def fitted(model: nn.Module, **options: object) -> list[Epoch]:
    """Train ``model`` for three epochs."""
    settings = {"learning_rate": 1e-2, "precision": "fp32", **options}
    return loop.fit(model, batches, EPOCHS, **settings)  # type: ignore[arg-type]


def _killed(folder: str, step: int) -> None:
    def kill(done: int, model: nn.Module) -> None:
        if done == step:
            os.kill(os.getpid(), signal.SIGKILL)

    fitted(made(), checkpoints=Checkpoints(folder, every=3), after_step=kill)


class Stopped(Exception):
    """What stops a training behind a step."""


def stop_at(step: int) -> loop.Hook:
    """An ``after_step`` that stops the training behind ``step``."""

    def hook(done: int, model: nn.Module) -> None:
        if done == step:
            raise Stopped

    return hook


def _together(file: str) -> None:
    fabric = distributed.join("cpu")
    assert fabric is not None and fabric.world_size == 2
    rank, folder = fabric.global_rank, Path(file).with_suffix("")
    model = made(plain)
    log = fitted(model, fabric=fabric)

    # Noise of its own in each process: a resume must give each its own generators back.
    whole, resumed = made(seed=rank), made(seed=rank + 5)
    made(seed=rank)
    logs = [fitted(whole, fabric=fabric)]
    try:
        saving = Checkpoints(folder, every=3)
        fitted(made(seed=rank), fabric=fabric, checkpoints=saving, after_step=stop_at(STEPS + 5))
    except Stopped:
        made(seed=9)
        logs.append(fitted(resumed, fabric=fabric, checkpoints=Checkpoints(folder, every=3, resume=True)))
    unlike = [name for name, value in whole.state_dict().items() if not torch.equal(value, resumed.state_dict()[name])]
    told = {
        "loss": [epoch.loss for epoch in log],
        "weights": {name: value.tolist() for name, value in model.state_dict().items()},
        "logs": [[epoch[:4] for epoch in one] for one in logs],
        "unlike": unlike,
    }
    Path(f"{file}.{rank}").write_text(json.dumps(told))


if __name__ == "__main__":
    if sys.argv[1] == "killed":
        _killed(sys.argv[2], int(sys.argv[3]))
    else:
        _together(sys.argv[2])
