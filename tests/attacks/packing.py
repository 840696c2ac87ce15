"""Bundles to pack, and packed ones changed entry by entry: the attacks are made, not kept."""

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from edge_mpq.engines import inputs, replay
from edge_mpq.records import archive as archives
from edge_mpq.records import bundle as bundles
from edge_mpq.records import plan as plans
from edge_mpq.records import report as reports
from edge_mpq.records.plan import Choice, PrecisionPlan
from edge_mpq.records.report import LayerRow, RunReport, Variant
from export import bundle_from_engine_inputs as packing
from tests.stream.scripted import CLASSES, RECIPE, picture

LOGITS = np.array([[3, 0], [0, 3], [0, 5]], np.float32)
PLAN = PrecisionPlan(
    "0" * 16, "cpu-x86-vnni", {"conv": Choice("int8", "int8", "harm 0.5")}, "size<=8bits", "kl", "milp",
    {"weight_bits": 8.0, "size_mib": 0.25},
)  # fmt: skip
DATA = [
    "bundle/bundle.json", "bundle/fp32.npz", "bundle/fp32.npz.json", "bundle/model.npz", "bundle/model.npz.json",
    "bundle/plan.json", "bundle/report.json", "frames/0000.png", "frames/0001.png", "frames/0002.png",
]  # fmt: skip


def write_folder(folder: Path, target: str = "cpu-x86-vnni", frames: int = 3) -> Path:
    """A sealed bundle whose engines are recordings, with a plan, a host's report and frames."""
    folder.mkdir(parents=True)
    shape = (None, 3, RECIPE.height, RECIPE.width)
    replay.record(folder / "model.npz", LOGITS, shape, ms=[1.0, 2.0, 3.0])
    replay.record(folder / "fp32.npz", LOGITS[:1], shape)
    plans.save(folder / "plan.json", PLAN._replace(target=target))
    row = LayerRow("conv", "w8a8", "unknown", 100, 1000, planned_ms=0.5, harm=0.5)
    mixed = Variant("mixed", 0.1, 0.25, 8.0, 1.0, 2.0, 1000.0, 1.0, layers=[row])
    reports.save(folder / "report.json", RunReport("fire on a host", "2026-01-02 03:04 UTC", target, {}, [mixed]))
    files = {"model": "model.npz", "fp32": "fp32.npz", "plan": "plan.json"}
    # Replay engines are opened where they lie, and so travel with their cards.
    files.update(model_card="model.npz.json", fp32_card="fp32.npz.json")
    bundles.seal(folder, bundles.Bundle("fire", target, "classify", inputs.to_json(RECIPE), CLASSES, files))
    (folder / "frames").mkdir()
    for number in range(frames):
        cv2.imwrite(str(folder / "frames" / f"frame {number}.png"), picture(level=40 * number))
    return folder


def packed(folder: Path, target: str = "cpu-x86-vnni") -> Path:
    """A whole one-file bundle in ``folder``."""
    packing.write(write_folder(folder / "bundle", target), folder / "fire.pyz", "0.1.0")
    return folder / "fire.pyz"


class Entry(NamedTuple):
    """One entry of an archive that is to be written, as crooked as wanted."""

    name: str
    data: bytes
    mode: int = 0o100644
    method: int = zipfile.ZIP_DEFLATED


def small(**changes: Any) -> list[Entry]:
    """The entries of an archive of one code file and one model; ``changes`` to its list."""
    entries = [Entry("apps/board.py", b"print('board')\n" * 20), Entry("bundle/model.onnx", bytes(range(256)) * 40)]
    return [*entries, listing(entries, **changes)]


def listing(entries: list[Entry], **changes: Any) -> Entry:
    """The ``contents.json`` of ``entries``, some of its fields replaced."""
    digests = {entry.name: hashlib.sha256(entry.data).hexdigest() for entry in entries}
    sizes = {entry.name: len(entry.data) for entry in entries}
    body = json.loads(archives.contents_bytes(archives.Contents("fire", "cpu-x86-vnni", "0.1.0", digests, sizes)))
    return Entry(archives.NAME, json.dumps({**body, **changes}).encode())


def zipped(path: Path, entries: list[Entry]) -> Path:
    """Write ``entries`` to ``path`` as they stand, names and all."""
    with zipfile.ZipFile(path, "w") as target:
        for entry in entries:
            info = zipfile.ZipInfo("x")
            info.filename = info.orig_filename = entry.name
            info.create_system, info.external_attr, info.compress_type = 3, entry.mode << 16, entry.method
            target.writestr(info, entry.data)
    return path


def changed(source: Path, change: Callable[[str, bytes], bytes]) -> Path:
    """``source`` with the data of its entries changed, list and all else left as they were."""
    out = io.BytesIO(packing.HEAD)
    out.seek(0, io.SEEK_END)
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for info in old.infolist():
            new.writestr(zipfile.ZipInfo(info.filename, info.date_time), change(info.filename, old.read(info)))
    twin = source.with_name("changed.pyz")
    twin.write_bytes(out.getvalue())
    return twin


def relisted(source: Path, change: Callable[[str, bytes], bytes]) -> Path:
    """``source`` with the data of its entries changed, and its list made to agree."""
    with zipfile.ZipFile(source) as old:
        entries = [Entry(name, change(name, old.read(name))) for name in old.namelist() if name != archives.NAME]
    return zipped(source.with_name("relisted.pyz"), [*entries, listing(entries)])
