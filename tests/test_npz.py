"""Data in one .npz: what it gives, and how every other, torn or hostile file is refused."""

import io
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.data import Pictures
from apps.data.opening import open_data
from edge_mpq.errors import DataError


def arrays(count=4, classes=3, side=5, **others):
    rng = np.random.default_rng(count)
    made = {}
    for half in ("train", "test"):
        made["x_" + half] = rng.integers(0, 256, (count, side, side, 3), np.uint8)
        made["y_" + half] = np.arange(count, dtype=np.uint8) % classes
    return {**made, **others}


def saved(path, **content):
    np.savez_compressed(path, **content)
    return str(path)


def refusal(spec):
    with pytest.raises(DataError) as caught:
        open_data(str(spec))
    assert caught.value.mend and "\n" not in str(caught.value)
    return str(caught.value)


def test_an_npz_gives_its_pictures_and_names(tmp_path):
    content = arrays()
    data = open_data(saved(tmp_path / "tiny.npz", **content))
    assert data.name == "tiny" and data.classes == ["0", "1", "2"] and isinstance(data.test, Pictures)
    for half, side in (("train", data.train), ("test", data.test)):
        assert len(side) == 4
        for i in range(4):
            assert np.array_equal(side.frame(i), content["x_" + half][i]) and side.label(i) == content["y_" + half][i]
    for names in (np.array(["a", "b", "ü", "unused"]), np.array([b"a", b"b", "ü".encode(), b"unused"])):
        assert open_data(saved(tmp_path / "n.npz", classes=names, **content)).classes == ["a", "b", "ü", "unused"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"x_test": np.zeros((4, 5, 5, 3), np.float32)}, "x_test is float32 [4, 5, 5, 3], not uint8"),
        ({"x_train": np.zeros((4, 3, 5, 5), np.uint8)}, "x_train is uint8 [4, 3, 5, 5]"),
        ({"x_train": np.zeros((0, 5, 5, 3), np.uint8)}, "x_train is uint8 [0, 5, 5, 3]"),
        ({"y_train": np.zeros((4, 1), np.uint8)}, "y_train is uint8 [4, 1]"),
        ({"y_train": np.zeros(4), "y_test": np.zeros(9, int)}, "y_train is float64 [4], not integer [N]; x_test and"),
        ({"y_test": np.array([0, 1, 2, -1])}, "y_test holds label -1"),
        ({"y_test": np.array([0, 1, 2, 2**40])}, f"y_test holds label {2**40}"),
        ({"classes": np.array(["a", "b"])}, "holds label 2; labels go from 0 to 1"),
        ({"classes": np.arange(3)}, "classes is int64 [3], not strings"),
        ({"x_train": np.array([{}], object)}, "x_train is object [1]"),
    ],
)
def test_an_npz_of_another_layout_is_told_all_its_faults(tmp_path, change, told):
    content = {**arrays(), "classes": np.array(["a", "b", "c"]), **change}
    assert told in refusal(saved(tmp_path / "x.npz", **content))


def test_missing_arrays_are_named_beside_those_there(tmp_path):
    content = arrays()
    del content["x_test"]
    message = refusal(saved(tmp_path / "x.npz", **content))
    assert "has no x_test but x_train, y_test, y_train" in message


def test_files_that_are_no_npz_are_refused(tmp_path):
    whole = open(saved(tmp_path / "w.npz", **arrays(20)), "rb").read()
    plain = io.BytesIO()
    np.save(plain, np.zeros(3))
    for body in (b"", b"hello", plain.getvalue(), whole[: len(whole) // 2], whole[:-10]):
        (tmp_path / "x.npz").write_bytes(body)
        assert "torn or no .npz" in refusal(tmp_path / "x.npz")


def test_a_header_that_promises_too_much_is_refused(tmp_path):
    path = saved(tmp_path / "w.npz", **arrays())
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (4, 10**6, 10**6, 3)}
    )
    with zipfile.ZipFile(path, "w") as archive:
        for name, body in {**members, "x_test.npy": header.getvalue() + b"\0" * 100}.items():
            archive.writestr(name, body)
    with pytest.raises(DataError, match="x_test is torn"):
        open_data(path).test.frame(0)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_a_damaged_npz_is_read_or_refused_but_never_a_traceback(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("npz") / "x.npz"
    whole = bytearray(open(saved(path, **arrays(), classes=np.array(["a", "b", "c"])), "rb").read())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(whole)
    try:
        opened = open_data(str(path))
        for side in (opened.train, opened.test):
            assert all(side.frame(i).dtype == np.uint8 for i in range(len(side)))
    except DataError as error:
        assert error.mend
