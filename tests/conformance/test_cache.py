"""TensorRT's calibration text: both ways to the bit, its header, its sidecar, and what is refused."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibrators import cache as caches
from edge_mpq.errors import CalibrationError, RecordError
from edge_mpq.records.ranges import RangeTable

EXAMPLE = """TRT-8201-EntropyCalibration2
input: 3c010a14
conv1_out: 3c88edfc
(Unnamed Layer* 8) [Constant]_output: 39137939
a:b: c: 3f800000
"""
magnitudes = st.floats(min_value=2.0**-100, max_value=2.0**120, width=32)
letters = st.characters(blacklist_categories=("Cs", "Cc", "Zl", "Zp"))
names = st.text(letters, min_size=1).filter(lambda name: bool(name.strip()))


@pytest.mark.parametrize(
    ("version", "number"),
    [
        ((8, 2, 1), 8201),
        ((8, 5, 2), 8502),
        ((7, 1, 3), 7103),
        ((10, 3, 0), 100300),
        ((10, 13, 3), 101303),
        ((8, 6), 8600),
    ],
)
def test_the_header_numbers_versions_as_tensorrt_does(version: tuple, number: int) -> None:
    assert caches.version_number(version) == number


def test_a_known_cache_is_read() -> None:
    cache = caches.parse(EXAMPLE)
    assert (cache.version, cache.algorithm) == (8201, "EntropyCalibration2")
    assert list(cache.scales) == ["input", "conv1_out", "(Unnamed Layer* 8) [Constant]_output", "a:b: c"]
    assert float(cache.scales["input"]) == pytest.approx(1.0002 / 127, rel=1e-4)
    assert cache.scales["a:b: c"] == 1.0
    assert caches.text(cache) == EXAMPLE


def test_a_scale_is_the_magnitude_by_127_big_endian() -> None:
    table = RangeTable({"x": (-127.0, 3.0), "y": (0.0, 254.0)}, "minmax", 1)
    lines = caches.text(caches.from_ranges(table, "MinMaxCalibration", (10, 3, 0))).split("\n")
    assert lines[:3] == ["TRT-100300-MinMaxCalibration", "x: 3f800000", "y: 40000000"]


@given(st.dictionaries(names, st.tuples(magnitudes, magnitudes), min_size=1))
def test_ranges_come_back_to_one_unit_in_the_last_place(magnitude: dict) -> None:
    table = RangeTable({name: (-low, high) for name, (low, high) in magnitude.items()}, "entropy", 500, "data")
    made = caches.from_ranges(table, "EntropyCalibration2", (8, 2, 1))
    cache = caches.parse(caches.text(made))
    assert cache == made
    back = caches.to_ranges(cache, 500, "data")
    assert list(back.tensors) == list(table.tensors)
    for name, (low, high) in table.tensors.items():
        greatest = np.float32(max(-low, high))
        assert back.tensors[name][0] == -back.tensors[name][1]
        assert abs(back.tensors[name][1] - greatest) <= np.spacing(greatest)


@given(st.dictionaries(names, st.floats(min_value=0, width=32, allow_infinity=False), max_size=8))
def test_text_and_cache_are_the_same_thing(scales: dict) -> None:
    cache = caches.Cache(8502, "MinMaxCalibration", {name: np.float32(scale) for name, scale in scales.items()})
    assert caches.parse(caches.text(cache)) == cache


def test_a_tensor_of_zeros_takes_the_unit_range() -> None:
    cache = caches.from_ranges(RangeTable({"x": (0.0, 0.0)}, "minmax", 1), "MinMaxCalibration", (8, 2, 1))
    assert caches.to_ranges(cache).tensors["x"] == (-1.0, 1.0)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "begins with ''"),
        ("input: 3c010a14\n", "begins with 'input: 3c010a14'"),
        ("TRT-8201-EntropyCalibration2\ninput 3c010a14\n", "line 2 is 'input 3c010a14'"),
        ("TRT-8201-EntropyCalibration2\ninput: 3c010a1x\n", "line 2"),
        ("TRT-8201-EntropyCalibration2\ninput: 3c010a14c\n", "line 2"),
        ("TRT-8201-EntropyCalibration2\ninput: 7f800000\n", "line 2"),  # infinity
        ("TRT-8201-EntropyCalibration2\ninput: 7fc00000\n", "line 2"),  # NaN
        ("TRT-8201-EntropyCalibration2\ninput: bf800000\n", "line 2"),  # below 0
        ("TRT-8201-EntropyCalibration2\n: 3f800000\n", "line 2"),
        ("TRT-8201-EntropyCalibration2\na: 3f800000\na: 3f800000\n", "'a' stands twice"),
    ],
)
def test_a_torn_cache_is_refused(text: str, told: str) -> None:
    with pytest.raises(CalibrationError, match=told):
        caches.parse(text)


def test_digits_without_leading_zeros_are_understood() -> None:
    # A C++ stream prints them so.
    assert caches.parse("TRT-8201-EntropyCalibration2\na: 0\nb: 800000\n").scales["b"] == np.float32(
        struct.unpack(">f", bytes.fromhex("00800000"))[0]
    )


@pytest.mark.parametrize(("name", "high"), [("x", 1e39), ("a\nb", 1.0), (" ", 1.0)])
def test_what_a_line_cannot_hold_is_refused(name: str, high: float) -> None:
    with pytest.raises(CalibrationError, match="fits no cache"):
        caches.from_ranges(RangeTable({name: (0.0, high)}, "minmax", 1), "MinMaxCalibration", (8, 2, 1))


def test_only_the_header_changes_for_another_version() -> None:
    cache = caches.parse(EXAMPLE)
    other = caches.text(caches.retarget(cache, (10, 3, 0), "MinMaxCalibration"))
    assert other.split("\n", 1) == ["TRT-100300-MinMaxCalibration", EXAMPLE.split("\n", 1)[1]]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A cache with its sidecar, beside its model."""
    (tmp_path / "model.onnx").write_bytes(b"a model")
    caches.save(tmp_path / "calibration.cache", caches.parse(EXAMPLE), tmp_path / "model.onnx", 512, "recipe", "data")
    return tmp_path


def test_a_saved_cache_comes_back(saved: Path) -> None:
    cache, sidecar = caches.load(saved / "calibration.cache", saved / "model.onnx", "recipe")
    assert caches.text(cache) == EXAMPLE == (saved / "calibration.cache").read_text()
    assert (sidecar.pictures, sidecar.recipe, sidecar.data) == (512, "recipe", "data")
    assert (saved / "calibration.cache").stat().st_size < 2048


def test_a_cache_of_another_model_is_refused(saved: Path) -> None:
    (saved / "model.onnx").write_bytes(b"the model, exported again")
    with pytest.raises(CalibrationError, match="made for another ONNX.*make the cache again"):
        caches.load(saved / "calibration.cache", saved / "model.onnx")


def test_a_cache_of_other_preprocessing_is_refused(saved: Path) -> None:
    with pytest.raises(CalibrationError, match="prepared by recipe recipe, not other"):
        caches.load(saved / "calibration.cache", saved / "model.onnx", "other")


def test_an_edited_cache_is_refused(saved: Path) -> None:
    path = saved / "calibration.cache"
    path.write_text(EXAMPLE.replace("3c010a14", "3c010a15"))
    with pytest.raises(CalibrationError, match="was changed after it was made"):
        caches.load(path, saved / "model.onnx")
    path.unlink()
    with pytest.raises(RecordError, match="cannot read"):
        caches.load(path, saved / "model.onnx")


def test_a_cache_without_its_sidecar_is_refused(saved: Path) -> None:
    sidecar = saved / "calibration.cache.json"
    body = json.loads(sidecar.read_text())
    del body["onnx_sha256"]
    sidecar.write_text(json.dumps(body))
    with pytest.raises(RecordError, match="no field 'onnx_sha256'"):
        caches.load(saved / "calibration.cache", saved / "model.onnx")
    sidecar.unlink()
    with pytest.raises(RecordError, match="no calibration-cache at"):
        caches.load(saved / "calibration.cache", saved / "model.onnx")
