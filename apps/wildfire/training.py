"""Train a wildfire model and say how it answers: what ``edge-mpq train wildfire-classify`` and ``-segment`` do."""

import argparse
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from apps import measure, train_session
from apps.data import Pictures
from apps.data.augmentation import Shuffled, picking
from apps.data.batches import batches
from apps.terminal import bar, say
from apps.train_session import Session
from apps.wildfire import metrics, opening
from apps.wildfire.opening import Parts
from apps.wildfire.tasks import TASKS, Task, counts_of, judged
from apps.work import recipe_of
from edge_mpq.engines import inputs
from edge_mpq.engines.inputs import Recipe
from edge_mpq.errors import ModelError, UsageError
from edge_mpq.loading import load_model, read_state
from edge_mpq.records import document
from edge_mpq.records import report as reports
from edge_mpq.records.evaluation import Evaluation
from edge_mpq.records.report import RunReport
from edge_mpq.report import files, page
from edge_mpq.training import checkpoint, loop
from edge_mpq.training.log import Epoch

SIZE = 32  # pictures a batch where nothing is learned
SHOWN = ("accuracy", "f1", "mean_pixel_accuracy", "mean_iou", "average_precision")


class Job(NamedTuple):
    """A task on its data.  shuffled: the pictures to learn from.  held: (inputs, labels) that choose the epoch.

    labels: of all that is learned from, by which the loss is weighed.
    """

    task: Task
    parts: Parts
    recipe: Recipe
    shuffled: Shuffled
    held: list[tuple[torch.Tensor, torch.Tensor]]
    labels: torch.Tensor

    def pairs(self, pictures: Pictures, indices: Sequence[int], what: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Inputs and truth of chosen pictures, batch by batch."""
        found = batches(self.task.labelled(pictures, self.recipe), self.recipe, SIZE, indices)
        return bar(found, what, -(-len(indices) // SIZE))

    def score(self, model: nn.Module) -> float:
        """The task's figure on the held-out pictures; of a model in eval mode, wherever it is."""
        place = next(model.parameters()).device
        size = len(self.task.CLASSES)
        counts = np.zeros((size, size), np.int64)
        for values, labels in self.held:
            counts += counts_of(self.task, model(values.to(place)).float().cpu().numpy(), labels.numpy())
        return metrics.figures(counts, self.task.POSITIVE)[self.task.METRIC]


def job_of(args: argparse.Namespace) -> Job:
    """Open the data that the arguments name and read what is needed of it again and again."""
    if not 0 < args.hold_out < 1:
        raise UsageError(f"--hold-out {args.hold_out}", "give a share between 0 and 1")
    task = TASKS[args.task]
    sizes = args.size if len(args.size) == 2 else args.size * 2
    if len(sizes) != 2 or min(sizes) < 1 or args.pictures < 2:
        raise UsageError(f"--size {args.size} --pictures {args.pictures}", "give pixels, and 2 pictures or more")
    width, height = sizes
    data = task.open_data(args.data, Path(args.out) / "data", args.pictures, width, height, bar)
    parts, recipe = opening.parts_of(data, args.hold_out), recipe_of(args, data)
    labelled = task.labelled(data.train, recipe)
    pick = picking(labelled, recipe, parts.learned, bar)
    how = train_session.augmentation_of(args)
    shuffled = Shuffled(pick, len(parts.learned), args.batch, how, args.seed)
    known = bar(batches(labelled, recipe, SIZE, parts.held), "reading held-out", -(-len(parts.held) // SIZE))
    held = [(torch.from_numpy(values), torch.from_numpy(labels)) for values, labels in known]
    learned = torch.from_numpy(np.array([labelled.label(i) for i in parts.learned[:: _stride(task, parts)]], np.int64))
    for labels in (learned, torch.cat([labels for _, labels in held])):
        task.check(labels)
    return Job(task, parts, recipe, shuffled, held, learned)


def _stride(task: Task, parts: Parts) -> int:
    """Of masks some hundred tell how rare fire is; labels of pictures cost nothing to read."""
    return max(1, len(parts.learned) // 256) if task.UNIT == "pixels" else 1


def fitted(job: Job, model: nn.Module, epochs: int, settings: dict[str, Any], balance: bool) -> list[Epoch]:
    """Train ``model`` in place and give it the weights of its best epoch; the log."""
    _check(job, model)
    log = loop.fit(model, job.shuffled, epochs, progress=bar, loss=job.task.loss(job.labels, balance), **settings)
    model.load_state_dict(read_state(str(settings["checkpoints"].best)))
    return log


def train(args: argparse.Namespace, command: str) -> dict[str, Any] | None:
    """Train what ``args`` ask for; what was written, None in processes that do not lead."""
    session = Session(args)
    job = job_of(args)
    model = load_model(args.model, args.weights, args.seed)
    settings = session.settings(facts_of(args, job), job.score)
    log = fitted(job, model, args.epochs, settings, not args.no_balance)
    session.processes.wait()
    if not session.leads:
        return None
    weights = session.out / "model.safetensors"
    document.write_bytes(weights, checkpoint.weights(model))
    found = evaluated(job, model, job.parts.data.test, "testing")
    facts = {
        "task": f"wildfire-{args.task}",
        "command": command,
        "model": args.model,
        "data": job.parts.data.name,
        "learned_pictures": len(job.parts.learned),
        "held_out_pictures": len(job.parts.held),
        "test_pictures": len(job.parts.data.test),
        "best_held_out_share": settings["checkpoints"].best_score,
    }
    told = {name: found.figures[name] for name in SHOWN}
    record = session.record(log, session.precision(), {**facts, "confusion": found.confusion, "test": found.figures})
    report = RunReport(
        f"wildfire-{args.task}: {args.model}",
        datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "",
        measure.machine(torch.get_num_threads()) | {"torch": torch.__version__},
        facts={name: value for name, value in facts.items() if name != "command"}
        | {"precision": session.precision(), "training_s": sum(epoch.seconds for epoch in log)}
        | {"loss": {f"epoch {n + 1}": epoch.loss for n, epoch in enumerate(log)}},
        commands=[command],
        evaluation=found,
    )
    reports.save(session.out / files.REPORT_NAME, report)
    files.write(session.out / "report.html", page.render(report), [session.out / files.REPORT_NAME])
    say(", ".join(f"{name.replace('_', ' ')} {value:.2%}" for name, value in told.items()))
    say(f"wrote {weights}, {record} and {session.out / 'report.html'}")
    return {"wrote": str(weights), "training": str(record), "page": str(session.out / "report.html"), **told}


@torch.no_grad()
def evaluated(job: Job, model: nn.Module, pictures: Pictures, what: str) -> Evaluation:
    """How ``model``, in eval mode on the CPU, answers all of ``pictures``."""
    outputs, truth = [], []
    for values, labels in job.pairs(pictures, range(len(pictures)), what):
        outputs.append(model(torch.from_numpy(values)).numpy())
        truth.append(labels)
    return judged(
        job.task,
        np.concatenate(outputs),
        np.concatenate(truth),
        lambda i: inputs.fit(pictures.frame(i), job.recipe),
    )


def facts_of(args: argparse.Namespace, job: Job) -> dict[str, Any]:
    """What must be the same when a training is resumed."""
    return {
        "task": job.task.NAME,
        "model": args.model,
        "weights": args.weights,
        "data": job.parts.data.name,
        "pictures": len(job.parts.learned),
        "inputs": inputs.to_json(job.recipe),
        "augmentation": train_session.augmentation_of(args)._asdict(),
        "balance": not args.no_balance,
    }


@torch.no_grad()
def _check(job: Job, model: nn.Module) -> None:
    """ModelError when the model does not answer what the task asks."""
    values, labels = job.held[0]
    wanted = list(labels.shape[1:])
    outputs = model.eval()(values[:1])
    shape = list(outputs.shape) if torch.is_tensor(outputs) else None
    if shape is None or shape[2:] != wanted or len(shape) < 2 or not 1 <= shape[1] <= len(job.task.CLASSES):
        what = "maps of one or two scores a pixel" if wanted else "one or two scores"
        raise ModelError(
            f"the model answers {shape or type(outputs).__name__} to a picture of {job.recipe.width}x"
            f"{job.recipe.height} pixels",
            f"wildfire-{job.task.NAME} wants {what}: see --model",
        )
