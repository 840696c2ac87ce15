"""Records on disk: whole or not there, and every fault of a bad one told at once."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_mpq.errors import RecordError
from edge_mpq.records import document, engine, plan, ranges, report

LOADERS = [plan, ranges, engine, report]
PLAN: dict[str, Any] = {
    "kind": "plan",
    "version": 1,
    "model": "0123456789abcdef",
    "target": "simulation",
    "choices": [{"layer": "conv1", "weight": "int8", "activation": "int8", "why": ""}],
    "budget": "size<=5bits",
    "sensitivity": "kl",
    "allocator": "milp",
    "predicted": {"size_mib": 0.25},
    "transforms": [],
}


def _written(folder: Path, text: str | bytes) -> Path:
    path = folder / "record.json"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def _plan(folder: Path, **changes: Any) -> Path:
    return _written(folder, json.dumps({**PLAN, **changes}))


def test_the_sample_itself_is_good(tmp_path: Path) -> None:
    assert plan.load(_plan(tmp_path)).choices["conv1"].weight == "int8"


@pytest.mark.parametrize("cut", [0, 1, 20, -2])
def test_a_torn_file_is_refused(tmp_path: Path, cut: int) -> None:
    with pytest.raises(RecordError, match="not a whole JSON file.*torn or edited"):
        plan.load(_written(tmp_path, json.dumps(PLAN)[:cut]))


@pytest.mark.parametrize(
    "text",
    [
        b"\x00" * 100,
        b"\xff\xfe\x00",
        b"[" * 200_000,
        b'{"a":' * 200_000,
        b'{"kind": "plan", "version": 1, "predicted": {"harm": NaN}}',
        b'{"kind": "plan", "version": 1, "predicted": {"harm": -Infinity}}',
        b'{"kind": "plan", "version": 1, "predicted": {"harm": 1e999}}',
        b'{"kind": "plan", "version": 1, "predicted": {"harm": ' + b"9" * 400 + b"}}",
    ],
    ids=["zeros", "not utf-8", "deep list", "deep object", "nan", "infinity", "overflow", "long integer"],
)
def test_hostile_bytes_are_refused(tmp_path: Path, text: bytes) -> None:
    for module in LOADERS:
        with pytest.raises(RecordError, match="not a whole JSON file"):
            module.load(_written(tmp_path, text))


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = _written(tmp_path_factory.getbasetemp(), data)
    with pytest.raises(RecordError):
        plan.load(path)


LEAVES = st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-1e9, 1e9) | st.text(max_size=5)
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize("module", LOADERS, ids=lambda module: module.KIND)
@given(data=st.data())
def test_fields_of_any_shape_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, module: ModuleType, data: st.DataObject
) -> None:
    record = {plan: "PrecisionPlan", ranges: "RangeTable", engine: "EngineCard", report: "RunReport"}[module]
    fields = getattr(module, record)._fields
    body = {name: data.draw(JSON, label=name) for name in fields}
    path = _written(
        tmp_path_factory.getbasetemp(), json.dumps({**body, "kind": module.KIND, "version": module.VERSION})
    )
    try:
        module.load(path)
    except RecordError as error:
        assert str(path) in str(error)


@pytest.mark.parametrize("row", [5, None, [], "x", {}, {"layers": 5}, {"layers": [5]}])
def test_a_report_with_a_misshapen_variant_is_refused(tmp_path: Path, row: Any) -> None:
    body = {"kind": "report", "version": 1, "title": "", "created": "", "target": "", "machine": {}, "stream": None}
    body.update(variants=[row], facts={}, pictures=[], commands=[])
    with pytest.raises(RecordError, match="variant 0"):
        report.load(_written(tmp_path, json.dumps(body)))


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(RecordError, match="no plan at .*check the path"):
            plan.load(path)


def test_an_oversized_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "big.json"
    with open(path, "wb") as stream:
        stream.truncate(document.MAX_BYTES + 1)  # a hole: takes no space
    with pytest.raises(RecordError, match="larger than 64 MiB"):
        plan.load(path)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"kind": "ranges"}, "record of kind 'ranges'; a 'plan' is wanted"),
        ({"kind": None}, "record of kind of type NoneType"),
        ({"kind": "x" * 10_000}, "record of kind 'x"),
        ({"version": 2}, "plan version 2; this program reads version 1"),
        ({"version": [[[1]]]}, "plan version of type list"),
    ],
)
def test_another_kind_or_version_is_refused(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(RecordError) as caught:
        plan.load(_plan(tmp_path, **changes))
    assert told in str(caught.value) and len(str(caught.value)) < 500


def test_every_fault_is_told_together(tmp_path: Path) -> None:
    row = {"layer": "conv1", "weight": 8, "why": ""}
    changes = {"choices": [row, 7, *PLAN["choices"], *PLAN["choices"]], "budget": None, "predicted": {"size_mib": "s"}}
    body = {**PLAN, **changes}
    del body["model"]
    with pytest.raises(RecordError) as caught:
        plan.load(_written(tmp_path, json.dumps(body)))
    for told in (
        "choice 0: field 'weight' is a int, not a str",
        "has no field 'activation'",
        "choice 1: is a JSON int, not an object",
        "layer 'conv1' stands twice",
        "field 'predicted' holds something that is no number",
        "has no field 'model'",
        "field 'budget' is a NoneType, not a str",
    ):
        assert told in str(caught.value)


def test_a_bool_is_no_number(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="field 'pictures' is a bool"):
        body = {"kind": "ranges", "version": 1, "tensors": {}, "rule": "", "pictures": True, "data": ""}
        ranges.load(_written(tmp_path, json.dumps(body)))


@pytest.mark.parametrize("pair", [[1, 0], [0], [0, "1"], [0, 1, 2], 5, None, [0, 1e300]])
def test_a_range_that_is_none_is_refused(tmp_path: Path, pair: Any) -> None:
    body = {"kind": "ranges", "version": 1, "tensors": {"relu": pair}, "rule": "minmax", "pictures": 1, "data": ""}
    with pytest.raises(RecordError, match="range of 'relu'"):
        ranges.load(_written(tmp_path, json.dumps(body)))


def test_what_is_no_number_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    with pytest.raises(ValueError):
        document.save(path, "plan", 1, {"harm": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_writing_makes_the_folder_and_replaces_the_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    document.write_bytes(path, b"one")
    document.write_bytes(str(path), b"two")
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o644
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]


FULL = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
from edge_mpq.records import document
try:
    document.write_bytes(sys.argv[1], b"x" * 100_000)
except OSError as error:
    sys.exit(0)
sys.exit("a disk that holds 4096 bytes took 100000")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no RLIMIT_FSIZE on Windows")
@pytest.mark.parametrize("before", [None, b"the old file"])
def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path, before: bytes | None) -> None:
    path = tmp_path / "engine.onnx"
    if before is not None:
        path.write_bytes(before)
    done = subprocess.run([sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    left = {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()}
    assert left == ({} if before is None else {"engine.onnx": before})


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_one_may_not_write_is_an_oserror(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError):
        document.write_bytes(tmp_path / "file", b"")
