"""Pictures with masks: maps as labels, and the mean IoU that quantize, bench and tradeoff tell of segmenters."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps import measure, peak_memory
from apps.data import Pictures
from apps.data.batches import batches
from apps.data.masks import Maps, Masked, fitted, truth_of
from apps.data.opening import open_data
from edge_mpq.__main__ import main
from edge_mpq.engines.inputs import Recipe
from tests.wildfire import small


@pytest.fixture(scope="module")
def flame(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.flame_folder(tmp_path_factory.mktemp("flame") / "drawn", segmentation=20)


def test_a_mask_becomes_a_map_by_what_covers_most_of_each_pixel() -> None:
    mask = np.zeros((8, 8), bool)
    mask[:3, :4] = True
    assert fitted(mask, Recipe(4, 4)).tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0] * 4, [0] * 4]
    assert np.array_equal(fitted(mask, Recipe(8, 8)), mask)
    wide = np.ones((4, 8), bool)
    padded = fitted(wide, Recipe(8, 8, "pad"))
    assert padded[2:6].all() and not padded[:2].any() and not padded[6:].any()


@given(st.integers(1, 5), st.integers(1, 5))
def test_a_map_that_is_enlarged_by_whole_pixels_is_itself_when_it_shrinks_again(rows: int, columns: int) -> None:
    mask = np.random.default_rng(rows * 10 + columns).random((6, 7)) < 0.5
    large = np.repeat(np.repeat(mask, rows, 0), columns, 1)
    assert np.array_equal(fitted(large, Recipe(7, 6)), mask)


def test_a_folder_of_frames_and_masks_is_data_with_maps(flame: Path) -> None:
    data = open_data(str(flame / "Segmentation"))
    assert data.classes == ["No_Fire", "Fire"] and isinstance(data.train, Masked) and isinstance(data.test, Pictures)
    assert len(data.train) == 16 and len(data.test) == 4
    recipe = Recipe(16, 16)
    values, maps = next(batches(Maps(data.test, recipe), recipe, 3))
    assert values.shape == (3, 3, 16, 16) and maps.shape == (3, 16, 16) and maps.dtype == np.int64
    assert np.array_equal(maps[1], fitted(data.test.mask(1), recipe))


def test_of_a_whole_flame_folder_a_segmenter_takes_the_masks_and_a_classifier_the_classes(flame: Path) -> None:
    assert isinstance(open_data(str(flame), "segment").test, Masked)
    data = open_data(str(flame))
    assert data.classes == ["Fire", "No_Fire"] and truth_of(data.test, Recipe(8, 8), "segment") is None
    assert truth_of(data.test, Recipe(8, 8), "classify") is data.test


def test_accuracy_is_of_classes_or_of_maps_of_any_size() -> None:
    assert measure.accuracy(np.array([0, 1, 2, 2]), np.array([0, 1, 2, 1])) == ("top1", 0.75)
    true = np.zeros((2, 4, 4), np.int64)
    true[:, :2] = 1
    assert measure.accuracy(true, true) == ("mean_iou", 1.0)
    assert measure.accuracy(true[:, ::2, ::2], true) == ("mean_iou", 1.0)  # a segmenter that answers at half the size
    kind, share = measure.accuracy(np.zeros_like(true), true)
    assert kind == "mean_iou" and share == pytest.approx(0.25)


def test_quantize_and_bench_tell_the_mean_iou_where_masks_are_at_hand(
    flame: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, masked = str(tmp_path / "bundle"), str(flame / "Segmentation")
    model = ["--model", "tests.wildfire.small:segmenter", "--size", "32", "--calibration", "8"]
    assert main(["quantize", *model, "--data", masked, "--budget", "size<=0.3x", "--out", out, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["variants"]
    assert main(["bench", out, "--data", str(flame), "--rounds", "3", "--json"]) == 0
    said = capsys.readouterr()
    benched = json.loads(said.out)["variants"]
    for variants in (found, benched):
        assert set(variants) == {"fp32", "int8", "mixed"}
        assert all(row["top1"] is None and 0 < row["mean_iou"] < 1 for row in variants.values())
    assert {name: row["mean_iou"] for name, row in found.items()} == pytest.approx(
        {name: row["mean_iou"] for name, row in benched.items()}
    )
    assert "Mean IoU of mixed" in said.err and "Top-1" not in said.err
    monkeypatch.setattr(peak_memory, "of_engine", lambda *_: peak_memory.Memory(50.0, 60.0))  # a process each
    swept = ["tradeoff", out, "--data", str(flame), "--resolution", "32", "48", "--turns", "1", "--json"]
    assert main([*swept, "--out", str(tmp_path / "sweep")]) == 0
    points = {(one["plan"], one["width"]): one for one in json.loads(capsys.readouterr().out)["points"]}
    assert len(points) == 6 and all(one["top1"] is None and 0 < one["mean_iou"] < 1 for one in points.values())
    assert {name: points[name, 32]["mean_iou"] for name in found} == pytest.approx(
        {name: row["mean_iou"] for name, row in benched.items()}
    )
    assert "mean IoU (%)" in (tmp_path / "sweep" / "tradeoff.html").read_text()
