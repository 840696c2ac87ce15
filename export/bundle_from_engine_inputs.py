"""A sealed bundle folder and the code a board needs -> one file that Python runs.

``python3 NAME.pyz doctor | build | run | bench | report`` on a Jetson with what JetPack
delivers.  The same folder gives the same bytes, whenever and wherever it is packed with
the same zlib.  docs/bundle.md is the format.
"""

import hashlib
import os
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from edge_mpq.errors import ExportError
from edge_mpq.progress import Progress, silent
from edge_mpq.records import archive as archives
from edge_mpq.records import bundle as bundles
from edge_mpq.records import report as reports

FRAMES, MAX_FRAMES = "frames", 16
PICTURES = (".jpg", ".jpeg", ".png", ".bmp")
REPORT = "report.json"
# What a board runs, as patterns below the folders that hold edge_mpq and the stages.
CODE = (
    "edge_mpq/__init__.py edge_mpq/door.py edge_mpq/errors.py edge_mpq/termination.py",
    "edge_mpq/records/*.py edge_mpq/engines/*.py",
    "calibrators/*.py export/__init__.py export/engine_from_onnx.py",
    "apps/__init__.py apps/board*.py apps/bundle_fit.py apps/doctor*.py",
    "apps/stream/*.py apps/stream/*/*.py apps/stream/page/page.*",
)
# A file that lost its end is no zip any more, and Python takes it for source: it then says
# that it does not know this encoding.
HEAD = b"#!/usr/bin/env python3\n# -*- coding: this-file-is-torn--copy-it-again -*-\n"
# Python 2 and 3.5 understand this much.
MAIN = b'''"""A bundle of edge-mpq."""
import os
import sys

if sys.version_info < (3, 6):
    sys.stderr.write(
        "edge-mpq: BundleError: this is Python %d.%d; Python 3.6 or later is needed, run it with python3\\n"
        % sys.version_info[:2]
    )
    sys.exit(2)

from apps import board

sys.exit(board.main(sys.argv[1:], os.path.dirname(os.path.abspath(__file__))))
'''
DATE = (1980, 1, 1, 0, 0, 0)


class Source(NamedTuple):
    """What an entry is made of: the bytes, or the file that holds them."""

    data: bytes = b""
    path: Path | None = None

    def blocks(self) -> Iterator[bytes]:
        """The bytes, a part at a time."""
        if self.path is None:
            yield self.data
            return
        with self.path.open("rb") as stream:
            yield from iter(lambda: stream.read(archives.BLOCK), b"")


def sources(folder: Path) -> dict[str, Source]:
    """Every entry but the list, for the bundle in ``folder``: name -> Source.

    Raises BundleError where the bundle is torn, ExportError where something in it cannot travel.
    """
    bundle = bundles.open_folder(folder)
    found = {f"bundle/{path}": Source(path=folder / path) for path in {*bundle.files.values(), bundles.NAME}}
    if (folder / REPORT).is_file():
        reports.load(folder / REPORT)
        found[f"bundle/{REPORT}"] = Source(path=folder / REPORT)
    for number, picture in enumerate(frames(folder / FRAMES)):
        found[f"{FRAMES}/{number:04d}{picture.suffix.lower()}"] = Source(path=picture)
    for name, path in code():
        found[name] = Source(path=path)
    found["__main__.py"] = Source(MAIN)
    faults = [f"{name!r} {fault}" for name, fault in ((name, archives.name_fault(name)) for name in found) if fault]
    if faults:
        raise ExportError("; ".join(faults), "name the bundle's files with letters and digits")
    return found


def frames(folder: Path) -> list[Path]:
    """The pictures of ``folder`` that travel, at most MAX_FRAMES evenly spread; [] where there is none."""
    if not folder.is_dir():
        return []
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURES and path.is_file())
    count = min(MAX_FRAMES, len(found))
    return [found[index * len(found) // count] for index in range(count)]


def code() -> Iterator[tuple[str, Path]]:
    """(entry, file) of all code that travels."""
    library, stages = (Path(file).resolve().parents[up] for file, up in ((archives.__file__, 2), (__file__, 1)))
    for pattern in " ".join(CODE).split():
        home = library if pattern.startswith("edge_mpq/") else stages
        for path in home.glob(pattern):
            yield path.relative_to(home).as_posix(), path


def listed(folder: Path, found: dict[str, Source], made_by: str) -> archives.Contents:
    """The list of the entries ``found``; ExportError where they are more than one file holds."""
    bundle = bundles.open_folder(folder)
    digests, sizes = {}, {}
    for name, source in found.items():
        state, size = hashlib.sha256(), 0
        for block in source.blocks():
            state.update(block)
            size += len(block)
        digests[name], sizes[name] = state.hexdigest(), size
    if len(found) + 1 > archives.MAX_ENTRIES or sum(sizes.values()) > archives.MAX_BYTES - archives.MAX_LIST_BYTES:
        total = sum(sizes.values()) / 2**30
        limits = f"{archives.MAX_ENTRIES} files and {archives.MAX_BYTES >> 30} GiB"
        raise ExportError(f"{folder} has {len(found)} files of {total:.1f} GiB", f"one file holds {limits}")
    return archives.Contents(bundle.title, bundle.target, made_by, digests, sizes)


def write(folder: str | Path, out: str | Path, made_by: str, progress: Progress = silent) -> archives.Contents:
    """Pack the bundle in ``folder`` into the file ``out``, whole or not at all; its Contents.

    made_by: version of edge-mpq.  Raises as :func:`sources` and :func:`listed` do.
    """
    folder, out = Path(folder), Path(out)
    found = sources(folder)
    contents = listed(folder, found, made_by)
    found[archives.NAME] = Source(archives.contents_bytes(contents))
    out.parent.mkdir(parents=True, exist_ok=True)
    handle, half = tempfile.mkstemp(prefix=".half-", dir=out.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(HEAD)
            with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, allowZip64=False) as packed:
                for name in progress(sorted(found), "packing", len(found)):
                    _add(packed, name, found[name])
        with archives.Archive(half) as archive:
            archive.check()
        os.chmod(half, 0o755)
        os.replace(half, out)
    except BaseException:
        os.unlink(half)
        raise
    return contents


def _add(packed: zipfile.ZipFile, name: str, source: Source) -> None:
    entry = zipfile.ZipInfo(name, DATE)
    entry.create_system, entry.external_attr, entry.compress_type = 3, 0o100644 << 16, zipfile.ZIP_DEFLATED
    with packed.open(entry, "w") as stream:
        for block in source.blocks():
            stream.write(block)
