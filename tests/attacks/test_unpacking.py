"""What is unpacked is whole, is compared at every start, and is named after what is in it."""

import os
import zipfile
from pathlib import Path

import pytest

from edge_mpq.errors import BundleError
from edge_mpq.records.archive import Archive
from tests.attacks.packing import small, zipped


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return zipped(tmp_path_factory.mktemp("whole") / "fire.pyz", small())


def test_what_cannot_be_unpacked_leaves_nothing(tmp_path: Path) -> None:
    edited = [entry._replace(data=entry.data[::-1]) if "model" in entry.name else entry for entry in small()]
    path = zipped(tmp_path / "edited.pyz", edited)
    with Archive(path) as archive, pytest.raises(BundleError, match="bundle/model.onnx was changed"):
        archive.unpack(tmp_path / "cache" / "out")
    assert list((tmp_path / "cache").iterdir()) == []


def test_unpacking_beside_another_that_was_quicker_is_no_fault(whole: Path, tmp_path: Path) -> None:
    with Archive(whole) as archive:
        archive.unpack(tmp_path / "out")
        archive.unpack(tmp_path / "out")
        archive.check_unpacked(tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def _edit(path: Path) -> None:
    path.write_bytes(path.read_bytes()[::-1])


def _link(path: Path) -> None:
    twin = path.with_name("twin")
    os.rename(path, twin)
    os.symlink(twin, path)


def _link_folder(path: Path) -> None:
    elsewhere = path.parent.with_name("elsewhere")
    os.rename(path.parent, elsewhere)
    os.symlink(elsewhere, path.parent)


@pytest.mark.parametrize(
    ("attack", "told"),
    [
        (_edit, "bundle/model.onnx was changed after it was unpacked"),
        (lambda path: path.write_bytes(b""), "bundle/model.onnx was changed"),
        (lambda path: path.unlink(), "bundle/model.onnx is missing"),
        (_link, "bundle/model.onnx is missing or a link"),
        (_link_folder, "bundle/model.onnx is missing or a link"),
    ],
    ids=["edited", "emptied", "removed", "linked", "folder linked"],
)
def test_what_was_changed_in_the_cache_is_refused(whole: Path, tmp_path: Path, attack, told: str) -> None:
    with Archive(whole) as archive:
        archive.unpack(tmp_path / "out")
        (tmp_path / "out" / "bundle" / "engines").mkdir()
        archive.check_unpacked(tmp_path / "out")
        attack(tmp_path / "out" / "bundle" / "model.onnx")
        with pytest.raises(BundleError, match=told) as caught:
            archive.check_unpacked(tmp_path / "out")
    assert caught.value.mend == "remove that folder; it is unpacked again"


def test_the_digest_is_of_what_is_listed(tmp_path: Path) -> None:
    one = zipped(tmp_path / "one.pyz", small())
    stored = zipped(tmp_path / "stored.pyz", [entry._replace(method=zipfile.ZIP_STORED) for entry in small()])
    other = zipped(tmp_path / "other.pyz", small(title="smoke"))
    digests = []
    for path in (one, stored, other):
        with Archive(path) as archive:
            digests.append(archive.digest)
    assert digests[0] == digests[1] != digests[2]
