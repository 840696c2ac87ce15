"""What several verbs ask on the command line, and the work it names."""

import argparse
import os
from typing import NamedTuple

import torch
from torch import nn

from apps.data import DataSet
from apps.data.batches import batches, sample
from apps.data.calibration import Calibration, labelled
from apps.data.opening import open_data
from apps.stream.options import above_zero
from apps.terminal import say
from edge_mpq import allocators, menu, observers, rounding, sensitivity, transforms
from edge_mpq import budget as budgets
from edge_mpq.engines.inputs import FITS, Recipe
from edge_mpq.errors import EdgeMpqError, UsageError
from edge_mpq.loading import load_model
from edge_mpq.records import target as targets
from edge_mpq.records.target import Target

VALIDATION_PICTURES = 2000


class Work(NamedTuple):
    """A model, the data to quantize it with, and how pictures become its input.

    validation: (inputs, labels) batches of training pictures that calibration does not
    use; the test pictures stay unseen until the end.
    """

    title: str
    model: nn.Module
    data: DataSet
    recipe: Recipe
    example: torch.Tensor
    calibration: Calibration
    target: Target

    def validation(self) -> list:
        taken = set(self.calibration.chosen)
        chosen = sample(self.data.train, min(len(self.data.train), VALIDATION_PICTURES + len(taken)), seed=1)
        free = [index for index in chosen if index not in taken]
        return labelled(self.data.train, self.recipe, free[:VALIDATION_PICTURES], size=32)


def add_model(parser: argparse.ArgumentParser) -> None:
    """--model and --weights."""
    parser.add_argument(
        "--model", required=True, metavar="M", help="package.module:factory, path/to/file.py:factory, or a zoo name"
    )
    parser.add_argument("--weights", metavar="W", help=".pt or .safetensors state dict (random weights without it)")


def add_data(parser: argparse.ArgumentParser) -> None:
    """--data and how pictures become inputs."""
    parser.add_argument(
        "--data",
        required=True,
        metavar="D",
        help="a folder with one subfolder per class, an .npz, a FLAME folder, module:factory, or synthetic",
    )
    parser.add_argument(
        "--size", type=int, nargs="+", metavar="PX", help="input width and height (default: the picture's)"
    )
    parser.add_argument("--fit", choices=FITS, default="stretch", help="how a picture of another shape is fitted")
    parser.add_argument("--mean", type=float, nargs=3, default=(0.485, 0.456, 0.406), metavar=("R", "G", "B"))
    parser.add_argument("--std", type=float, nargs=3, default=(0.229, 0.224, 0.225), metavar=("R", "G", "B"))


def add_task(parser: argparse.ArgumentParser) -> None:
    """What a plan is for: target, budget, formats and calibration."""
    parser.add_argument("--target", default="cpu-x86-vnni", metavar="T", help="one of " + ", ".join(targets.names()))
    parser.add_argument("--budget", default="size<=0.25x", metavar="B", help="for example size<=5bits,drop<=0.5%%")
    parser.add_argument("--formats", nargs="+", metavar="F", help="formats to choose from, such as w8a8 w4a8 fp32")
    add_calibration(parser)


def add_calibration(parser: argparse.ArgumentParser) -> None:
    """--calibration."""
    parser.add_argument(
        "--calibration", type=above_zero(int), default=512, metavar="N", help="pictures to calibrate on (512)"
    )


def add_plan(parser: argparse.ArgumentParser) -> None:
    """What a plan is made for and by."""
    add_task(parser)
    parser.add_argument("--sensitivity", default="fisher", metavar="S", help="fisher, kl, sqnr or module.path")
    parser.add_argument("--allocator", default="milp", metavar="A", help="milp, greedy or module.path")
    parser.add_argument(
        "--transform", nargs="+", default=[], metavar="X", help="rewrites of the float model, in order (none)"
    )
    parser.add_argument("--rounding", default="feedback", metavar="R", help="feedback, nearest or module.path")
    parser.add_argument("--observer", default="mse", metavar="O", help="minmax, percentile, entropy or mse")


def check_plan(args: argparse.Namespace) -> None:
    """Look up all that :func:`add_plan` lets a person name, before minutes of work; every fault is told at once."""
    named = [
        (budgets.parse, [args.budget]),
        (menu.parse, args.formats or []),
        (sensitivity.get, [args.sensitivity]),
        (allocators.get, [args.allocator]),
        (transforms.get, args.transform),
        (rounding.get, [args.rounding]),
        (observers.get, [args.observer]),
    ]
    faults = []
    for look_up, names in named:
        for name in names:
            try:
                look_up(name)
            except EdgeMpqError as error:
                faults.append(error)
    if faults:
        raise faults[0] if len(faults) == 1 else UsageError("; ".join(map(str, faults)))


def add_json(parser: argparse.ArgumentParser) -> None:
    """--json."""
    parser.add_argument("--json", action="store_true", help="one line of results on stdout")


def recipe_of(args: argparse.Namespace, data: DataSet) -> Recipe:
    """The preprocessing that ``--size --fit --mean --std`` ask for; UsageError for a bad size or std."""
    if args.size is None:
        rows, columns = data.train.frame(0).shape[:2]
        sizes = [columns, rows]
    else:
        sizes = args.size if len(args.size) == 2 else args.size * 2
    if len(sizes) != 2 or min(sizes) < 1:
        raise UsageError(f"--size {' '.join(map(str, args.size))} is no size", "give one or two numbers of pixels")
    if min(args.std) <= 0:
        raise UsageError(f"--std {args.std} holds a value that is not above 0", "give the data's standard deviation")
    return Recipe(sizes[0], sizes[1], args.fit, tuple(args.mean), tuple(args.std))


def work_of(args: argparse.Namespace) -> Work:
    """Load what the arguments of :func:`add_model`, :func:`add_data` and :func:`add_plan` name."""
    target = targets.get(args.target)
    data = open_data(args.data)
    recipe = recipe_of(args, data)
    model = load_model(args.model, args.weights)
    if args.weights is None:
        say(f"no --weights: {args.model} has random weights, its accuracy means nothing")
    calibration = Calibration(data.train, recipe, args.calibration, seed=getattr(args, "seed", 0))
    example = torch.from_numpy(next(batches(data.train, recipe, 1, [0]))[0])
    title = os.path.basename(args.model.partition(":")[2] or args.model)
    return Work(title, model, data, recipe, example, calibration, target)
