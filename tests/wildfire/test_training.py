"""``edge-mpq train wildfire-...``: what it writes, how it splits, and what of a data set it refuses."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from apps import measure
from apps.wildfire import classification, opening, segmentation, tasks
from apps.wildfire.opening import parts_of
from edge_mpq.__main__ import main
from edge_mpq.loading import load_model
from edge_mpq.report import files
from tests.shared import shared_file
from tests.wildfire import small

MODELS = {"classify": "tests.wildfire.small:classifier", "segment": "tests.wildfire.small:segmenter"}


@pytest.fixture(scope="module")
def flame(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.flame_folder(tmp_path_factory.mktemp("flame") / "drawn")


def _train(task: str, data: Path | str, out: Path, *more: str, epochs: int = 3) -> int:
    given = ["--data", str(data), "--out", str(out), "--model", MODELS[task], "--epochs", str(epochs)]
    return main(["train", f"wildfire-{task}", *given, *small.OPTIONS, "--json", *more])


@pytest.mark.parametrize("task", MODELS)
def test_it_trains_and_tells_how_it_answers(
    task: str, flame: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _train(task, flame, tmp_path / "run", "--hold-out", "0.2") == 0
    told = json.loads(capsys.readouterr().out)
    load_model(MODELS[task], told["wrote"])
    record = json.loads((tmp_path / "run/training.json").read_text())
    assert record["task"] == f"wildfire-{task}" and len(record["epochs"]) == 3
    assert record["epochs"][-1]["loss"] < record["epochs"][0]["loss"]
    assert record["test"]["mean_pixel_accuracy"] >= record["test"]["mean_iou"]
    judged = files.read(tmp_path / "run").evaluation
    assert judged is not None and judged.figures == record["test"]
    pixels = small.SIDE**2 if task == "segment" else 1
    assert np.sum(judged.confusion) == record["test_pictures"] * pixels
    page = (tmp_path / "run/report.html").read_text()
    assert "Confusion matrix" in page and 'class="curve"' in page and "Worst errors" in page
    best, wrote = (load_file(tmp_path / "run" / name) for name in ("checkpoints/best.safetensors", "model.safetensors"))
    assert all(torch.equal(value, wrote[name]) for name, value in best.items())


def test_the_same_seed_gives_the_same_weights_and_a_finished_run_resumes_to_them(flame: Path, tmp_path: Path) -> None:
    for name in ("one", "other"):
        assert _train("segment", flame, tmp_path / name, "--shift", "2", epochs=1) == 0
    assert _train("segment", flame, tmp_path / "one", "--shift", "2", "--resume", epochs=1) == 0
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "other"))
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_drawn_data_is_kept_beside_what_learned_from_it(tmp_path: Path) -> None:
    assert _train("classify", "synthetic", tmp_path, "--pictures", "24", epochs=1) == 0
    assert len(list((tmp_path / "data/Training").rglob("*.jpg"))) == 24
    assert len(list((tmp_path / "data/Test").rglob("*.jpg"))) == 6


def test_neighbours_in_a_video_are_not_on_both_sides(flame: Path) -> None:
    data = opening.open_segmentation(str(flame), Path(), 0, 0, 0)
    parts = parts_of(data, 0.25)
    stems = data.train.stems  # type: ignore[attr-defined]
    assert sorted(parts.learned + parts.held) == list(range(len(stems)))
    assert max(stems[i] for i in parts.learned) < min(stems[i] for i in parts.held)
    assert max(stems) < min(data.test.stems)  # type: ignore[attr-defined]


def test_every_class_holds_out_the_end_of_its_own_sequences(flame: Path) -> None:
    data = opening.open_classification(str(flame), Path(), 0, 0, 0)
    parts = parts_of(data, 0.2)
    for label in (0, 1):
        learned, held = ([i for i in part if data.train.label(i) == label] for part in (parts.learned, parts.held))
        assert len(held) == 6 and max(learned) < min(held)


def test_a_folder_of_two_classes_is_cut_by_sequence(tmp_path: Path) -> None:
    for name in ("Fire", "No_Fire"):
        (tmp_path / name).mkdir()
        for series in ("a", "b"):
            for i in range(10):
                picture = np.full((8, 8, 3), i, np.uint8)
                cv2.imwrite(str(tmp_path / name / f"{series}_{i}.png"), picture)
    data = opening.open_classification(str(tmp_path), Path(), 0, 0, 0)
    assert data.classes == ["Fire", "No_Fire"] and len(data.train) == 32 and len(data.test) == 8
    assert {Path(path).stem for path in data.test.paths} == {"a_8", "a_9", "b_8", "b_9"}  # type: ignore[attr-defined]


def test_classes_weigh_alike_however_rare_one_is() -> None:
    labels = torch.tensor([0] * 10 + [1] * 90)
    sure = torch.tensor([[2.0, 0.0]] * 100)  # says fire throughout: wrong on the common class
    plain, balanced = (classification.loss(labels, balance) for balance in (False, True))
    entropy = torch.nn.functional.cross_entropy
    right, wrong = (entropy(sure[:1], torch.tensor([k])) for k in (0, 1))
    assert balanced(sure, sure, labels) == pytest.approx(float(0.5 * right + 0.5 * wrong))
    assert plain(sure, sure, labels) == pytest.approx(float(0.1 * right + 0.9 * wrong))
    one = classification.loss(labels, True)(torch.full((100, 1), -2.0), sure, labels)
    assert one == pytest.approx(float(balanced(sure, sure, labels)))  # a single logit speaks against fire


@pytest.mark.parametrize("task", MODELS)
def test_a_single_score_means_in_training_what_it_means_on_the_stream(task: str) -> None:
    module = tasks.TASKS[task]
    outputs = np.array([[2.0], [-2.0], [0.5]], np.float32)
    said = tasks.said(module, outputs)
    assert said.tolist() == measure.top1(outputs).tolist() == [1, 0, 1]
    assert ((module.fire(outputs) > 0) == (said == module.POSITIVE)).all()


def test_overlap_counts_a_small_fire_that_entropy_forgets() -> None:
    maps = torch.zeros(2, 16, 16, dtype=torch.int64)
    maps[:, :2, :2] = 1
    nothing, found = torch.full((2, 1, 16, 16), -6.0), torch.where(maps[:, None] == 1, 6.0, -6.0)
    plain, balanced = (segmentation.loss(maps, balance) for balance in (False, True))
    gain = [float(loss(nothing, nothing, maps) - loss(found, found, maps)) for loss in (plain, balanced)]
    assert 0 < gain[0] < 0.1 and gain[1] > 0.8
    two = torch.cat([torch.zeros_like(found), found], 1)
    assert balanced(two, two, maps) == pytest.approx(float(balanced(found, found, maps)))


@pytest.mark.parametrize("task", MODELS)
def test_the_worst_error_comes_first_and_what_is_right_is_no_error(task: str) -> None:
    module = tasks.TASKS[task]
    frame = np.zeros((4, 4, 3), np.uint8)
    if task == "classify":
        outputs, labels = np.array([[3.0, 0], [0, 9.0], [0, 2.0], [5.0, 0]]), np.array([0, 0, 0, 1])
        first = "Fire taken for No_Fire, 100%"
    else:
        labels = np.zeros((4, 4, 4), int)
        labels[:, :2] = 1
        outputs = np.where(labels[:, None] == 1, 2.0, -2.0)
        outputs[1] = -2.0
        outputs[2, :, 0], outputs[3, :, 3] = -2.0, 2.0
        first = "IoU 0%: 8 pixels of fire missed (red), 0 false (blue)"
    judged = tasks.judged(module, outputs, labels, lambda i: frame)
    assert len(judged.worst) == 3 and judged.worst[0][0] == first
    assert tasks.judged(module, outputs[:1], labels[:1], lambda i: frame).worst == []


def _broken(flame: Path, folder: Path, fault: str) -> Path:
    """A copy of the data with one fault."""
    shutil.copytree(flame, folder)
    masks = sorted((folder / "Segmentation/Masks").iterdir())
    if fault == "no such class":
        (folder / "Training/No_Fire").rename(folder / "Training/nofire")
    elif fault == "empty class":
        for path in (folder / "Training/Fire").iterdir():
            path.unlink()
    elif fault == "torn frame":
        for path in (folder / "Training/Fire").iterdir():
            path.write_bytes(path.read_bytes()[:100])
    elif fault == "no masks":
        shutil.rmtree(folder / "Segmentation/Masks")
    elif fault == "a mask gone":
        masks[3].unlink()
    elif fault == "a mask torn":
        masks[0].write_bytes(b"")
    elif fault == "masks inverted":
        for path in masks:
            cv2.imwrite(str(path), 255 - cv2.imread(str(path), cv2.IMREAD_GRAYSCALE))
    elif fault == "masks black":
        for path in masks:
            cv2.imwrite(str(path), np.zeros((40, 48), np.uint8))
    elif fault == "another size":
        cv2.imwrite(str(masks[0]), np.full((20, 24), 255, np.uint8))
    return folder


@pytest.mark.parametrize(
    ("task", "fault", "told"),
    [
        ("classify", "no such class", "Training/No_Fire"),
        ("classify", "empty class", "Fire"),
        ("classify", "torn frame", "torn or no picture"),
        ("segment", "no masks", "neither Segmentation/Images"),
        ("segment", "a mask gone", "no mask for"),
        ("segment", "a mask torn", "torn or no picture"),
        ("segment", "masks inverted", "black and white look exchanged"),
        ("segment", "masks black", "no mask holds a pixel of fire"),
        ("segment", "another size", "differ in size"),
    ],
)
def test_a_broken_data_set_is_told_in_one_line(
    task: str, fault: str, told: str, flame: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _train(task, _broken(flame, tmp_path / "broken", fault), tmp_path / "out") == 2
    (said,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("edge-mpq:")]
    assert said.startswith("edge-mpq: DataError:") and told in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("task", "more", "told"),
    [
        ("classify", ["--model", MODELS["segment"]], "wants one or two scores"),
        ("segment", ["--model", MODELS["classify"]], "wants maps"),
        ("segment", ["--size", "30"], "that 4 divides"),
        ("classify", ["--hold-out", "0"], "between 0 and 1"),
        ("classify", ["--hold-out", "1"], "between 0 and 1"),
        ("classify", ["--size", "1", "2", "3"], "give pixels"),
        ("segment", ["--data", "nowhere"], "nowhere"),
    ],
)
def test_what_cannot_be_is_refused(
    task: str, more: list[str], told: str, flame: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _train(task, flame, tmp_path / "out", *more) == 2
    assert told in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_real_photographs_are_read_and_split_by_series() -> None:
    data = opening.open_classification(str(shared_file("data/wildfire/classification")), Path(), 0, 0, 0)
    assert len(data.train) + len(data.test) == 278 and 40 < len(data.test) < 70
    assert data.test.frame(0).shape[2] == 3
