"""Checkpoints: killed and resumed is as never killed; what is torn, foreign or too large for the disk is told."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from edge_mpq.errors import EdgeMpqError, ModelError
from edge_mpq.records import document
from edge_mpq.training import checkpoint, generators
from edge_mpq.training.checkpoint import Checkpoints
from tests.pages import ROOT
from tests.training.learning import EPOCHS, STEPS, Noisy, Stopped, fitted, made, plain, stop_at

MIDDLE = STEPS + 5  # steps done in the middle of the second epoch; the step before the last saved one is STEPS + 2


def _stopped(folder: Path, step: int = MIDDLE, **options: object) -> None:
    with pytest.raises(Stopped):
        fitted(made(), checkpoints=Checkpoints(folder, every=3), after_step=stop_at(step), **options)


def _weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def _equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.fixture(scope="module")
def whole() -> tuple[dict[str, torch.Tensor], list]:
    """The weights and the log of a training that nobody stopped."""
    model = made()
    log = fitted(model)
    return _weights(model), [epoch[:4] for epoch in log]


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL of POSIX")
def test_killed_in_the_middle_of_an_epoch_and_resumed_is_as_never_killed(
    tmp_path: Path, whole: tuple[dict, list]
) -> None:
    command = [sys.executable, "-m", "tests.training.learning", "killed", str(tmp_path), str(MIDDLE)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    model = made(seed=5)
    log = fitted(model, checkpoints=Checkpoints(tmp_path, every=3, resume=True))
    assert _equal(_weights(model), whole[0])
    assert [epoch[:4] for epoch in log] == whole[1]


@pytest.mark.parametrize("step", [4, STEPS, STEPS + 1, 2 * STEPS + 6, EPOCHS * STEPS])
def test_stopped_behind_any_step_and_resumed_is_as_never_stopped(
    step: int, tmp_path: Path, whole: tuple[dict, list]
) -> None:
    _stopped(tmp_path, step)
    model = made(seed=5)
    log = fitted(model, checkpoints=Checkpoints(tmp_path, every=3, resume=True))
    assert _equal(_weights(model), whole[0]) and [epoch[:4] for epoch in log] == whole[1]


def test_a_finished_training_resumed_is_its_result(tmp_path: Path, whole: tuple[dict, list]) -> None:
    fitted(made(), checkpoints=Checkpoints(tmp_path))
    model = made(seed=5)
    log = fitted(model, checkpoints=Checkpoints(tmp_path, resume=True), after_step=stop_at(1))
    assert _equal(_weights(model), whole[0]) and [epoch[:4] for epoch in log] == whole[1]


@pytest.mark.parametrize("lost", ["torch", "numpy", "python", "python_gauss"])
def test_without_one_of_the_generators_the_result_is_another(
    lost: str, tmp_path: Path, whole: tuple[dict, list], monkeypatch: pytest.MonkeyPatch
) -> None:
    _stopped(tmp_path)
    whole_restore = generators.restore

    def forgetful(saved: generators.States, device: torch.device) -> None:
        whole_restore({**saved, lost: generators.states(device)[lost]}, device)

    monkeypatch.setattr(generators, "restore", forgetful)
    model = made(seed=5)
    fitted(model, checkpoints=Checkpoints(tmp_path, every=3, resume=True))
    assert not _equal(_weights(model), whole[0])


def test_a_training_that_need_not_resume_begins_anew(tmp_path: Path, whole: tuple[dict, list]) -> None:
    _stopped(tmp_path)
    steps = []
    fitted(made(), checkpoints=Checkpoints(tmp_path), after_step=lambda done, model: steps.append(done))
    assert steps[0] == 1
    model = made()
    fitted(model, checkpoints=Checkpoints(tmp_path / "nothing yet", resume=True))
    assert _equal(_weights(model), whole[0])


def test_hooks_of_past_epochs_are_called_again_before_the_weights_are_read(tmp_path: Path) -> None:
    def freeze(epoch: int, model: nn.Module) -> None:
        if epoch == 1:
            model.stem[1].eval()
            model.head.weight.data.zero_()  # what is read afterwards covers it

    model = made()
    fitted(model, before_epoch=freeze)
    _stopped(tmp_path, 2 * STEPS + 4, before_epoch=freeze)
    resumed = made(seed=5)
    fitted(resumed, before_epoch=freeze, checkpoints=Checkpoints(tmp_path, every=3, resume=True))
    assert _equal(_weights(resumed), _weights(model))


def test_the_best_weights_are_kept_beside_the_last(tmp_path: Path) -> None:
    values, seen = iter([1.0, 3.0, 2.0]), []

    def score(model: nn.Module) -> float:
        assert not model.training
        seen.append(_weights(model))
        return next(values)

    model = made()
    fitted(model, checkpoints=Checkpoints(tmp_path, score=score))
    assert _equal(load_file(tmp_path / "best.safetensors"), seen[1])
    assert _equal(_weights(model), seen[2]) and not _equal(seen[1], seen[2])


def test_the_best_is_remembered_across_a_resume(tmp_path: Path) -> None:
    first = Checkpoints(tmp_path, score=lambda model: 2.0)
    with pytest.raises(Stopped):
        fitted(made(), checkpoints=first, after_step=stop_at(STEPS + 1))
    best = load_file(tmp_path / "best.safetensors")
    fitted(made(), checkpoints=Checkpoints(tmp_path, score=lambda model: 1.0, resume=True))
    assert _equal(load_file(tmp_path / "best.safetensors"), best)


def test_a_full_disk_is_told_and_keeps_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _stopped(tmp_path)
    old = (tmp_path / "last.safetensors").read_bytes()

    def full(handle: int, mode: str):
        os.close(handle)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch, pytest.raises(ModelError) as caught:
        patch.setattr(document.os, "fdopen", full)
        fitted(made(), checkpoints=Checkpoints(tmp_path, every=3, resume=True))
    assert "No space left on device); the one before it is kept; make room" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["last.safetensors"]
    assert (tmp_path / "last.safetensors").read_bytes() == old


def test_a_file_that_the_system_cuts_leaves_the_old_checkpoint(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    _stopped(tmp_path)
    old, limits = (tmp_path / "last.safetensors").read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
        with pytest.raises(ModelError, match="File too large"):
            fitted(made(), checkpoints=Checkpoints(tmp_path, every=3, resume=True))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in tmp_path.iterdir()] == ["last.safetensors"]
    assert (tmp_path / "last.safetensors").read_bytes() == old


def test_what_a_killed_writer_left_is_cleared(tmp_path: Path) -> None:
    (tmp_path / ".half-abc").write_bytes(b"half a checkpoint")
    fitted(made(), checkpoints=Checkpoints(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["last.safetensors"]


def _refused(folder: Path, model: nn.Module | None = None, **options: object) -> str:
    learner = made() if model is None else model
    start = _weights(learner)
    with pytest.raises(EdgeMpqError) as caught:
        fitted(learner, checkpoints=Checkpoints(folder, resume=True), **options)
    assert str(folder / "last.safetensors") in str(caught.value)
    assert _equal(_weights(learner), start)
    return str(caught.value)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_a_torn_checkpoint_is_refused(share: float, tmp_path: Path) -> None:
    _stopped(tmp_path)
    path = tmp_path / "last.safetensors"
    body = path.read_bytes()
    path.write_bytes(body[: int(len(body) * share)])
    assert "is torn or no checkpoint" in _refused(tmp_path)


def test_a_pickle_is_not_opened(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "went off"),)

    torch.save({"model": Bomb()}, tmp_path / "last.safetensors")
    assert "is torn or no checkpoint" in _refused(tmp_path)
    assert not (tmp_path / "went off").exists()


def test_plain_weights_are_no_checkpoint(tmp_path: Path) -> None:
    save_file(made().state_dict(), tmp_path / "last.safetensors")
    assert "holds weights alone" in _refused(tmp_path)


def _rewritten(folder: Path, **changes: object) -> None:
    """Change fields of the record in a checkpoint's header; None takes one out."""
    path = folder / "last.safetensors"
    tensors, fields = checkpoint._open(path)
    body = {key: value for key, value in {**fields.body, **changes}.items() if value is not None}
    save_file(tensors, path, {checkpoint.RECORD: json.dumps(body)})


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"kind": "plan"}, "is a record of kind 'plan'"),
        ({"version": 99}, "version 99"),
        ({"facts": None}, "has no field 'facts'"),
        ({"tally": {"joy": 1}}, "is no whole checkpoint"),
        ({"optimizer": []}, "does not fit the optimizer"),
        ({"optimizer": [{"lr": 1}]}, "does not fit the optimizer"),
        ({"schedule": "none"}, "field 'schedule' is a str"),
        ({"epoch": "two"}, "field 'epoch' is a str"),
    ],
)
def test_an_edited_record_is_refused(changes: dict, told: str, tmp_path: Path) -> None:
    _stopped(tmp_path)
    _rewritten(tmp_path, **changes)
    path = tmp_path / "last.safetensors"
    with pytest.raises(EdgeMpqError) as caught:
        fitted(made(), checkpoints=Checkpoints(tmp_path, resume=True))
    assert str(path) in str(caught.value) and told in str(caught.value)


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    _stopped(tmp_path)
    assert "of a training with learning_rate 0.01, not 0.02" in _refused(tmp_path, learning_rate=0.02)
    assert "precision fp32, not bf16" in _refused(tmp_path, precision="bf16")
    assert "missing" in _refused(tmp_path, made(plain))


def test_tied_weights_are_saved_and_stay_tied(tmp_path: Path) -> None:
    class Tied(Noisy):
        def __init__(self) -> None:
            super().__init__()
            self.again = self.head

    with pytest.raises(Stopped):
        fitted(made(Tied), checkpoints=Checkpoints(tmp_path, every=3), after_step=stop_at(MIDDLE))
    model = made(Tied, 5)
    fitted(model, checkpoints=Checkpoints(tmp_path, every=3, resume=True))
    other = made(Tied)
    fitted(other)
    assert _equal(_weights(model), _weights(other)) and model.again.weight is model.head.weight
