"""TensorHistogram: how the values of a tensor are spread, and which of them its grid holds.  Part of a RunReport."""

from typing import List, NamedTuple

from edge_mpq.records import document


class TensorHistogram(NamedTuple):
    """One tensor that a layer reads.

    tensor: ``input``, in its own units, or ``weights``, each in units of the greatest value its
    grid holds.  format: of the grid, by name.  low, high: the ends of the equal bins.  counts: of
    values in each.  clip_low, clip_high: the least and the greatest value the grid holds.
    clipped: share of the values beyond them.
    """

    layer: str
    tensor: str
    format: str
    low: float
    high: float
    counts: List[int]
    clip_low: float
    clip_high: float
    clipped: float


def from_json(body, fields):
    """The histogram in a decoded JSON object; its faults are told to ``fields``, and None given."""
    where = "a histogram"
    found = document.named(TensorHistogram, body, where, fields)
    if found is None:
        return None
    faults = []
    if found.tensor not in ("input", "weights"):
        faults.append("is of {!r}, not of an input or weights".format(found.tensor[:20]))
    if not found.low < found.high or not found.clip_low <= found.clip_high:
        faults.append("has ends that run backwards")
    whole = all(isinstance(count, int) and not isinstance(count, bool) and count >= 0 for count in found.counts)
    if not found.counts or not whole:
        faults.append("has counts that are no whole numbers from 0 on")
    if not 0 <= found.clipped <= 1:
        faults.append("has clipped a share outside of 0 to 1")
    for fault in faults:
        fields.fault("{} {}".format(where, fault))
    return None if faults else found
