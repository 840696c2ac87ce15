"""FLAME's folders: both tasks read back, and every way they can be broken."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.data import Pictures
from apps.wildfire import flame
from edge_mpq.errors import DataError


def picture(path, shape=(6, 8, 3), value=120):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full(shape, value, np.uint8))


def classification(root, count=3):
    for split in ("Training", "Test"):
        for name in ("Fire", "No_Fire"):
            for i in range(count):
                picture(root / split / name / f"lake_frame{i}.{'jpg' if i else 'png'}")
    return root


def segmentation(root, stems, parent="Segmentation"):
    for number, stem in enumerate(stems):
        picture(root / parent / "Images" / f"{stem}.jpg", value=10 * number)
        mask = np.zeros((6, 8), np.uint8)
        mask[: number + 1] = 1
        path = root / parent / "Masks" / f"{stem}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), mask)
    return root


def refusal(call, path):
    with pytest.raises(DataError) as caught:
        call(path)
    assert caught.value.mend and "\n" not in str(caught.value)
    return str(caught.value)


def test_flames_own_split_is_kept(tmp_path):
    data = flame.open_classification(classification(tmp_path / "flame"))
    assert data.classes == ["Fire", "No_Fire"] and data.name == "flame"
    for side in (data.train, data.test):
        assert isinstance(side, Pictures) and len(side) == 6
        assert [side.label(i) for i in range(6)] == [0, 0, 0, 1, 1, 1]
        assert side.frame(0).shape == (6, 8, 3)


@pytest.mark.parametrize("gone", ["Training/Fire", "Training/No_Fire", "Test/Fire", "Test/No_Fire"])
def test_a_missing_or_empty_folder_is_named(tmp_path, gone):
    classification(tmp_path)
    for file in (tmp_path / gone).iterdir():
        file.unlink()
    assert gone.split("/")[1] in refusal(flame.open_classification, tmp_path)
    (tmp_path / gone).rmdir()
    assert gone in refusal(flame.open_classification, tmp_path)


def test_a_third_class_is_refused(tmp_path):
    picture(classification(tmp_path) / "Training" / "Smoke" / "a.jpg")
    assert "Smoke" in refusal(flame.open_classification, tmp_path)


def test_a_torn_frame_is_named_when_it_is_read(tmp_path):
    classification(tmp_path)
    torn = tmp_path / "Training" / "Fire" / "lake_frame1.jpg"
    torn.write_bytes(torn.read_bytes()[:20])
    data = flame.open_classification(tmp_path)
    with pytest.raises(DataError, match="lake_frame1.jpg"):
        for i in range(len(data.train)):
            data.train.frame(i)


@pytest.mark.parametrize("parent", ["Segmentation", "."])
def test_pairs_come_in_the_order_of_their_frames(tmp_path, parent):
    pairs = flame.open_segmentation(segmentation(tmp_path, ["image_10", "image_9", "image_100"], parent))
    assert pairs.stems == ["image_9", "image_10", "image_100"] and len(pairs) == 3
    assert [int(pairs.mask(i).sum()) // 8 for i in range(3)] == [2, 1, 3]  # each with its own mask
    assert pairs.mask(0).dtype == bool and pairs.frame(0).shape == (6, 8, 3)
    part = pairs.subset([2])
    assert part.stems == ["image_100"] and part.mask(0).sum() == 24


def test_masks_of_any_kind_are_nonzero_where_it_burns(tmp_path):
    segmentation(tmp_path, ["a"])
    path = str(tmp_path / "Segmentation" / "Masks" / "a.png")
    burns = np.zeros((6, 8), bool)
    burns[2:4, 3:5] = True
    kinds = {
        "grey": burns.astype(np.uint8),
        "sixteen bits": burns.astype(np.uint16) * 256,
        "red": np.dstack([np.zeros_like(burns), np.zeros_like(burns), burns]).astype(np.uint8) * 255,
        "opaque": np.dstack([burns, burns, burns, np.ones_like(burns)]).astype(np.uint8) * 255,
    }
    for kind, mask in kinds.items():
        cv2.imwrite(path, mask)
        assert np.array_equal(flame.open_segmentation(tmp_path).mask(0), burns), kind


def test_broken_segmentation_folders_are_told(tmp_path):
    assert "Images" in refusal(flame.open_segmentation, tmp_path)
    (tmp_path / "Images").mkdir()
    (tmp_path / "Masks").mkdir()
    assert "no pictures" in refusal(flame.open_segmentation, tmp_path)
    segmentation(tmp_path, ["f1", "f2"], ".")
    (tmp_path / "Masks" / "f2.png").unlink()
    assert "f2.jpg" in refusal(flame.open_segmentation, tmp_path)
    (tmp_path / "Masks" / "f1.png").unlink()
    assert "no pictures" in refusal(flame.open_segmentation, tmp_path)


def test_two_images_of_one_name_are_refused(tmp_path):
    picture(segmentation(tmp_path, ["f1"]) / "Segmentation" / "Images" / "f1.png")
    assert "one name" in refusal(flame.open_segmentation, tmp_path)


@pytest.mark.parametrize("mask_first", [True, False])
def test_a_mask_of_another_size_is_told_with_both_names(tmp_path, mask_first):
    picture(segmentation(tmp_path, ["f1"]) / "Segmentation" / "Masks" / "f1.png", (5, 8))
    pairs = flame.open_segmentation(tmp_path)
    first, second = (pairs.mask, pairs.frame) if mask_first else (pairs.frame, pairs.mask)
    first(0)
    told = refusal(second, 0)
    assert "f1.jpg" in told and "f1.png" in told and "8x5" in told and "8x6" in told


def test_a_torn_mask_is_named(tmp_path):
    segmentation(tmp_path, ["f1", "f2"])
    (tmp_path / "Segmentation" / "Masks" / "f1.png").write_bytes(b"no picture")
    (tmp_path / "Segmentation" / "Masks" / "f2.png").write_bytes(b"")
    pairs = flame.open_segmentation(tmp_path)
    assert "f1.png" in refusal(pairs.mask, 0)
    assert "f2.png" in refusal(pairs.mask, 1)


@given(st.lists(st.tuples(st.sampled_from(["lake", "pile2_", "x"]), st.integers(0, 5000)), min_size=2, unique=True),
       st.floats(0.05, 0.95))  # fmt: skip
def test_no_frame_to_learn_from_lies_among_those_measured(frames, share):
    stems = [f"{name}frame{number}" for name, number in frames]
    if len({name for name, _ in frames}) == len(frames):
        with pytest.raises(DataError, match="cannot be split"):
            flame.split_by_sequence(stems, share)
        return
    learned, measured = flame.split_by_sequence(stems, share)
    assert sorted(learned + measured) == list(range(len(stems)))
    assert learned and measured
    for name in {name for name, _ in frames}:
        before = [frames[i][1] for i in learned if frames[i][0] == name]
        after = [frames[i][1] for i in measured if frames[i][0] == name]
        assert before and (not after or max(before) < min(after))


def test_the_share_is_kept():
    learned, measured = flame.split_by_sequence([f"frame_{i}" for i in range(100)], 0.25)
    assert learned == list(range(75)) and measured == list(range(75, 100))


@pytest.mark.parametrize("share", [0, 1, -0.5, float("nan")])
def test_a_share_that_leaves_a_side_empty_is_refused(share):
    with pytest.raises(DataError, match="between 0 and 1"):
        flame.split_by_sequence(["a1", "a2"], share)
