"""A one-file bundle that is torn, edited, oversized or crooked is refused by name, and leaves nothing behind."""

import stat
import struct
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_mpq.errors import BundleError, RecordError
from edge_mpq.records import archive as archives
from edge_mpq.records.archive import Archive
from tests.attacks.packing import Entry, listing, small, zipped

SOUND = (BundleError, RecordError)


def _refused(path: Path, told: str, error: type[Exception] = BundleError) -> None:
    with pytest.raises(error, match=told) as caught, Archive(path) as archive:
        archive.check()
    assert len(str(caught.value)) < 3000


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return zipped(tmp_path_factory.mktemp("whole") / "fire.pyz", small())


def test_the_whole_one_opens(whole: Path) -> None:
    with Archive(whole) as archive:
        archive.check()
        assert archive.names(data=True) == ["bundle/model.onnx"]
        assert archive.names(data=False) == ["apps/board.py"]


@given(at=st.integers(0, 2000), bit=st.integers(0, 7))
def test_a_flipped_bit_is_refused_or_harmless(whole: Path, at: int, bit: int) -> None:
    data = bytearray(whole.read_bytes())
    data[at % len(data)] ^= 1 << bit
    torn = whole.with_name("flipped.pyz")
    torn.write_bytes(data)
    try:
        with Archive(torn) as archive, Archive(whole) as sound:
            archive.check()
            # A bit of a date or a version: nothing that is used.
            assert archive.contents == sound.contents
    except SOUND as error:
        assert error.mend


@given(left=st.integers(0, 2000))
def test_a_file_that_lost_its_end_is_refused(whole: Path, left: int) -> None:
    data = whole.read_bytes()
    torn = whole.with_name("short.pyz")
    torn.write_bytes(data[: left % len(data)])
    _refused(torn, "torn or no bundle")


@given(data=st.binary(max_size=300))
def test_noise_is_refused(whole: Path, data: bytes) -> None:
    noise = whole.with_name("noise.pyz")
    noise.write_bytes(data)
    _refused(noise, "torn or no bundle")


def test_no_file_is_told(tmp_path: Path) -> None:
    _refused(tmp_path / "none.pyz", "no bundle at")
    _refused(tmp_path, "no bundle at")


@pytest.mark.parametrize("name", ["apps/board.py", "bundle/model.onnx"])
def test_an_edited_entry_of_the_same_length_is_refused(tmp_path: Path, name: str) -> None:
    entries = [entry._replace(data=entry.data[::-1]) if entry.name == name else entry for entry in small()]
    _refused(zipped(tmp_path / "edited.pyz", entries), f"{name} was changed after the bundle was made")


def test_an_entry_of_another_length_is_refused(tmp_path: Path) -> None:
    code, model, contents = small()
    entries = [code, model._replace(data=model.data + b"x"), contents]
    _refused(zipped(tmp_path / "longer.pyz", entries), "bundle/model.onnx has another length than listed")


def test_an_entry_that_is_not_listed_is_refused(tmp_path: Path) -> None:
    entries = [*small(), Entry("sitecustomize.py", b"import os")]
    _refused(zipped(tmp_path / "more.pyz", entries), "entry 'sitecustomize.py' is not listed")


def test_a_listed_entry_that_is_not_there_is_refused(tmp_path: Path) -> None:
    code, _, contents = small()
    _refused(zipped(tmp_path / "less.pyz", [code, contents]), "bundle/model.onnx is missing")


def test_an_archive_without_its_list_is_refused(tmp_path: Path) -> None:
    _refused(zipped(tmp_path / "bare.pyz", small()[:2]), "has no contents.json")


@pytest.mark.parametrize(
    "name",
    ["../out", "bundle/../../out", "/etc/passwd", "bundle/..", "..", "C:/out", "c:out", "bundle\\out", "\\\\host\\out"],
)
def test_a_name_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    code = small()[0]
    entries = [code, Entry(name, b"x")]
    _refused(zipped(tmp_path / "out.pyz", [*entries, listing(entries)]), "leads out of the archive")


@pytest.mark.parametrize("name", ["", "a//b", "./a", "a/.", "bundle/", "a\0b", "a\nb", "a\x1b[2J", "a" * 256])
def test_a_name_no_file_can_have_is_refused(tmp_path: Path, name: str) -> None:
    entries = [small()[0], Entry(name, b"x")]
    _refused(zipped(tmp_path / "odd.pyz", [*entries, listing(entries)]), "has no usable name|leads out")


@pytest.mark.parametrize(
    ("mode", "kind"),
    [(stat.S_IFLNK | 0o777, "link"), (stat.S_IFIFO, "special"), (stat.S_IFDIR, "special"), (stat.S_IFCHR, "special")],
)
def test_what_is_no_regular_file_is_refused(tmp_path: Path, mode: int, kind: str) -> None:
    entries = [small()[0], Entry("bundle/model.onnx", b"/etc/passwd", mode)]
    _refused(zipped(tmp_path / "link.pyz", [*entries, listing(entries)]), f"'bundle/model.onnx' is a {kind}")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("twin", ["bundle/model.onnx", "Bundle/MODEL.onnx", "contents.json"])
def test_a_name_that_stands_twice_is_refused(tmp_path: Path, twin: str) -> None:
    # On a file system that does not tell cases apart the second would replace the first.
    entries = [*small(), Entry(twin, b"another")]
    _refused(zipped(tmp_path / "twice.pyz", entries), f"'{twin}' stands twice")


def test_another_packing_is_refused(tmp_path: Path) -> None:
    entries = [entry._replace(method=zipfile.ZIP_BZIP2) for entry in small()]
    _refused(zipped(tmp_path / "bzip2.pyz", entries), "packed in a way not known here")


def _patched(path: Path, name: bytes, offset: int, value: bytes) -> Path:
    """``path`` with bytes of the central directory's entry ``name`` replaced, counted from its signature."""
    data = bytearray(path.read_bytes())
    at = data.rindex(name) - 46
    assert data[at : at + 4] == b"PK\1\2"
    data[at + offset : at + offset + len(value)] = value
    twin = path.with_name("patched.pyz")
    twin.write_bytes(data)
    return twin


def test_an_encrypted_entry_is_refused(whole: Path) -> None:
    _refused(_patched(whole, b"bundle/model.onnx", 8, b"\1\0"), "encrypted")


def test_an_oversized_entry_is_refused_unread(whole: Path) -> None:
    _refused(_patched(whole, b"bundle/model.onnx", 24, struct.pack("<I", 3 << 30)), "more than 2 GiB")


def test_an_entry_that_inflates_beyond_its_length_is_cut_and_refused(tmp_path: Path) -> None:
    bomb = Entry("bundle/model.onnx", bytes(50_000_000))
    told = listing([bomb._replace(data=b"\0" * 100)])
    path = zipped(tmp_path / "bomb.pyz", [bomb, told])
    assert path.stat().st_size < 100_000
    with Archive(_patched(path, b"bundle/model.onnx", 24, struct.pack("<I", 100))) as archive:
        with pytest.raises(BundleError, match="bundle/model.onnx"):
            archive.unpack(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_oversized_list_is_refused(tmp_path: Path) -> None:
    entries = small()[:2]
    path = zipped(tmp_path / "list.pyz", [*entries, Entry("contents.json", b" " * (archives.MAX_LIST_BYTES + 1))])
    _refused(path, "contents.json is larger than 1 MiB")


def test_too_many_entries_are_refused(tmp_path: Path) -> None:
    entries = [Entry(f"bundle/{number}", b"", method=zipfile.ZIP_STORED) for number in range(archives.MAX_ENTRIES + 1)]
    _refused(zipped(tmp_path / "many.pyz", entries), "more than 4096")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"version": 2}, "archive version 2; this program reads version 1"),
        ({"kind": "bundle"}, "a record of kind 'bundle'"),
        ({"size": {"apps/board.py": -1}}, "no length"),
        ({"sha256": {"apps/board.py": "0" * 63}}, "no digest"),
        ({"size": {}}, "do not list the same entries"),
        ({"target": 5, "title": None}, "'title' is a NoneType.*'target' is a int"),
    ],
)
def test_a_list_of_another_kind_is_refused(tmp_path: Path, changes: dict, told: str) -> None:
    path = zipped(tmp_path / "kind.pyz", small(**changes))
    _refused(path, told, RecordError)


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"\xff", b"[" * 100_000, b'{"size": {"a": ' + b"9" * 1000 + b"}}"],
    ids=["empty", "cut", "not UTF-8", "deep", "long"],
)
def test_a_torn_list_is_refused(tmp_path: Path, text: bytes) -> None:
    _refused(zipped(tmp_path / "list.pyz", [*small()[:2], Entry("contents.json", text)]), "contents.json is torn")


def test_a_list_that_is_no_object_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "list.pyz", [*small()[:2], Entry("contents.json", b"[]")])
    _refused(path, "holds a JSON list", RecordError)


def test_many_faults_are_told_together_but_not_all(tmp_path: Path) -> None:
    entries = [Entry(f"../{number}", b"") for number in range(1000)]
    with pytest.raises(BundleError) as caught:
        Archive(zipped(tmp_path / "faults.pyz", entries))
    assert str(caught.value).count("leads out") == 20
