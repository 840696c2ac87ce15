"""A bundle travels: what was sealed opens, and nothing else does."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from edge_mpq.errors import BundleError, RecordError
from edge_mpq.records import bundle
from edge_mpq.records.bundle import Bundle

FILES = {"model": "model.onnx", "plan": "records/plan.json"}


def _bundle() -> Bundle:
    return Bundle("fire", "cpu-x86-vnni", "classify", {"width": 32, "height": 32}, ["Fire", "No_Fire"], dict(FILES))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    home = tmp_path / "bundle"
    (home / "records").mkdir(parents=True)
    (home / "model.onnx").write_bytes(b"\x08\x0a" * 600_000)
    (home / "records" / "plan.json").write_text("{}")
    (tmp_path / "secret").write_text("outside")
    bundle.seal(home, _bundle())
    return home


def _edit(folder: Path, **changes: Any) -> None:
    path = folder / bundle.NAME
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _refused(folder: Path, told: str) -> None:
    with pytest.raises(BundleError, match=told) as caught:
        bundle.open_folder(folder)
    assert caught.value.mend == "make the bundle again"


def test_what_was_sealed_opens(folder: Path) -> None:
    opened = bundle.open_folder(folder)
    assert opened._replace(sha256={}, size={}) == _bundle()
    assert opened.size == {"model.onnx": 1_200_000, "records/plan.json": 2}
    assert opened.sha256["records/plan.json"] == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"


def test_files_beside_the_listed_ones_are_not_looked_at(folder: Path) -> None:
    (folder / "notes.txt").write_text("anything")
    bundle.open_folder(folder)


@pytest.mark.parametrize(
    "path",
    ["../secret", "records/../../secret", "/etc/passwd", "", ".", "..", "a\0b", "\ud800", 5, None, ["model.onnx"]],
    ids=repr,
)
def test_a_path_out_of_the_folder_is_refused(folder: Path, path: Any) -> None:
    size = {"../secret": 7, "records/../../secret": 7}
    _edit(folder, files={"model": path}, size=size)
    _refused(folder, "points outside the bundle")


def test_a_sibling_whose_name_begins_alike_is_outside(folder: Path) -> None:
    twin = folder.with_name("bundle-twin")
    twin.mkdir()
    (twin / "x").write_text("x")
    _edit(folder, files={"model": "../bundle-twin/x"})
    _refused(folder, "points outside the bundle")


def test_a_link_out_of_the_folder_is_refused(folder: Path) -> None:
    (folder / "model.onnx").unlink()
    os.symlink(folder.parent / "secret", folder / "model.onnx")
    _refused(folder, "'model.onnx' points outside the bundle")


def test_a_linked_folder_out_is_refused(folder: Path) -> None:
    os.symlink(folder.parent, folder / "up")
    _edit(folder, files={"model": "up/secret"}, size={"up/secret": 7})
    _refused(folder, "points outside the bundle")


def test_a_bundle_reached_through_a_link_opens(folder: Path) -> None:
    os.symlink(folder, folder.parent / "current")
    bundle.open_folder(folder.parent / "current")


def test_one_edited_byte_is_seen(folder: Path) -> None:
    data = bytearray((folder / "model.onnx").read_bytes())
    data[777_777] ^= 1
    (folder / "model.onnx").write_bytes(data)
    _refused(folder, "model.onnx was changed after the bundle was sealed")


@pytest.mark.parametrize("change", [1, -1])
def test_another_length_is_seen(folder: Path, change: int) -> None:
    data = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(data + b"x" if change > 0 else data[:change])
    _refused(folder, "another length than the manifest says")


def test_an_oversized_file_is_not_read(folder: Path) -> None:
    with open(folder / "model.onnx", "wb") as stream:
        stream.truncate(bundle.MAX_FILE_BYTES + 1)  # a hole: takes no space
    _edit(folder, size={"model.onnx": bundle.MAX_FILE_BYTES + 1})
    _refused(folder, "larger than 2 GiB")


def test_a_pipe_is_no_file(folder: Path) -> None:
    (folder / "model.onnx").unlink()
    os.mkfifo(folder / "model.onnx")
    _refused(folder, "model.onnx is missing")


def test_every_fault_is_told_together(folder: Path) -> None:
    (folder / "model.onnx").unlink()
    (folder / "records" / "plan.json").write_text("[]")
    _refused(folder, "model.onnx is missing; records/plan.json was changed")


@pytest.mark.parametrize("name", ["sha256", "size"])
def test_a_manifest_without_digests_is_refused(folder: Path, name: str) -> None:
    _edit(folder, **{name: {}})
    _refused(folder, "changed after|another length")


def test_a_misshapen_manifest_is_a_record_error(folder: Path) -> None:
    _edit(folder, files=[], classes=["Fire", 5], title=None)
    with pytest.raises(RecordError) as caught:
        bundle.open_folder(folder)
    for told in ("field 'files' is a list", "field 'title' is a NoneType", "'classes' holds something that is no text"):
        assert told in str(caught.value)


def test_no_folder_and_no_manifest_are_told_apart(folder: Path) -> None:
    with pytest.raises(BundleError, match="no bundle folder at"):
        bundle.open_folder(folder / "none")
    (folder / bundle.NAME).unlink()
    with pytest.raises(RecordError, match="no bundle at"):
        bundle.open_folder(folder)


def test_a_missing_file_is_not_sealed(folder: Path) -> None:
    (folder / "model.onnx").unlink()
    before = (folder / bundle.NAME).read_bytes()
    with pytest.raises(BundleError, match="cannot seal .*model.onnx; write those files first"):
        bundle.seal(folder, _bundle())
    assert (folder / bundle.NAME).read_bytes() == before
