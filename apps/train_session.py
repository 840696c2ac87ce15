"""What every training task shares: its options, its processes, and the folder it writes.

``DIR/checkpoints`` is where it goes on from, ``DIR/training.json`` what it did.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from apps.data.augmentation import USUAL, Augmentation
from apps.terminal import console, say
from edge_mpq.errors import UsageError
from edge_mpq.records import document
from edge_mpq.training import amp, distributed
from edge_mpq.training.checkpoint import Checkpoints
from edge_mpq.training.log import Epoch

KIND, VERSION = "training", 1


def augmentation_of(args: argparse.Namespace) -> Augmentation:
    """What the arguments of apps.train_arguments.add_augmentation ask for."""
    given = {name: getattr(args, name) for name in ("shift", "contrast", "brightness")}
    given = {name: value for name, value in given.items() if value is not None}
    return USUAL._replace(mirror=not args.no_mirror, **given)


class Session:
    """One training: its processes, its settings and its folder.

    leads: whether this process evaluates, writes and prints.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        if args.epochs < 1 or args.batch < 1:
            raise UsageError(f"--epochs {args.epochs} --batch {args.batch}", "both are 1 or more")
        amp.precision(torch.device("cpu"), args.precision)
        self.args, self.out = args, Path(args.out)
        self.device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
        if self.device == "cuda" and not torch.cuda.is_available():
            raise UsageError("--device cuda was asked, and torch sees no GPU here", "train on --device cpu")
        self.fabric = distributed.join(self.device)
        self.processes = distributed.Processes(self.fabric)
        self.leads = self.processes.leads
        console().quiet = not self.leads

    def settings(self, facts: dict[str, Any], score: Callable[[nn.Module], float] | None = None) -> dict[str, Any]:
        """The arguments of a training loop that are the same for every task.

        facts: what must be the same when this training is resumed.  score: what the best is
        chosen by.  From here on, each process draws noise of its own.
        """
        args = self.args
        torch.manual_seed(args.seed + self.processes.rank)
        folder = self.out / "checkpoints"
        facts = {**facts, "seed": args.seed, "batch": args.batch}
        given = {} if args.rate is None else {"learning_rate": args.rate}
        return {
            **given,
            "device": self.device,
            "weight_decay": args.weight_decay,
            "precision": args.precision,
            "checkpoints": Checkpoints(folder, args.save_every, score, args.resume, facts),
            "fabric": self.fabric,
        }

    def precision(self) -> str:
        """The short name of the type that matrix work runs in."""
        return amp.name(amp.precision(torch.device(self.device), self.args.precision))

    def record(self, log: list[Epoch], precision: str, facts: dict[str, Any]) -> Path:
        """Write and tell what training did; the path of the record."""
        path = self.out / "training.json"
        body = {
            "device": self.device,
            "processes": self.processes.count,
            "precision": precision,
            "seed": self.args.seed,
            **facts,
            "epochs": [epoch._asdict() for epoch in log],
        }
        document.save(path, KIND, VERSION, body)
        overflows = sum(epoch.overflows for epoch in log)
        told = f", {overflows} steps overflowed" if overflows else ""
        say(
            f"trained on {self.device} in {precision}, {sum(epoch.seconds for epoch in log):.0f} s: "
            f"loss {log[-1].loss:.3f}, {log[-1].right:.1%} right{told}"
        )
        return path
