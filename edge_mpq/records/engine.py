"""EngineCard: what was built, from what, by what, and what each layer really got."""

import re
from typing import Dict, NamedTuple

from edge_mpq.records import document

KIND, VERSION = "engine-card", 1


class EngineCard(NamedTuple):
    """The sidecar of an engine file; without it the file is not opened.

    versions: what built it (``onnxruntime``, ``tensorrt``, ``cuda`` ...).
    device: the processor it was built on; an engine does not move to another.
    asked, got: layer -> format short name (``w8a8``, ``fp32``) planned and read back.
    settings: of the build, where they change what is computed (``accuracy_level``) or where (``dla_core``).
    """

    backend: str
    target: str
    device: str
    versions: Dict[str, str]
    onnx_sha256: str
    engine_sha256: str
    engine_bytes: int
    build_s: float
    asked: Dict[str, str]
    got: Dict[str, str]
    settings: Dict[str, str] = {}

    def mismatches(self):
        """[(layer, asked, got)] where the engine did not run what the plan asked."""
        rows = [(layer, asked, self.got.get(layer, "unknown")) for layer, asked in self.asked.items()]
        return [row for row in rows if row[1] != row[2] and not _is_blocks_of(*row[1:])]


def _is_blocks_of(asked, got):
    """Whether ``got`` (``w4a16``) is all that TensorRT tells of block-wise weights (``w4b64``) and a float."""
    asked, got = re.match(r"w(\d+)b\d+$", asked), re.match(r"w(\d+)a(?:16|32)$", got)
    return bool(asked and got and asked.group(1) == got.group(1))


def save(path, card):
    """Write the card to ``path``."""
    document.save(path, KIND, VERSION, card._asdict())


def load(path):
    """Read a card; RecordError names every fault."""
    fields = document.load(path, KIND, VERSION)
    card = EngineCard(
        backend=fields.take("backend", str),
        target=fields.take("target", str),
        device=fields.take("device", str),
        versions=fields.take("versions", dict),
        onnx_sha256=fields.take("onnx_sha256", str),
        engine_sha256=fields.take("engine_sha256", str),
        engine_bytes=fields.take("engine_bytes", int),
        build_s=fields.take("build_s", float),
        asked=fields.take("asked", dict),
        got=fields.take("got", dict),
        settings=fields.take("settings", dict, {}),
    )
    fields.done()
    return card
