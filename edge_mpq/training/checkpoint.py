"""Training that can be killed at any moment and goes on at the exact step.

A checkpoint is one safetensors file: the tensors of the model, of the optimizer and of the
random generators, and in its header a JSON record of all that is no tensor.  It is written
to a temporary name and renamed, so there is always a whole one; nothing in it is unpickled.
"""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from edge_mpq import loading
from edge_mpq.errors import ModelError
from edge_mpq.records import document
from edge_mpq.training import generators
from edge_mpq.training.generators import States
from edge_mpq.training.log import Epoch, Tally

KIND, VERSION = "checkpoint", 1
RECORD = "edge_mpq"  # its key in the header of the file
FOREIGN = "give the folder of the training that is to go on, or begin anew in another"


@dataclasses.dataclass
class Moment:
    """Where a training run stands between two steps.

    step: batches of ``epoch`` that are done.  tally: their sums over all processes.  began:
    the generators as they stood when the epoch began, and ``now`` (a row a process).
    """

    epoch: int = 0
    step: int = 0
    tally: Tally = dataclasses.field(default_factory=Tally)
    log: list[Epoch] = dataclasses.field(default_factory=list)
    began: States = dataclasses.field(default_factory=dict)
    now: States = dataclasses.field(default_factory=dict)


class Learner(NamedTuple):
    """What learns: everything with a state that a step changes."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    scaler: torch.amp.GradScaler


class Checkpoints:
    """``last.safetensors`` in ``folder``, to go on from, and ``best.safetensors``, plain weights.

    every: also save after so many steps, not only after each epoch.
    score: model (in eval mode, where it trained) -> a value, larger is better; the weights of
    the epoch with the largest are kept as ``best``.  Without it there is no ``best``.
    resume: go on from ``last`` if there is one; else a training begins anew and replaces it.
    facts: what else, as JSON values, must be the same when a training goes on (its data, its seed).
    """

    def __init__(
        self,
        folder: str | Path,
        every: int | None = None,
        score: Callable[[nn.Module], float] | None = None,
        resume: bool = False,
        facts: dict[str, Any] | None = None,
    ) -> None:
        self.every, self.score, self.resume, self.facts = every, score, resume, facts or {}
        self.last, self.best = Path(folder) / "last.safetensors", Path(folder) / "best.safetensors"
        self.best_score: float | None = None

    def read(self, facts: dict[str, Any]) -> "Saved | None":
        """What ``last`` holds; None where there is nothing to go on from.

        facts: what the run is beside ``self.facts`` (steps, rates, precision).  Raises RecordError or ModelError, which
        name the file, when it is torn, no checkpoint, or of a run with other facts.
        """
        if not self.resume or not self.last.exists():
            return None
        saved = Saved(*_open(self.last), self.last)
        theirs = saved.fields.take("facts", dict, {})
        saved.fields.done()
        ours = self.facts | facts
        other = [f"{key} {theirs.get(key)}, not {value}" for key, value in ours.items() if theirs.get(key) != value]
        if other:
            raise ModelError(f"{self.last} is of a training with {'; '.join(other)}", FOREIGN)
        self.best_score = saved.fields.take("best", float, None, optional=True)
        return saved

    def clear(self) -> None:
        """Remove what a process left that was killed while it wrote."""
        for half in self.last.parent.glob(".half-*"):
            half.unlink(missing_ok=True)

    def keep_best(self, model: nn.Module) -> None:
        """Score the model as it is after an epoch, and keep its weights if none were better."""
        if self.score is None:
            return
        modes = {module: module.training for module in model.modules()}
        with torch.no_grad():
            value = float(self.score(model.eval()))
        for module, training in modes.items():
            module.training = training
        if self.best_score is None or value > self.best_score:
            self.best_score = value
            _write(self.best, weights(model))

    def write(self, learner: Learner, moment: Moment, facts: dict[str, Any]) -> None:
        """Replace ``last``.  Raises ModelError, and keeps the old one, when the disk is full."""
        optimizer = learner.optimizer.state_dict()
        tensors = {f"model/{name}": tensor for name, tensor in learner.model.state_dict().items()}
        for index, state in optimizer["state"].items():
            tensors.update({f"optimizer/{index}/{name}": value for name, value in state.items()})
        for when in ("began", "now"):
            tensors.update({f"{when}/{name}": state for name, state in getattr(moment, when).items()})
        record = {
            "kind": KIND,
            "version": VERSION,
            "facts": self.facts | facts,
            "epoch": moment.epoch,
            "step": moment.step,
            "tally": dataclasses.asdict(moment.tally),
            "log": [epoch._asdict() for epoch in moment.log],
            "best": self.best_score,
            "optimizer": optimizer["param_groups"],
            "schedule": learner.schedule.state_dict(),
            "scaler": learner.scaler.state_dict(),
        }
        header = {RECORD: json.dumps(record, allow_nan=False)}
        _write(self.last, save({name: _plain(tensor) for name, tensor in tensors.items()}, header))


def weights(model: nn.Module) -> bytes:
    """The weights of ``model`` as a .safetensors file, which ``--weights`` reads."""
    return save({name: _plain(tensor) for name, tensor in model.state_dict().items()})


class Saved(NamedTuple):
    """A checkpoint as read: its tensors by name, its record, and its path."""

    tensors: dict[str, torch.Tensor]
    fields: document.Fields
    path: Path

    def moment(self) -> Moment:
        """Where the run stood; RecordError for a record of other fields."""
        take = self.fields.take
        epoch, step = take("epoch", int, 0), take("step", int, 0)
        tally, log = take("tally", dict, {}), take("log", list, [])
        self.fields.done()
        try:
            return Moment(
                epoch,
                step,
                Tally(**tally),
                [Epoch(**row) for row in log],
                self._under("began"),
                self._under("now"),
            )
        except TypeError as error:
            raise ModelError(f"{self.path} is no whole checkpoint ({error})", FOREIGN) from error

    def into(self, learner: Learner) -> None:
        """Fill model, optimizer, schedule and scaler; ModelError when they are of another model."""
        loading.fill(learner.model, self._under("model"), str(self.path))
        take = self.fields.take
        groups, schedule, scaler = take("optimizer", list, []), take("schedule", dict, {}), take("scaler", dict, {})
        self.fields.done()
        parameters = [parameter for group in learner.optimizer.param_groups for parameter in group["params"]]
        try:
            state: dict[int, dict[str, torch.Tensor]] = {}
            for name, value in self._under("optimizer").items():
                index, _, what = name.partition("/")
                state.setdefault(int(index), {})[what] = _laid_out(value, parameters[int(index)])
            groups = [{**group, "betas": tuple(group["betas"])} for group in groups]
            learner.optimizer.load_state_dict({"state": state, "param_groups": groups})
            learner.schedule.load_state_dict(schedule)
            learner.scaler.load_state_dict(scaler)
        except (ValueError, TypeError, LookupError, RuntimeError) as error:
            raise ModelError(f"{self.path} does not fit the optimizer ({error})", FOREIGN) from error

    def restore_generators(self, states: States, device: torch.device) -> None:
        """Set the generators; ModelError when the file lacks some."""
        try:
            generators.restore(states, device)
        except (ValueError, TypeError, LookupError, RuntimeError) as error:
            raise ModelError(f"{self.path} lacks random generators ({error})", FOREIGN) from error

    def _under(self, part: str) -> dict[str, torch.Tensor]:
        start = part + "/"
        return {name[len(start) :]: value for name, value in self.tensors.items() if name.startswith(start)}


def _open(path: Path) -> tuple[dict[str, torch.Tensor], document.Fields]:
    """The tensors and the record of a checkpoint."""
    try:
        with safe_open(path, "pt", device="cpu") as file:
            text = (file.metadata() or {}).get(RECORD)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        body = None if text is None else json.loads(text)
    except (SafetensorError, ValueError, RecursionError, OSError) as error:
        raise ModelError(f"{path} is torn or no checkpoint ({error})", FOREIGN) from error
    if body is None:
        raise ModelError(f"{path} holds weights alone, no training to go on with", FOREIGN)
    return tensors, document.parse(body, KIND, VERSION, str(path))


def _write(path: Path, data: bytes) -> None:
    try:
        document.write_bytes(path, data)
    except OSError as error:
        kept = "; the one before it is kept" if path.exists() else ""
        raise ModelError(
            f"cannot write checkpoint {path} ({error.strerror or error}){kept}",
            "make room or write elsewhere, then resume",
        ) from error


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    """A copy that shares no memory, as the file format wants (tied weights do share)."""
    return tensor.detach().to("cpu", copy=True).contiguous()


def _laid_out(value: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
    """``value`` in the memory layout of its parameter, so that vector code rounds it as before."""
    return torch.empty_like(parameter).copy_(value) if value.shape == parameter.shape and value.dim() else value
