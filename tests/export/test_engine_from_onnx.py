"""The build verb: what its options ask of a backend, what it says meanwhile, and nonsense."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from apps import measure
from apps.stream import engine_from_bundle
from calibrators import cache as caches
from edge_mpq import engines
from edge_mpq.__main__ import main
from edge_mpq.engines import base, inputs, tensorrt
from edge_mpq.engines.base import TensorSpec
from edge_mpq.errors import EngineError, UsageError
from edge_mpq.records import bundle as bundles
from edge_mpq.records.engine import EngineCard
from edge_mpq.records.ranges import RangeTable
from export import engine_from_onnx
from tests.attacks.packing import write_folder
from tests.stream.scripted import RECIPE, Clock

ORIN = "jetson-orin-nano"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle for an Orin with a calibration cache; its models are no ONNX."""
    folder = write_folder(tmp_path / "bundle", ORIN)
    made = bundles.open_folder(folder)
    scales = caches.from_ranges(RangeTable({"x": (-1.0, 1.0)}, "minmax", 4), "MinMaxCalibration", (10, 3, 0))
    caches.save(folder / "c", scales, folder / made.files["fp32"], 4, inputs.fingerprint(RECIPE))
    files = {**made.files, "cache": "c", "cache_of": "c.json"}
    bundles.seal(folder, made._replace(files=files))
    return folder


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What TensorRT's build was asked, a dict a build."""
    asked: list[dict[str, Any]] = []

    def build(onnx_path, engine_path, target, plan=None, threads=1, **more):
        asked.append({**more, "plan": plan})
        more["tell"]("phase", 1, 2)
        settings, read = tensorrt._settings(more.get("options", tensorrt.Options())), bundles.digest(str(onnx_path))
        layers = {"conv": "fp16"}, {"conv": "fp32"}
        card = EngineCard("tensorrt", target.name, "GPU", {}, read, "", 0, 0.0, *layers, settings)
        return base.keep(engine_path, b"engine", card)

    monkeypatch.setattr(tensorrt, "build", build)
    return asked


def test_options_arrive(folder: Path, built: list, capsys: pytest.CaptureFixture[str]) -> None:
    words = "--workspace 256 --batch 1 2 4 --level 5 --dla 1 --prefer --engine model".split()
    assert main(["build", str(folder), *words]) == 0
    assert [row["options"] for row in built] == [tensorrt.Options(256, (1, 2, 4), 1, 5, True)]
    assert "conv: asked fp16, got fp32" in capsys.readouterr().err


def test_without_options_the_defaults_stand(folder: Path, built: list) -> None:
    assert main(["build", str(folder)]) == 0
    assert [row["options"] for row in built] == [tensorrt.Options()] * 2 and "calibration" not in built[0]


@pytest.mark.parametrize("method", ["entropy2", "minmax", "entropy", "percentile"])
def test_every_method_takes_the_cache_of_the_bundle(method: str, folder: Path, built: list) -> None:
    assert main(["build", str(folder), "--calibrate", method]) == 0
    assert built[0]["calibration"].cache.scales == {"x": caches.UNIT}
    assert (folder / "engines" / "calibrated.engine").is_file()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--calibrate fp16", "no 'fp16' in calibrators; choose one of entropy, entropy2, minmax, percentile"),
        ("--calibrate batches", "no 'batches' in calibrators"),
        ("--calibrate cache", "no 'cache' in calibrators"),
        ("--backend cuda", "no 'cuda' in engines; choose one of onnxruntime"),
        ("--backend inputs", "no 'inputs' in engines"),
        ("--backend replay", "replay builds no engine; choose one of onnxruntime"),
        ("--backend onnxruntime --level 3", "for TensorRT, and the backend is onnxruntime"),
        ("--backend onnxruntime --calibrate minmax", "for TensorRT, and the backend is onnxruntime"),
        ("--backend onnxruntime --batch 1 1 1", "for TensorRT, and the backend is onnxruntime"),
        ("--calibrate minmax --frames nowhere", "nowhere is torn or no .npz"),
        ("--frames .", "--frames is what --calibrate looks at, and that is not given; give both or neither"),
        ("--engine int8 --calibrate minmax", "--engine int8 asks for another; leave out one or the other"),
    ],
)
def test_nonsense_is_told_in_one_line(words: str, told: str, folder: Path, built: list, capsys) -> None:
    assert main(["build", str(folder), *words.split()]) == 2
    said = capsys.readouterr().err
    assert told in said and "Traceback" not in said and not built


def test_a_long_build_says_where_it_is() -> None:
    said: list[str] = []
    clock = Clock()
    tell = engine_from_onnx.watched(said.append, clock)
    for step in range(12):
        clock.now += 1.0
        tell("timing kernels", step, 12)
    assert said == ["  timing kernels: 4 of 12", "  timing kernels: 9 of 12"]


def test_an_engine_that_is_opened_unbuilt_says_so_too(folder: Path, built: list, monkeypatch) -> None:
    bundle = bundles.open_folder(folder)
    monkeypatch.setattr(engine_from_bundle.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(tensorrt, "open", lambda path, threads: "opened")
    said: list[str] = []
    assert engine_from_bundle.open_engine(folder, bundle, say=said.append) == "opened"
    assert "building the model engine for tensorrt" in said[0] and callable(built[0]["tell"])


def test_a_build_for_a_dla_leaves_out_what_it_cannot_run(folder: Path, built: list) -> None:
    assert main(["build", str(folder), "--dla", "0"]) == 0
    assert [row["plan"] is not None for row in built] == [True]
    assert main(["build", str(folder), "--dla", "0", "--engine", "fp32"]) == 0 and len(built) == 2


@pytest.fixture
def opening(folder: Path, built: list, monkeypatch):
    """Opens an engine of the bundle, where what is built tells its card the batches that were asked for."""
    monkeypatch.setattr(engine_from_bundle.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(tensorrt, "open", lambda path, threads: Path(path).name)
    bundle, said = bundles.open_folder(folder), []

    def open_engine(**more) -> list[str]:
        said.clear()
        engine_from_bundle.open_engine(folder, bundle, say=said.append, **more)
        return list(said)

    return open_engine


def test_an_engine_is_built_for_the_batches_it_is_asked_for(opening, built: list) -> None:
    assert "there is none yet" in opening()[0]
    assert opening() == [] and opening(batches=[1]) == []
    assert "takes 1 to 1 pictures at once" in opening(batches=[1, 4, 8])[0]
    assert built[-1]["options"].batch == (1, 8, 8)
    assert opening(batches=[1, 4]) == [] and opening() == []
    assert "takes 1 to 8 pictures at once" in opening(batches=[16])[0]


def test_a_calibrated_engine_opens_where_it_was_built(opening, folder: Path, built: list) -> None:
    bundle = bundles.open_folder(folder)
    with pytest.raises(EngineError, match="no calibrated engine opens here: there is none yet; build it"):
        opening(role="calibrated")
    assert "calibrated" not in dict(engine_from_bundle.roles_of(folder, bundle))
    assert main(["build", str(folder), "--calibrate", "minmax"]) == 0
    assert opening(role="calibrated") == []
    assert "calibrated" in dict(engine_from_bundle.roles_of(folder, bundle))


class OfThree(base.Engine):
    """An engine of three pictures at once that answers each with its mean."""

    inputs = (TensorSpec("x", (3, 1, 2, 2), "float32"),)

    def infer(self, batch: np.ndarray) -> list[np.ndarray]:
        self.check(batch)
        return [batch.mean((2, 3))]


def test_an_engine_of_a_fixed_batch_answers_any_number_of_pictures() -> None:
    pictures = np.random.default_rng(0).normal(size=(8, 1, 2, 2)).astype(np.float32)
    answers = measure.answers(OfThree(), [pictures, pictures[:1]], "answers")
    assert np.array_equal(answers[:8], pictures.mean((2, 3))) and np.array_equal(answers[8:], answers[:1])


def test_what_a_family_shares_is_none_of_its_methods() -> None:
    for name in ("cuda", "inputs", "base", "_pycuda"):
        with pytest.raises(UsageError, match=f"no '{name}' in engines"):
            engines.get(name)
