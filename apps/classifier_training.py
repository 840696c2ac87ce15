"""Train a classifier, in floating point or under a plan: what ``edge-mpq train classify`` does."""

import argparse
import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from apps import train_session
from apps.data import DataSet, Pictures
from apps.data.augmentation import Shuffled, picking
from apps.data.batches import batches, sample
from apps.data.opening import open_data
from apps.terminal import bar, say
from apps.train_session import Session
from apps.work import recipe_of, work_of
from edge_mpq import transforms
from edge_mpq.calibration import ranges_of
from edge_mpq.drop import share_right
from edge_mpq.engines import inputs
from edge_mpq.engines.inputs import Recipe
from edge_mpq.errors import ModelError
from edge_mpq.loading import load_model, read_state
from edge_mpq.placement import every_tensor
from edge_mpq.records import document
from edge_mpq.records import plan as plans
from edge_mpq.simulation import prepared
from edge_mpq.training import checkpoint, loop, qat
from edge_mpq.training.log import Epoch
from export import bundle_from_torch
from export.bundle_from_torch import Quantized

SIZE = 64  # pictures a batch where nothing is learned
# How weights that are trained already live best with a plan (benchmarks/qat.py): by the float model's
# answers, on its own statistics, in small steps.
FROM_TRAINED = {"learning_rate": 1e-4, "frozen": 1.0, "distillation": 1.0}


class Trained(NamedTuple):
    """A trained model on the CPU, what it learned from, and what was written."""

    model: nn.Module
    data: DataSet
    recipe: Recipe
    log: list[Epoch]
    precision: str
    wrote: Path


def train(args: argparse.Namespace, command: str) -> dict[str, Any] | None:
    """Train what ``args`` (apps/train_classify.py) ask for; what was written, None in processes that do not lead."""
    session = Session(args)
    trained = _under_plan(args, session) if args.plan else _in_float(args, session)
    if not session.leads:
        return None
    test = trained.data.test
    right = share_right(trained.model, _tensors(test, trained.recipe, range(len(test)), "testing"))
    facts = {
        "task": "classify",
        "command": command,
        "data": trained.data.name,
        "classes": list(trained.data.classes),
        "wrote": trained.wrote.name,
        "test_pictures": len(test),
        "test_right": right,
    }
    record = session.record(trained.log, trained.precision, facts)
    say(f"{right:.2%} of {len(test)} test pictures right; wrote {trained.wrote} and {record}")
    result = {"wrote": str(trained.wrote), "training": str(record), "test_right": right, "test_pictures": len(test)}
    return {**result, "loss": trained.log[-1].loss}


def _in_float(args: argparse.Namespace, session: Session) -> Trained:
    """Train all the model in mixed precision; the best epoch on held-out pictures, else the last."""
    data = open_data(args.data)
    recipe = recipe_of(args, data)
    model = load_model(args.model, args.weights, args.seed)
    _check_classes(model, data, recipe)
    count = len(data.train)
    held = sample(data.train, max(1, round(args.hold_out * count)), args.seed) if args.hold_out else []
    learned = sorted(set(range(count)) - set(held))
    known = list(_tensors(data.train, recipe, held, "reading held-out pictures")) if held else []

    def score(trained: nn.Module) -> float:
        device = next(trained.parameters()).device
        return share_right(trained, [(values.to(device), labels.to(device)) for values, labels in known])

    settings = session.settings(_facts(args, data, recipe), score if held else None)
    log = loop.fit(model, _shuffled(args, data, recipe, learned), args.epochs, progress=bar, **settings)
    if held:
        session.processes.wait()  # for the leader to have written the best
        model.load_state_dict(read_state(str(settings["checkpoints"].best)))
    path = session.out / "model.safetensors"
    if session.leads:
        document.write_bytes(path, checkpoint.weights(model))
    return Trained(model, data, recipe, log, session.precision(), path)


def _under_plan(args: argparse.Namespace, session: Session) -> Trained:
    """Train under a plan from where the weights stand, and write the bundle of what was learned."""
    plan = plans.load(args.plan)
    args.target = plan.target
    work = work_of(args)
    _check_classes(work.model, work.data, work.recipe)
    args.precision = "fp32" if args.precision == "auto" else args.precision  # bf16 holds eight bits and no more
    graph = prepared(work.model, work.example)
    if plan.transforms:
        graph = transforms.apply_all(plan.transforms, graph, work.calibration, work.target, bar)
    symmetric = work.target.scheme.activation == "int8"
    ranges = ranges_of(graph, every_tensor(graph), work.calibration, args.observer, symmetric, bar)
    sha256 = hashlib.sha256(Path(args.plan).read_bytes()).hexdigest()
    facts = {**_facts(args, work.data, work.recipe), "plan": sha256, "calibration": args.calibration}
    shuffled = _shuffled(args, work.data, work.recipe, range(len(work.data.train)))
    origin = graph if plan.transforms else work.model  # a model as it is keeps its normalizations to train
    settings = {**(FROM_TRAINED if args.weights else {}), **session.settings(facts)}
    learned = qat.fit(origin, work.example, plan, ranges, shuffled, args.epochs, progress=bar, **settings)
    path = session.out / "bundle"
    if session.leads:
        bundle_from_torch.write(
            path,
            work.title,
            learned.graph,
            Quantized(plan, learned.model),
            None,
            work.target,
            learned.ranges,
            work.recipe,
            work.data.classes,
            "classify",
        )
    return Trained(learned.model, work.data, work.recipe, learned.log, session.precision(), path)


def _facts(args: argparse.Namespace, data: DataSet, recipe: Recipe) -> dict[str, Any]:
    """What must be the same when a training is resumed."""
    return {
        "model": args.model,
        "weights": args.weights,
        "data": data.name,
        "pictures": len(data.train),
        "inputs": inputs.to_json(recipe),
        "augmentation": train_session.augmentation_of(args)._asdict(),
        "hold_out": args.hold_out,
    }


def _shuffled(args: argparse.Namespace, data: DataSet, recipe: Recipe, indices: "list[int] | range") -> Shuffled:
    pick = picking(data.train, recipe, indices, bar)
    return Shuffled(pick, len(indices), args.batch, train_session.augmentation_of(args), args.seed)


def _tensors(pictures: Pictures, recipe: Recipe, indices: "list[int] | range", what: str) -> Any:
    found = bar(batches(pictures, recipe, SIZE, indices), what, -(-len(indices) // SIZE))
    return ((torch.from_numpy(values), torch.from_numpy(labels)) for values, labels in found)


@torch.no_grad()
def _check_classes(model: nn.Module, data: DataSet, recipe: Recipe) -> None:
    """ModelError when the model cannot tell the classes of the data apart."""
    values, _ = next(batches(data.train, recipe, 1, [0]))
    outputs = model(torch.from_numpy(values))
    classes = len(data.classes)
    shape = list(outputs.shape) if torch.is_tensor(outputs) else type(outputs).__name__
    if not torch.is_tensor(outputs) or outputs.dim() != 2 or (outputs.shape[1] == 1 and classes > 2):
        raise ModelError(f"the model answers {shape} for one picture of {classes} classes", "a classifier is wanted")
    if 1 < outputs.shape[1] < classes:
        raise ModelError(
            f"the model has {outputs.shape[1]} outputs, the data {classes} classes", "give it more outputs"
        )
    if outputs.shape[1] > classes:
        say(f"the model has {outputs.shape[1]} outputs for {classes} classes: the others learn to stay silent")
