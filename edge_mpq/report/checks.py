"""Whether the values of a report can be drawn: types, finite numbers, pictures that are pictures."""

import base64
import binascii
import math
from collections.abc import Iterator
from typing import Any

from edge_mpq.errors import RecordError
from edge_mpq.records.evaluation import Evaluation
from edge_mpq.records.report import LayerRow, Option, RunReport, Stream, Variant

_TEXT = frozenset(("name", "layer", "asked", "got", "why", "format", "source", "ended", "title", "created", "target"))
_COUNTS = frozenset(("weights", "macs", "frames", "dropped", "torn", "losses"))
_SHARES = frozenset(("top1", "mean_iou", "agreement", "simulated_agreement"))
_OPTIONAL = _SHARES | frozenset(("planned_ms", "measured_ms", "harm", "ms"))
_NESTED = frozenset(("layers", "stages_p50_ms", "options", "parts"))
_LARGEST = 1e18
_FACT_DEPTH = 4


def check(report: RunReport) -> None:
    """Raise RecordError with the faults of ``report``, if it has any."""
    found = list(faults(report))
    if found:
        shown = found[:8] + ([f"and {len(found) - 8} more"] if len(found) > 8 else [])
        raise RecordError("report cannot be shown: " + "; ".join(shown), "measure again and write the report anew")


def faults(report: RunReport) -> Iterator[str]:
    """Every value of ``report`` that is of the wrong type, not finite or out of its range."""
    for name in ("title", "created", "target"):
        yield from _value(name, getattr(report, name), "the report")
    for index, variant in enumerate(report.variants):
        where = f"variant {index}"
        yield from _fields(variant, where)
        for row in variant.layers:
            yield from _fields(row, f"layer {row.layer!r} of {where}")
            for option in row.options:
                yield from _fields(option, f"an option of layer {row.layer!r} of {where}")
    if report.stream is not None:
        yield from _fields(report.stream, "the stream")
        if not isinstance(report.stream.stages_p50_ms, dict):
            yield "stages_p50_ms of the stream is no object"
        else:
            for stage, value in report.stream.stages_p50_ms.items():
                yield from _value(f"stage {stage!r}", value, "the stream")
        for index, part in enumerate(report.stream.parts):
            yield from _fact(f"part {index} of the stream", part, _FACT_DEPTH)
    for name, value in report.facts.items():
        yield from _fact(name, value, _FACT_DEPTH)
    for what, gallery in (("picture", report.pictures), ("disagreement", report.disagreements)):
        for index, picture in enumerate(gallery):
            if not _is_pair_of_text(picture) or media_type(picture[1]) is None:
                yield f"{what} {index} is no caption with a PNG or JPEG as base64"
    if report.evaluation is not None:
        yield from _evaluation(report.evaluation)
    for index, command in enumerate(report.commands):
        if not isinstance(command, str):
            yield f"command {index} is no text"


def _evaluation(judged: Evaluation) -> Iterator[str]:
    """What of an evaluation cannot be drawn; that its tables have their shapes its record has seen to."""
    if any(count < 0 for row in judged.confusion for count in row):
        yield "the confusion matrix counts below 0"
    for name, value in judged.figures.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
            yield f"figure {name!r} of the evaluation is no share of 0 to 1"
    if any(not 0 <= share <= 1 for point in judged.curve for share in point):
        yield "the curve of the evaluation leaves 0 to 1"
    for index, worst in enumerate(judged.worst):
        if not _is_pair_of_text(worst) or media_type(worst[1]) is None:
            yield f"worst error {index} is no caption with a PNG or JPEG as base64"


def media_type(encoded: str) -> str | None:
    """``image/png`` or ``image/jpeg`` for base64 text that holds one, else None."""
    try:
        data = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return None
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    return "image/jpeg" if data.startswith(b"\xff\xd8\xff") else None


def _is_pair_of_text(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == 2 and all(isinstance(item, str) for item in value)


def _fields(record: Variant | LayerRow | Option | Stream, where: str) -> Iterator[str]:
    for name, value in record._asdict().items():
        if name not in _NESTED:
            yield from _value(name, value, where)


def _value(name: str, value: Any, where: str) -> Iterator[str]:
    if name in _TEXT:
        if not isinstance(value, str):
            yield f"{name} of {where} is no text"
        return
    if value is None and name in _OPTIONAL:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < _LARGEST:
        yield f"{name} of {where} is no finite number"
    elif value < 0 and name != "harm":
        yield f"{name} of {where} is negative"
    elif name in _SHARES and value > 1:
        yield f"{name} of {where} is above 1"
    elif name in _COUNTS and value != int(value):
        yield f"{name} of {where} is no whole number"


def _fact(name: str, value: Any, depth: int) -> Iterator[str]:
    if isinstance(value, (dict, list, tuple)):
        if depth == 0:
            yield f"fact {name!r} is nested too deeply"
            return
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield from _fact(f"{name}.{key}", item, depth - 1)
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"fact {name!r} is no finite number"
