"""What every training task shares: its options, its processes, and the folder it writes.

``DIR/checkpoints`` is where it goes on from, ``DIR/training.json`` what it did.
"""

import argparse
import math
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


def add_training(parser: argparse.ArgumentParser) -> None:
    """How long, how fast, in what precision, where, and where to write."""
    parser.add_argument("--epochs", type=_whole, default=20, metavar="N", help="times through the pictures (20)")
    parser.add_argument("--batch", type=_whole, default=64, metavar="N", help="pictures a step, of all processes (64)")
    parser.add_argument("--rate", type=_positive, metavar="X", help="peak learning rate (0.002; with --plan 0.001)")
    parser.add_argument("--weight-decay", type=float, default=5e-4, metavar="X", help="of AdamW (0.0005)")
    parser.add_argument("--precision", choices=amp.PRECISIONS, default="auto", help="of matrix work (auto)")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="where to train (cuda where there is one)")
    parser.add_argument("--seed", type=_whole, default=0, metavar="N", help="of order, augmentation and weights (0)")
    parser.add_argument("--out", required=True, metavar="DIR", help="where to write")
    parser.add_argument("--resume", action="store_true", help="go on from DIR/checkpoints, if there is one")
    parser.add_argument("--save-every", type=_whole, metavar="N", help="steps between checkpoints (each epoch)")
    parser.add_argument("--json", action="store_true", help="one line of results on stdout")


def add_augmentation(parser: argparse.ArgumentParser) -> None:
    """How training pictures are changed at random."""
    parser.add_argument("--no-mirror", action="store_true", help="never exchange left and right")
    parser.add_argument("--shift", type=_whole, default=USUAL.shift, metavar="PX", help="by so many pixels (0)")
    parser.add_argument("--contrast", type=float, default=USUAL.contrast, metavar="X", help="plus or minus (0.2)")
    parser.add_argument("--brightness", type=float, default=USUAL.brightness, metavar="X", help="plus or minus (0)")


def augmentation_of(args: argparse.Namespace) -> Augmentation:
    """What the arguments of :func:`add_augmentation` ask for."""
    return Augmentation(not args.no_mirror, args.shift, args.contrast, args.brightness)


class Session:
    """One training: its processes, its settings and its folder.

    leads: whether this process evaluates, writes and prints.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        if args.epochs < 1 or args.batch < 1:
            raise UsageError(f"--epochs {args.epochs} --batch {args.batch}", "both are 1 or more")
        self.args, self.out = args, Path(args.out)
        self.device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
        if self.device == "cuda" and not torch.cuda.is_available():
            raise UsageError("--device cuda was asked, and torch sees no GPU here", "train on --device cpu")
        self.fabric = distributed.join(self.device)
        self.processes = distributed.Processes(self.fabric)
        self.leads = self.processes.leads
        console.quiet = not self.leads

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


def _whole(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is below 0")
    return value


def _positive(text: str) -> float:
    value = float(text)
    if not (value > 0 and math.isfinite(value)):
        raise argparse.ArgumentTypeError(f"{text} is no rate")
    return value
