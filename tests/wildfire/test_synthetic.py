"""Drawn data on disk and as video: read back by the same readers, whole or not there at all."""

import hashlib
import json

import cv2
import numpy as np
import pytest

from apps.data import Pictures
from apps.wildfire import flame, synthetic
from apps.wildfire.flyover import fly_over
from apps.wildfire.scenes import smallest_fire
from edge_mpq.errors import DataError
from edge_mpq.records import document

SIZE = {"width": 64, "height": 48}


def digests(root):
    files = sorted(file for file in root.rglob("*") if file.is_file())
    return {str(file.relative_to(root)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def test_the_layout_is_read_back(tmp_path):
    root = synthetic.write_flame(tmp_path / "deep" / "set", 6, 4, 3, **SIZE)
    data = flame.open_classification(root)
    assert (len(data.train), len(data.test), data.classes) == (6, 4, ["Fire", "No_Fire"])
    assert [data.train.label(i) for i in range(6)] == [0, 0, 0, 1, 1, 1]
    assert data.train.frame(5).shape == (48, 64, 3)
    pairs = flame.open_segmentation(root)
    assert len(pairs) == 3
    for i in range(3):
        drawn = synthetic.draw(0, "Segmentation", i, 64, 48, True)
        assert np.array_equal(pairs.mask(i), drawn.mask)
        assert np.abs(pairs.frame(i).astype(int) - drawn.picture).mean() < 12  # JPEG
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["set"]


def test_equal_requests_give_equal_bytes_and_other_seeds_other_pictures(tmp_path):
    one, two, three = (digests(synthetic.write_flame(tmp_path / str(n), 4, 2, 1, seed=seed, **SIZE))
                       for n, seed in enumerate((5, 5, 6)))  # fmt: skip
    assert one == two and one.keys() == three.keys()
    assert not set(one.values()) & set(three.values())


def test_no_picture_is_on_both_sides(tmp_path):
    found = digests(synthetic.write_flame(tmp_path / "set", 20, 20, 10, **SIZE))
    assert len(set(found.values())) == len(found)


def test_an_equal_request_is_reused_another_replaces_it(tmp_path):
    ask = {"train": 4, "test": 2, "segmentation": 0, **SIZE}
    root = synthetic.write_flame(tmp_path / "set", **ask)
    assert not (root / "Segmentation").exists()
    frame = next(root.rglob("*.jpg"))
    frame.write_bytes(b"marked")

    def never(items, what, total):
        raise AssertionError("drawn again")

    synthetic.write_flame(root, progress=never, **ask)
    assert frame.read_bytes() == b"marked"
    synthetic.write_flame(root, **dict(ask, train=6))
    assert len(flame.open_classification(root).train) == 6
    frame.unlink()
    synthetic.write_flame(root, **dict(ask, train=6))  # one picture is gone: drawn anew
    assert frame.is_file()


def test_foreign_data_is_never_replaced(tmp_path):
    (tmp_path / "holiday.jpg").write_bytes(b"mine")
    for text in (None, "{", json.dumps({"kind": "plan", "version": 1})):
        if text is not None:
            (tmp_path / synthetic.MARKER).write_text(text)
        with pytest.raises(DataError, match="not drawn here"):
            synthetic.write_flame(tmp_path, 4, 2, 0, **SIZE)
    assert (tmp_path / "holiday.jpg").read_bytes() == b"mine"


def test_pictures_that_someone_added_are_never_deleted(tmp_path):
    synthetic.write_flame(tmp_path / "set", 4, 2, 0, **SIZE)
    mine = tmp_path / "set" / "Training" / "Fire" / "mine.jpg"
    mine.write_bytes(b"mine")
    with pytest.raises(DataError, match="holds 1 pictures that were not drawn here; move them"):
        synthetic.write_flame(tmp_path / "set", 4, 2, 0, **SIZE)
    assert mine.read_bytes() == b"mine"


def test_an_interrupted_writing_leaves_nothing(tmp_path):
    def broken(items, what, total):
        for number, item in enumerate(items):
            if number == 3:
                raise KeyboardInterrupt
            yield item

    with pytest.raises(KeyboardInterrupt):
        synthetic.write_flame(tmp_path / "set", 6, 4, 0, progress=broken, **SIZE)
    with pytest.raises(KeyboardInterrupt):
        synthetic.write_video(tmp_path / "fly.avi", 8, progress=broken, **SIZE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ask", [{"train": 1}, {"test": 0}, {"segmentation": -1}, {"width": 8}, {"seed": -1}])
def test_requests_that_cannot_be_met_are_told(tmp_path, ask):
    with pytest.raises(DataError) as caught:
        synthetic.write_flame(tmp_path / "set", **{"train": 4, "test": 2, "segmentation": 0, **SIZE, **ask})
    assert caught.value.mend and not list(tmp_path.iterdir())


def test_a_file_in_the_way_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    for target in (tmp_path / "file", tmp_path / "file" / "set"):
        with pytest.raises(DataError):
            synthetic.write_flame(target, 4, 2, 0, **SIZE)
    with pytest.raises(DataError):
        synthetic.write_video(tmp_path / "file" / "fly.avi", 2, **SIZE)


def test_pictures_in_memory_are_those_on_disk(tmp_path):
    memory = synthetic.open_classification(6, 4, **SIZE)
    disk = synthetic.open_classification(6, 4, folder=tmp_path / "set", **SIZE)
    assert memory.classes == disk.classes == ["Fire", "No_Fire"]
    for here, there in ((memory.train, disk.train), (memory.test, disk.test)):
        assert isinstance(here, Pictures) and len(here) == len(there)
        mine = [here.frame(i) for label in (0, 1) for i in range(len(here)) if here.label(i) == label]
        for i, frame in enumerate(mine):
            assert np.abs(frame.astype(int) - there.frame(i)).mean() < 12
    assert memory.train.frame(0) is memory.train.frame(0)  # drawn once
    with pytest.raises(DataError):
        synthetic.open_classification(4, 2, 8, 8)


@pytest.mark.parametrize("name", ["fly.mp4", "fly.avi"])
def test_a_video_has_the_frames_and_truth_asked(tmp_path, name):
    record = synthetic.write_video(tmp_path / name, 12, 96, 64, seed=2, fps=10.0)
    fields = document.load(record, synthetic.VIDEO_KIND, synthetic.VERSION)
    truth = fields.take("frames", list)
    assert fields.take("fps", float) == 10.0 and len(truth) == 12
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["fly.json", name])
    stream, count = cv2.VideoCapture(str(tmp_path / name)), 0
    while True:
        there, frame = stream.read()
        if not there:
            break
        assert frame.shape == (64, 96, 3)
        count += 1
    assert count == 12
    drawn = list(fly_over(12, 96, 64, 2, 10.0))
    assert [entry["pixels"] for entry in truth] == [int(shot.mask.sum()) for shot in drawn]
    assert [entry["fire"] for entry in truth] == [shot.mask.sum() >= smallest_fire(96, 64) for shot in drawn]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_fires_come_into_view_and_leave(seed):
    seen = [bool(shot.mask.any()) for shot in fly_over(40, 96, 64, seed, 10.0)]
    assert not seen[0] and not seen[-1]
    changes = sum(a != b for a, b in zip(seen, seen[1:], strict=False))
    assert any(seen) and changes >= 2


def test_neighbouring_frames_resemble_each_other():
    shots = list(fly_over(60, 96, 64, 3, 25.0))
    near = np.median([np.abs(a.picture.astype(int) - b.picture).mean()
                      for a, b in zip(shots, shots[1:], strict=False)])  # fmt: skip
    far = np.median([np.abs(shots[i].picture.astype(int) - shots[i + 20].picture).mean() for i in range(40)])
    assert near < far


@pytest.mark.parametrize(("name", "ask"), [
    ("fly.gif", {}), ("fly", {}), ("fly.mp4", {"frames": 0}), ("fly.mp4", {"fps": 0.0}),
    ("fly.mp4", {"width": 63}), ("fly.mp4", {"height": 8}), ("fly.mp4", {"seed": -2}),
])  # fmt: skip
def test_videos_that_cannot_be_written_are_told(tmp_path, name, ask):
    with pytest.raises(DataError) as caught:
        synthetic.write_video(tmp_path / name, **{"frames": 2, **SIZE, **ask})
    assert caught.value.mend and not list(tmp_path.iterdir())
