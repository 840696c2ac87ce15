"""The one training loop: float training, quantization-aware training and segmentation all run it."""

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from itertools import islice
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from edge_mpq.errors import DataError, ModelError
from edge_mpq.progress import Progress, silent
from edge_mpq.training import amp, generators
from edge_mpq.training.checkpoint import Checkpoints, Learner, Moment
from edge_mpq.training.distributed import Processes, synchronized
from edge_mpq.training.log import Epoch, Tally

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Batch = tuple[torch.Tensor, torch.Tensor]
Batches = Callable[[int], Iterable[Batch]]
Hook = Callable[[int, nn.Module], None]
Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def classification(outputs: torch.Tensor, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross entropy of ``outputs`` [N, K, ...] with classes [N, ...]; for K = 1, of one logit with 0 and 1."""
    if outputs.shape[1] == 1:
        return functional.binary_cross_entropy_with_logits(outputs, labels.reshape(outputs.shape).to(outputs.dtype))
    return functional.cross_entropy(outputs, labels)


def steps_of(batches: Batches) -> int:
    """How many batches an epoch has; DataError when none."""
    first = batches(0)
    steps = len(first) if isinstance(first, Sized) else sum(1 for _ in first)
    if not steps:
        raise DataError("there is no batch to train on", "give pictures")
    return steps


def fit(
    model: nn.Module,
    batches: Batches,
    epochs: int,
    learning_rate: float = 2e-3,
    device: str = "cpu",
    progress: Progress = silent,
    *,
    loss: Loss = classification,
    precision: str = "auto",
    weight_decay: float = 5e-4,
    before_epoch: Hook | None = None,
    after_step: Hook | None = None,
    checkpoints: Checkpoints | None = None,
    fabric: "Fabric | None" = None,
) -> list[Epoch]:
    """Train ``model`` in place by AdamW with a one-cycle rate; one Epoch an epoch.

    batches: epoch -> (inputs [N, ...], classes [N] or class maps [N, H, W]) batches, as many
    every epoch.  They depend on the epoch alone; only while an epoch's first batch is made may
    they draw from the global random generators (a DataLoader does), or a resumed run differs.
    loss: (outputs, inputs, labels) -> the mean over pictures.  precision: see edge_mpq.training.amp.
    before_epoch: called with the epoch and the model; a resumed run calls it again for every
    epoch that began before it.  after_step: called with the number of steps done and the model.
    checkpoints: where to save and whether to resume.  fabric: the processes to train with
    (edge_mpq.training.distributed), each of which is given the same batches; it overrides ``device``.

    A model that has ``parameter_groups(learning_rate, weight_decay)`` decides the groups of the
    optimizer, each with its own ``lr`` (the peak of its cycle) and ``weight_decay``.

    The same seeds give the same weights bit for bit on one CPU, also across kills and resumes.
    Leaves ``model`` in eval mode on the CPU.  Raises ModelError when the loss stops being finite.
    """
    place = torch.device(device) if fabric is None else fabric.device
    kind = amp.precision(place, precision)
    model.train().to(place, memory_format=torch.channels_last)  # type: ignore[call-overload]
    run = _Run(model, loss, kind, place, Processes(fabric), checkpoints)
    run.prepare(batches, epochs, learning_rate, weight_decay)
    with synchronized(model, place, run.processes):
        run.begin(before_epoch)
        for epoch in range(run.moment.epoch, epochs):
            stream = run.open_epoch(batches, before_epoch)
            left = run.steps - run.moment.step
            for inputs, labels in progress(stream, f"training, epoch {epoch + 1} of {epochs}", left):
                run.step(inputs, labels)
                if after_step is not None:
                    after_step(epoch * run.steps + run.moment.step, model)
                run.save_if_due()
            run.close_epoch()
    model.eval().to("cpu", memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return run.moment.log


class _Run:
    """One call of :func:`fit`: what it trains, with what, and where it stands."""

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        kind: torch.dtype,
        place: torch.device,
        processes: Processes,
        checkpoints: Checkpoints | None,
    ) -> None:
        self.model, self.loss, self.kind, self.place = model, loss, kind, place
        self.processes, self.checkpoints, self.moment = processes, checkpoints, Moment()

    def prepare(self, batches: Batches, epochs: int, rate: float, decay: float) -> None:
        """Make optimizer and schedule for as many steps as there will be."""
        self.steps = steps_of(batches)
        groups = getattr(self.model, "parameter_groups", None)
        parameters = self.model.parameters() if groups is None else groups(rate, decay)
        optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=decay)
        peaks = [group["lr"] for group in optimizer.param_groups]
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, peaks, total_steps=self.steps * epochs)
        self.learner = Learner(self.model, optimizer, schedule, amp.scaler(self.place, self.kind))
        self.facts = {
            "epochs": epochs,
            "steps": self.steps,
            "learning_rate": rate,
            "weight_decay": decay,
            "precision": amp.name(self.kind),
            "processes": self.processes.count,
        }

    def begin(self, before_epoch: Hook | None) -> None:
        """Go on from the last checkpoint, where one is to be resumed."""
        self.runner = self.processes.wrapped(self.model)
        if self.checkpoints is None:
            return
        if self.processes.leads:
            self.checkpoints.clear()
        self.processes.wait()
        saved = self.checkpoints.read(self.facts)
        if saved is None:
            return
        self.moment = saved.moment()
        if before_epoch is not None:
            for past in range(self.moment.epoch + (self.moment.step > 0)):
                before_epoch(past, self.model)
        saved.into(self.learner)
        if not self.processes.leads:  # the sums are those of all processes: one goes on with them
            self.moment.tally = Tally(overflows=self.moment.tally.overflows)
        self.moment.began, self.moment.now = (
            self.processes.own(states) for states in (self.moment.began, self.moment.now)
        )
        saved.restore_generators(self.moment.now, self.place)

    def open_epoch(self, batches: Batches, before_epoch: Hook | None) -> Iterator[Batch]:
        """The batches of this epoch that are not done yet."""
        now = self.moment
        if now.step == 0:
            if before_epoch is not None:
                before_epoch(now.epoch, self.model)
            now.began = generators.states(self.place)
            stream = iter(batches(now.epoch))
        else:
            here = generators.states(self.place)
            generators.restore(now.began, self.place)
            stream = iter(batches(now.epoch))
            for _ in islice(stream, now.step):
                pass
            generators.restore(here, self.place)
        self.clock = time.perf_counter()
        return stream

    def step(self, inputs: torch.Tensor, labels: torch.Tensor) -> None:
        """Learn from one batch."""
        now, (_, optimizer, schedule, scaler) = self.moment, self.learner
        if now.step == self.steps:
            raise DataError(f"epoch {now.epoch} has more than {self.steps} batches", "give as many every epoch")
        inputs, labels, weight = self.processes.share(inputs, labels)
        layout = torch.channels_last if inputs.dim() == 4 else torch.preserve_format
        inputs, labels = inputs.to(self.place, memory_format=layout), labels.to(self.place)
        with amp.autocast(self.place, self.kind):
            outputs = self.runner(inputs)
            loss = self.loss(outputs, inputs, labels)
        if not torch.isfinite(loss):
            raise ModelError(f"the loss is {loss.item()} in epoch {now.epoch}", "lower the learning rate")
        optimizer.zero_grad(set_to_none=True)
        self.processes.backward(scaler.scale(loss * weight) if weight != 1 else scaler.scale(loss))
        before = scaler.get_scale()
        scaler.step(optimizer)
        scaler.update()
        if scaler.get_scale() < before:
            now.tally.overflows += 1  # a step that was skipped leaves the rate where it is
        else:
            schedule.step()
        if weight:
            now.tally.add(loss.item(), outputs, labels)
        now.step += 1

    def save_if_due(self) -> None:
        """Save in the middle of an epoch, every so many steps of the run."""
        now, every = self.moment, self.checkpoints.every if self.checkpoints else None
        if every and now.step < self.steps and (now.epoch * self.steps + now.step) % every == 0:
            self._save()

    def close_epoch(self) -> None:
        """Log the epoch that is done, keep the best and the last."""
        now = self.moment
        if now.step < self.steps:
            what = f"epoch {now.epoch} has {now.step} batches, not {self.steps}"
            raise DataError(what, "give as many every epoch")
        self._tick()
        now.log.append(self.processes.total(now.tally).epoch(self.learner.scaler.get_scale()))
        now.epoch, now.step, now.tally, now.began = now.epoch + 1, 0, Tally(), {}
        if self.checkpoints is not None:
            if self.processes.leads:
                self.checkpoints.keep_best(self.model)
            self._save()

    def _save(self) -> None:
        assert self.checkpoints is not None
        self._tick()
        gathered = self.processes.gathered
        whole = dataclasses.replace(
            self.moment,
            tally=self.processes.total(self.moment.tally),
            began=gathered(self.moment.began),
            now=gathered(generators.states(self.place)),
        )
        if self.processes.leads:
            self.checkpoints.write(self.learner, whole, self.facts)

    def _tick(self) -> None:
        now = time.perf_counter()
        self.moment.tally.seconds += now - self.clock
        self.clock = now
