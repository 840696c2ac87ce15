"""Data in folders or from a factory: what each layout gives, and what each broken one is told."""

import sys
import types

import cv2
import numpy as np
import pytest

from apps.data import Pictures
from apps.data.folder import open_folder
from apps.data.opening import open_data
from edge_mpq.errors import DataError


def fill(folder, counts, suffix=".png", size=(6, 5)):
    """One subfolder a class with so many pictures, each of one colour that tells its class and number."""
    for label, (name, count) in enumerate(sorted(counts.items())):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            picture = np.full((*size, 3), (label, number, 7), np.uint8)
            cv2.imwrite(str(folder / name / f"{number:03d}{suffix}"), picture[..., ::-1])
    return folder


def marks(pictures):
    """The colour that tells each picture of :func:`fill` from the others."""
    return [tuple(pictures.frame(i)[0, 0]) for i in range(len(pictures))]


def refusal(spec):
    with pytest.raises(DataError) as caught:
        open_data(str(spec))
    assert caught.value.mend and "\n" not in str(caught.value)
    return str(caught.value)


def test_a_folder_of_classes_is_split_by_chance_but_the_same_every_time(tmp_path):
    fill(tmp_path / "data", {"fire": 10, "none": 25, "smoke": 2})
    first, again = open_folder(str(tmp_path / "data")), open_folder(str(tmp_path / "data"))
    other = open_folder(str(tmp_path / "data"), seed=1)
    assert first.name == "data" and first.classes == ["fire", "none", "smoke"]
    assert marks(first.test) == marks(again.test) != marks(other.test)
    assert not set(marks(first.train)) & set(marks(first.test))
    for side, counts in ((first.train, [8, 20, 1]), (first.test, [2, 5, 1])):
        assert isinstance(side, Pictures)
        assert np.bincount([side.label(i) for i in range(len(side))]).tolist() == counts
        for i in range(len(side)):
            frame = side.frame(i)
            assert frame.shape == (6, 5, 3) and frame.dtype == np.uint8
            assert frame[0, 0, 0] == side.label(i) and frame[0, 0, 2] == 7  # RGB, not BGR


@pytest.mark.parametrize(("above", "beside"), [("train", "test"), ("Train", "VAL"), ("training", "validation")])
def test_a_split_above_the_classes_is_kept(tmp_path, above, beside):
    fill(tmp_path / above, {"a": 3, "b": 2, "c": 1})
    fill(tmp_path / beside, {"b": 2, "c": 4})
    data = open_data(str(tmp_path))
    assert data.classes == data.train.classes == data.test.classes == ["a", "b", "c"]
    assert (len(data.train), len(data.test)) == (6, 6)
    assert [data.test.label(i) for i in range(6)] == [1, 1, 2, 2, 2, 2]


def test_test_is_preferred_to_val_and_train_alone_is_split(tmp_path):
    for name, count in (("train", 5), ("val", 3), ("test", 2)):
        fill(tmp_path / "all" / name, {"a": count})
    assert len(open_data(str(tmp_path / "all")).test) == 2
    fill(tmp_path / "one" / "train", {"a": 5, "b": 5})
    data = open_data(str(tmp_path / "one"))
    assert data.classes == ["a", "b"] and (len(data.train), len(data.test)) == (8, 2)


def test_pictures_lie_deeper_and_what_is_no_picture_is_passed_over(tmp_path):
    fill(tmp_path / "a", {"monday": 2, "tuesday": 3})
    fill(tmp_path, {"b": 2}, suffix=".JPG")
    (tmp_path / ".cache").mkdir()
    (tmp_path / "a" / "notes.txt").write_text("x")
    (tmp_path / "a" / "._000.png").write_bytes(b"x")
    data = open_data(str(tmp_path))
    assert data.classes == ["a", "b"] and len(data.train) + len(data.test) == 7


def test_folders_that_hold_nothing_are_told(tmp_path):
    (tmp_path / "empty").mkdir()
    assert "no class folders" in refusal(tmp_path / "empty")
    fill(tmp_path, {"loose": 2})
    assert "pictures but no class folders" in refusal(tmp_path / "loose")
    fill(tmp_path / "bare", {"a": 2, "b": 0, "c": 0})
    assert "for b, c" in refusal(tmp_path / "bare")
    fill(tmp_path / "single", {"a": 1, "b": 1})
    assert "single picture" in refusal(tmp_path / "single")
    fill(tmp_path / "odd" / "train", {"a": 2})
    fill(tmp_path / "odd" / "test", {"a": 2, "z": 1})
    assert "lacks: z" in refusal(tmp_path / "odd")


@pytest.mark.parametrize("kind", ["grey", "alpha", "deep"])
def test_every_kind_of_picture_becomes_rgb_bytes(tmp_path, kind):
    kinds: dict[str, np.ndarray] = {
        "grey": np.full((4, 5), 9, np.uint8),
        "alpha": np.full((4, 5, 4), 9, np.uint8),
        "deep": np.full((4, 5, 3), 9 << 8, np.uint16),
    }
    (tmp_path / "ä").mkdir()
    for number in range(2):
        assert cv2.imwrite(str(tmp_path / "ä" / f"{number}.png"), kinds[kind])
    frame = open_data(str(tmp_path)).train.frame(0)
    assert frame.dtype == np.uint8 and frame.shape == (4, 5, 3) and (frame == 9).all()


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
@pytest.mark.parametrize("damage", [lambda b: b"", lambda b: b"<html>", lambda b: b[:-2], lambda b: b[: len(b) // 2]])
def test_a_torn_picture_is_named_when_it_is_read(tmp_path, suffix, damage):
    fill(tmp_path, {"a": 2}, suffix, size=(40, 40))
    data = open_data(str(tmp_path))
    assert data.train.frame(0).shape == (40, 40, 3)
    for path in (tmp_path / "a").iterdir():
        path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=rf"a.00\d\{suffix} is torn or no picture"):
        data.train.frame(0)
    for path in (tmp_path / "a").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="cannot read"):
        data.train.frame(0)


def test_a_jpeg_is_whole_by_its_own_end_not_by_that_of_its_preview(tmp_path):
    fill(tmp_path, {"a": 2}, suffix=".jpg", size=(40, 40))
    preview = b"\xff\xe1" + (2 + 6).to_bytes(2, "big") + b"\xff\xd8..\xff\xd9"
    for path in (tmp_path / "a").iterdir():
        body = path.read_bytes()
        path.write_bytes(body[:2] + preview + body[2:] + b"trailer of a camera")
    data = open_data(str(tmp_path))
    assert data.train.frame(0).shape == (40, 40, 3)
    for path in (tmp_path / "a").iterdir():
        path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(DataError, match="torn"):
        data.train.frame(0)


def test_paths_that_lead_nowhere_are_told_the_forms(tmp_path):
    assert "no data at" in refusal(tmp_path / "none") and "module:factory" in refusal(tmp_path / "none.npz")
    (tmp_path / "list.csv").write_text("a,b")
    assert "a file but no .npz" in refusal(tmp_path / "list.csv")
    assert "no module 'no_such_module'" in refusal("no_such_module:data")


FACTORY = """
import numpy as np
from apps.data import DataSet

class Grey:
    classes = ["a", "b"]
    def __init__(self, dtype=np.uint8, label=1, count=3): self.dtype, self.mark, self.count = dtype, label, count
    def __len__(self): return self.count
    def frame(self, i): return np.zeros((4, 4, 3), self.dtype)
    def label(self, i): return self.mark

def good(): return DataSet(Grey(), Grey(), Grey.classes, "grey")
def fails(): raise KeyError("x")
def number(): return 3
def empty(): return DataSet(Grey(), Grey(count=0), Grey.classes, "grey")
def floats(): return DataSet(Grey(np.float32), Grey(label=2), Grey.classes, "grey")
def strange(): return DataSet([1], Grey(), Grey.classes, "grey")
"""


def test_a_users_factory_is_looked_over_at_the_door(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    path = tmp_path / "mydata.py"
    path.write_text(FACTORY)
    assert open_data(f"{path}:good").name == "grey"
    assert "fails (KeyError" in refusal(f"{path}:fails")
    assert "returns a int" in refusal(f"{path}:number")
    assert "test is empty" in refusal(f"{path}:empty")
    assert "train has frames of float32 [4, 4, 3]" in refusal(f"{path}:floats")
    assert "test has label 2 with 2 classes" in refusal(f"{path}:floats")
    assert "train has no classes, len, frame and label" in refusal(f"{path}:strange")


def test_wildfire_data_is_handed_to_its_readers(tmp_path, monkeypatch):
    asked = []
    reader = types.SimpleNamespace(open_classification=lambda *path: asked.append(path))
    monkeypatch.setattr("apps.wildfire.flame", reader, raising=False)
    monkeypatch.setattr("apps.wildfire.synthetic", reader, raising=False)
    fill(tmp_path / "Training", {"Fire": 1, "No_Fire": 1})
    open_data(str(tmp_path))
    open_data("synthetic")
    assert asked == [(str(tmp_path),), ()]
