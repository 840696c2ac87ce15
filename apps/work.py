"""The model, the data and the target that a command line names."""

import argparse
import os
from typing import NamedTuple

import torch
from torch import nn

from apps.data import DataSet
from apps.data.batches import batches, sample
from apps.data.calibration import Calibration, labelled
from apps.data.masks import Maps, Masked
from apps.data.opening import open_data
from apps.terminal import say
from edge_mpq.engines.inputs import Recipe
from edge_mpq.errors import UsageError
from edge_mpq.loading import load_model
from edge_mpq.records import target as targets
from edge_mpq.records.target import Target

VALIDATION_PICTURES = 2000


class Work(NamedTuple):
    """A model, the data to quantize it with, and how pictures become its input.

    validation: (inputs, labels) batches of training pictures that calibration does not
    use, labels being maps where the data has masks; the test pictures stay unseen until the end.
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
        train = self.data.train
        truth = Maps(train, self.recipe) if isinstance(train, Masked) else train
        return labelled(truth, self.recipe, free[:VALIDATION_PICTURES], size=32)


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
    """Load what the arguments of apps/arguments.py name."""
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
