"""Evaluation: how a model's answers stand to the truth.  Part of a RunReport."""

from typing import Dict, List, NamedTuple

from edge_mpq.records import document


class Evaluation(NamedTuple):
    """Counts of answers, and the figures and errors they come down to.

    classes: their names.  positive: the class that precision and recall speak of.  unit: what
    is counted, ``pictures`` or ``pixels``.  confusion: [K][K], the truth in rows and the answers
    in columns.  figures: shares by name (``accuracy``, ``f1``).  curve: [recall, precision]
    pairs, recall rising.  worst: [caption, PNG or JPEG as base64], the worst error first.
    """

    classes: List[str]
    positive: str
    unit: str
    confusion: List[List[int]]
    figures: Dict[str, float]
    curve: List[List[float]] = []
    worst: List[List[str]] = []


def to_json(evaluation):
    """The evaluation as a dict of JSON values."""
    return evaluation._asdict()


def from_json(body, fields):
    """The evaluation in a decoded JSON object; its faults are told to ``fields``, and None given."""
    found = document.named(Evaluation, body, "the evaluation", fields)
    if found is None:
        return None
    faults = list(_faults(found))
    for fault in faults:
        fields.fault("the evaluation " + fault)
    return None if faults else found


def _faults(found):
    count = len(found.classes)
    if count < 2 or found.positive not in found.classes:
        yield "has no two classes with the positive one among them"
    if not _is_table(found.confusion, count, count, int):
        yield "has no confusion of {0} x {0} whole numbers".format(count)
    if not _is_table(found.curve, None, 2, (int, float)):
        yield "has a curve that is no list of [recall, precision]"
    if not _is_table(found.worst, None, 2, str):
        yield "has worst errors that are no list of [caption, base64]"


def _is_table(rows, count, width, kind):
    """Whether ``rows`` are ``count`` (None: any number of) lists of ``width`` values of ``kind``."""
    if count is not None and len(rows) != count:
        return False
    return all(
        isinstance(row, list)
        and len(row) == width
        and all(isinstance(value, kind) and not isinstance(value, bool) for value in row)
        for row in rows
    )
