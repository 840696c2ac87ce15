"""Calibration batches: prepared as the camera's frames are, whole, and the same each time."""

from pathlib import Path

import numpy as np
import pytest

cv2 = pytest.importorskip("cv2")

from calibrators.batches import Batches, Folder, frames_of  # noqa: E402
from edge_mpq.engines import inputs  # noqa: E402
from edge_mpq.errors import CalibrationError, DataError  # noqa: E402

RECIPE = inputs.Recipe(8, 6)


def _frames(count: int = 10) -> np.ndarray:
    return np.random.RandomState(0).randint(0, 256, (count, 12, 16, 3)).astype(np.uint8)


def test_batches_are_whole_and_the_remainder_is_counted() -> None:
    batches = Batches(_frames(10), RECIPE, 4)
    made = list(batches)
    assert [batch.shape for batch in made] == [(4, 3, 6, 8)] * 2 == [(batches.size, 3, 6, 8)] * len(batches)
    assert (batches.pictures, batches.dropped) == (8, 2)
    assert made[0].dtype == np.float32


def test_a_picture_is_prepared_as_the_camera_prepares_it() -> None:
    frames = _frames(5)
    expected = {inputs.prepare(frame, RECIPE, "rgb").tobytes() for frame in frames}
    assert {picture.tobytes() for batch in Batches(frames, RECIPE, 1) for picture in batch} == expected


def test_the_same_seed_gives_the_same_batches_and_fingerprint() -> None:
    first, second, other = (Batches(_frames(), RECIPE, 5, seed=seed) for seed in (1, 1, 2))
    assert [a.tobytes() for a in first] == [b.tobytes() for b in second]
    assert [a.tobytes() for a in first] != [b.tobytes() for b in other]
    assert len(first.data) == 16 and first.data == second.data != other.data
    # Not the first ones of the folder, but some of all.
    assert sorted(Batches(_frames(100), RECIPE, 10, limit=20)._order) != list(range(20))


def test_too_few_pictures_for_one_batch_are_told() -> None:
    with pytest.raises(CalibrationError, match="3 pictures do not fill one batch of 4"):
        Batches(_frames(3), RECIPE, 4)
    with pytest.raises(CalibrationError, match="2 pictures do not fill one batch of 4"):
        Batches(_frames(8), RECIPE, 4, limit=2)


def test_a_folder_is_read_in_order_and_in_rgb(tmp_path: Path) -> None:
    red = np.zeros((4, 4, 3), np.uint8)
    red[:, :, 2] = 255  # OpenCV's order
    (tmp_path / "below").mkdir()
    cv2.imwrite(str(tmp_path / "below" / "b.png"), red)
    cv2.imwrite(str(tmp_path / "a.PNG"), np.zeros((4, 4, 3), np.uint8))
    (tmp_path / "notes.txt").write_text("no picture")
    folder = frames_of(tmp_path)
    assert isinstance(folder, Folder) and len(folder) == 2
    assert folder[0].max() == 0 and folder[1][0, 0].tolist() == [255, 0, 0]


def test_a_torn_picture_and_an_empty_folder_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no picture below"):
        frames_of(tmp_path)
    (tmp_path / "torn.jpg").write_bytes(b"\xff\xd8 half")
    with pytest.raises(DataError, match="torn.jpg is torn"):
        list(Batches(frames_of(tmp_path), RECIPE, 1))


@pytest.mark.parametrize("name", ["frames", "x_train", "x"])
def test_an_archive_holds_pictures(name: str, tmp_path: Path) -> None:
    arrays: dict = {name: _frames(3), "y_train": np.zeros(3)}
    np.savez(tmp_path / "data.npz", **arrays)
    assert np.array_equal(frames_of(tmp_path / "data.npz"), _frames(3))


@pytest.mark.parametrize(("shape", "kind"), [((0, 4, 4, 3), "uint8"), ((3, 4, 4), "uint8"), ((3, 4, 4, 3), "float64")])
def test_an_archive_without_pictures_is_told(shape: tuple, kind: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", frames=np.zeros(shape, kind))
    with pytest.raises(DataError, match="holds no pictures uint8"):
        frames_of(tmp_path / "data.npz")
    np.save(tmp_path / "data.npy", _frames(1))
    (tmp_path / "torn.npz").write_bytes(b"PK\x03\x04 half an archive")
    for path in ("data.npy", "torn.npz", "nothing.npz"):
        with pytest.raises(DataError, match="is torn or no .npz"):
            frames_of(tmp_path / path)
