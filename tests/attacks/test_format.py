"""The one-file bundle to the byte, as docs/bundle.md has it."""

import hashlib
import json
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from apps import bundle as verb
from edge_mpq.errors import BundleError, ExportError, RecordError, UsageError
from edge_mpq.records import archive as archives
from edge_mpq.records import bundle as bundles
from export import bundle_from_engine_inputs as packing
from tests import floors
from tests.attacks.packing import DATA, write_folder

PAGE = {f"apps/stream/page/page.{kind}" for kind in ("css", "html", "js")}
HOST_SIDE = {"edge_mpq/__main__.py", "edge_mpq/completion.py", "export/trtexec_from_plan.py"}
LOCAL, CENTRAL, END = b"PK\3\4", b"PK\1\2", b"PK\5\6"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("format") / "bundle")


@pytest.fixture(scope="module")
def pyz(folder: Path) -> Path:
    packing.write(folder, folder.parent / "fire.pyz", "0.1.0")
    return folder.parent / "fire.pyz"


def test_the_entries_are_the_board_files_and_the_bundle_in_order(pyz: Path) -> None:
    code = {file for file in floors.sources() if floors.on_board(file)} - HOST_SIDE
    with zipfile.ZipFile(pyz) as archive:
        assert archive.namelist() == sorted([*code, *PAGE, *DATA, "__main__.py", "contents.json"])


def test_code_brings_what_it_imports(pyz: Path) -> None:
    with zipfile.ZipFile(pyz) as archive:
        names = set(archive.namelist())
    files = [name for name in names if name.endswith(".py") and name != "__main__.py"]
    missing = {(file, use.file) for file in files for use in floors.imports(file) if use.file and use.file not in names}
    assert not missing


def test_the_bytes_are_those_of_the_page(pyz: Path) -> None:
    data = pyz.read_bytes()
    assert data.startswith(b"#!/usr/bin/env python3\n# -*- coding: this-file-is-torn--copy-it-again -*-\nPK\3\4")
    with zipfile.ZipFile(pyz) as archive:
        infos = archive.infolist()
    at = len(packing.HEAD)
    for info in infos:
        local = struct.unpack("<4s5H3I2H", data[at : at + 30])
        signature, needed, flags, method, time, date, crc, squeezed, size, name, extra = local
        assert (signature, needed, method, time, date, extra) == (LOCAL, 20, 8, 0, 0x21, 0)
        # A name beyond ASCII is marked as UTF-8; nothing else is.
        assert flags == (0 if info.filename.isascii() else 0x800)
        assert (crc, squeezed, size) == (info.CRC, info.compress_size, info.file_size)
        assert data[at + 30 : at + 30 + name] == info.filename.encode()
        at += 30 + name + squeezed
    first = at
    for info in infos:
        central = struct.unpack("<4s4B4H3I5H2I", data[at : at + 46])
        assert (central[0], central[2], central[-2]) == (CENTRAL, 3, 0o100644 << 16)
        assert (central[13], central[14]) == (0, 0)  # no extra field, no comment
        at += 46 + len(info.filename.encode())
    end = struct.unpack("<4s4H2IH", data[at:])
    assert end == (END, 0, 0, len(infos), len(infos), at - first, first, 0)


def test_the_list_to_the_byte() -> None:
    contents = archives.Contents("fire", "jetson-nano", "0.1.0", {"b": "1" * 64, "a": "0" * 64}, {"b": 2, "a": 1})
    assert archives.contents_bytes(contents).decode() == (
        '{\n "kind": "archive",\n "made_by": "0.1.0",\n "sha256": {\n'
        f'  "a": "{"0" * 64}",\n  "b": "{"1" * 64}"\n }},\n'
        ' "size": {\n  "a": 1,\n  "b": 2\n },\n'
        ' "target": "jetson-nano",\n "title": "fire",\n "version": 1\n}\n'
    )


def test_the_list_tells_every_other_entry(pyz: Path) -> None:
    with zipfile.ZipFile(pyz) as archive:
        body = json.loads(archive.read("contents.json"))
        others = {name: archive.read(name) for name in archive.namelist() if name != "contents.json"}
    assert body["size"] == {name: len(data) for name, data in others.items()}
    assert body["sha256"] == {name: hashlib.sha256(data).hexdigest() for name, data in others.items()}
    assert (body["kind"], body["version"], body["made_by"]) == ("archive", 1, "0.1.0")
    assert (body["title"], body["target"]) == ("fire", "cpu-x86-vnni")


def test_the_same_folder_gives_the_same_bytes(folder: Path, pyz: Path, tmp_path: Path) -> None:
    code = "import sys; from export import bundle_from_engine_inputs as b; b.write(*sys.argv[1:])"
    words = [sys.executable, "-c", code, str(folder), str(tmp_path / "again.pyz"), "0.1.0"]
    subprocess.run(words, cwd=floors.ROOT, check=True, env={"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"})
    assert (tmp_path / "again.pyz").read_bytes() == pyz.read_bytes()


def test_what_is_packed_comes_out(folder: Path, pyz: Path, tmp_path: Path) -> None:
    with archives.Archive(pyz) as archive:
        archive.check()
        archive.unpack(tmp_path / "out")
        archive.check_unpacked(tmp_path / "out")
        assert archive.digest == hashlib.sha256(archives.contents_bytes(archive.contents)).hexdigest()[:16]
    assert bundles.open_folder(tmp_path / "out" / "bundle") == bundles.open_folder(folder)
    assert sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*")) == DATA


def test_at_most_sixteen_frames_travel_evenly_spread(tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    for number in range(40):
        (tmp_path / "frames" / f"{number:02d}.jpg").write_bytes(b"")
    (tmp_path / "frames" / "notes.txt").write_bytes(b"")
    chosen = [int(path.stem) for path in packing.frames(tmp_path / "frames")]
    assert len(chosen) == 16 and chosen[0] == 0 and {b - a for a, b in zip(chosen, chosen[1:], strict=False)} <= {2, 3}
    assert packing.frames(tmp_path / "none") == []


def test_the_verb_packs_and_tells(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "deep" / "fire.pyz"
    assert verb.main([str(folder), "--out", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["bytes"] == out.stat().st_size and told["sha256"] == bundles.digest(out)
    assert (told["target"], told["frames"]) == ("cpu-x86-vnni", 3)
    assert [path.name for path in out.parent.iterdir()] == ["fire.pyz"]
    assert out.stat().st_mode & 0o111


@pytest.mark.parametrize(
    ("break_it", "error", "told"),
    [
        (lambda folder: (folder / "model.npz").write_bytes(b"x"), BundleError, "model.npz has another length"),
        (lambda folder: (folder / "report.json").write_text("{"), RecordError, "not a whole JSON file"),
        (lambda folder: (folder / "bundle.json").unlink(), RecordError, "no bundle at"),
    ],
)
def test_a_torn_folder_is_not_packed(tmp_path: Path, break_it, error, told: str) -> None:
    folder = write_folder(tmp_path / "bundle")
    break_it(folder)
    (tmp_path / "old.pyz").write_bytes(b"the old one")
    with pytest.raises(error, match=told):
        packing.write(folder, tmp_path / "old.pyz", "0.1.0")
    assert (tmp_path / "old.pyz").read_bytes() == b"the old one"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "old.pyz"]


def test_a_name_that_cannot_travel_is_told(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "bundle")
    bundle = bundles.open_folder(folder)
    (folder / "mo\\del.npz").write_bytes(b"x")
    bundles.seal(folder, bundle._replace(files={**bundle.files, "ranges": "mo\\del.npz"}))
    with pytest.raises(ExportError, match="leads out of the archive"):
        packing.write(folder, tmp_path / "fire.pyz", "0.1.0")


def test_another_suffix_is_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match="NAME.pyz"):
        verb.main([str(folder), "--out", str(folder / "model.onnx")])


def test_more_than_fits_is_refused(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_BYTES", archives.MAX_LIST_BYTES + 1000)
    with pytest.raises(ExportError, match="one file holds"):
        packing.write(folder, tmp_path / "fire.pyz", "0.1.0")
    assert list(tmp_path.iterdir()) == []
