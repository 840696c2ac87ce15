"""``edge-mpq train classify``: what it writes, that it resumes, and what it refuses."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from apps import train
from edge_mpq.__main__ import main
from edge_mpq.loading import load_model
from edge_mpq.records import bundle as bundles
from edge_mpq.training import loop
from tests.trained_toys import labelled

SMALL = "tests.toys:Residual"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Pictures of five patterns in noise, as an .npz."""
    arrays = {}
    for half, count, seed in (("train", 400, 0), ("test", 100, 1)):
        values, labels = labelled(count, seed)
        pixels = ((values.permute(0, 2, 3, 1) + 4) * 32).clamp(0, 255).to(torch.uint8)
        arrays.update({f"x_{half}": pixels.numpy(), f"y_{half}": labels.numpy()})
    path = tmp_path_factory.mktemp("data") / "patterns.npz"
    np.savez(path, **arrays)
    return str(path)


def _train(data: str, out: Path, *more: str, epochs: int = 4) -> int:
    given = ["--model", SMALL, "--data", data, "--out", str(out), "--epochs", str(epochs)]
    return main(["train", "classify", *given, "--rate", "0.01", "--device", "cpu", "--no-mirror", "--json", *more])


def _record(out: Path) -> dict:
    return json.loads((out / "training.json").read_text())


def test_it_learns_and_writes_weights_a_log_and_where_to_go_on(
    data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _train(data, tmp_path / "run", "--precision", "fp32", "--shift", "1", "--brightness", "0.1", epochs=12) == 0
    told = json.loads(capsys.readouterr().out)
    record = _record(tmp_path / "run")
    assert record["kind"] == "training" and record["precision"] == "fp32" and len(record["epochs"]) == 12
    assert record["test_right"] == told["test_right"] > 0.6 and record["test_pictures"] == 100
    assert record["epochs"][-1]["loss"] < record["epochs"][0]["loss"]
    load_model(SMALL, told["wrote"])
    names = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert names == {"run/model.safetensors", "run/training.json", "run/checkpoints/last.safetensors"}


def test_stopped_and_resumed_gives_the_same_weights_and_another_seed_others(
    data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, stopped, other = (tmp_path / name for name in ("whole", "stopped", "other"))
    assert _train(data, whole) == 0
    assert _train(data, other, "--seed", "1") == 0

    close = loop._Run.save_if_due

    def interrupted(run: loop._Run) -> None:
        close(run)
        if (run.moment.epoch, run.moment.step) == (2, 4):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop._Run, "save_if_due", interrupted)
        assert _train(data, stopped, "--save-every", "3") == 130
    assert not (stopped / "model.safetensors").exists()
    assert _train(data, stopped, "--save-every", "3", "--resume") == 0
    weights, resumed, unlike = (load_file(out / "model.safetensors") for out in (whole, stopped, other))
    assert all(torch.equal(value, resumed[name]) for name, value in weights.items())
    assert not all(torch.equal(value, unlike[name]) for name, value in weights.items())
    assert _record(stopped)["test_right"] == _record(whole)["test_right"]


def test_what_was_another_training_is_not_resumed(
    data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _train(data, tmp_path, epochs=1) == 0
    before = (tmp_path / "model.safetensors").read_bytes()
    assert _train(data, tmp_path, "--resume", "--seed", "3", epochs=1) == 2
    assert "of a training with seed 0, not 3" in capsys.readouterr().err
    assert _train(data, tmp_path, "--resume", "--shift", "2", epochs=1) == 2
    assert "augmentation" in capsys.readouterr().err
    assert (tmp_path / "model.safetensors").read_bytes() == before


def test_held_out_pictures_choose_the_epoch(data: str, tmp_path: Path) -> None:
    assert _train(data, tmp_path, "--hold-out", "0.2") == 0
    best, wrote = (load_file(tmp_path / name) for name in ("checkpoints/best.safetensors", "model.safetensors"))
    assert all(torch.equal(value, wrote[name]) for name, value in best.items())


def test_a_plan_is_trained_into_a_bundle(data: str, tmp_path: Path) -> None:
    assert _train(data, tmp_path / "float", epochs=12) == 0
    weights, plan = str(tmp_path / "float/model.safetensors"), str(tmp_path / "plan.json")
    given = ["--model", SMALL, "--weights", weights, "--data", data, "--calibration", "128"]
    assert main(["plan", *given, "--formats", "w4a8", "--budget", "size<=1x", "--out", plan]) == 0
    out = tmp_path / "aware"
    given = ["--weights", weights, "--plan", plan, "--calibration", "128", "--rate", "0.003"]
    assert _train(data, out, *given, epochs=4) == 0
    bundle = bundles.open_folder(out / "bundle")
    assert bundle.task == "classify" and {"model", "fp32", "plan"} <= set(bundle.files)
    assert _record(out)["precision"] == "fp32"
    assert _record(out)["test_right"] > max(0.6, _record(tmp_path / "float")["test_right"] - 0.1)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--epochs", "0"], "--epochs 0"),
        (["--rate", "-1"], "is no rate"),
        (["--precision", "int8"], "there is no precision 'int8'"),
        (["--hold-out", "1"], "give a share below 1"),
        (["--model", "tests.toys:UNet"], "a classifier is wanted"),
        (["--plan", "none.json"], "no plan at none.json"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_written(
    data: str, more: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _train(data, tmp_path / "out", *more) == 2
    assert told in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_every_task_has_its_module_and_an_unknown_one_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for task in train.TASKS:
        assert main(["train", task, "--help"]) == 0
        assert capsys.readouterr().out.startswith(f"usage: edge-mpq train {task}")
    assert main(["train", "xyzzy"]) == main(["train"]) == 2
