"""Leaderboard: what every recipe made of one model, data, budget and target, seed by seed."""

from typing import Dict, List, NamedTuple, Optional

from edge_mpq.records import document

KIND, VERSION = "leaderboard", 1


class Entry(NamedTuple):
    """One recipe with one seed.

    failure: why it has no result, or '' and then the rest holds.  simulated_top1: share of the
    test pictures that its fake-quantized model answers right; top1: that its engine does, None
    where no engine computes the plan.  agreement: share on which both say the same.  weight_mib:
    weights at nominal bits.  search_s: all that the recipe did; evaluations: whole plans it tried.
    note: what of it only a simulation computes.  speedup: fp32's median time by its engine's, of
    one interleaved run; None where it was not timed.
    """

    recipe: str
    seed: int
    paper: str
    failure: str
    weight_bits: float
    weight_mib: float
    search_s: float
    evaluations: int
    deployable: bool
    note: str
    simulated_top1: Optional[float] = None
    top1: Optional[float] = None
    agreement: Optional[float] = None
    file_mib: Optional[float] = None
    p50_ms: Optional[float] = None
    speedup: Optional[float] = None


class Leaderboard(NamedTuple):
    """All entries, and what they share.  fp32_top1: share that the float engine answers right."""

    title: str
    created: str
    target: str
    budget: str
    data: str
    pictures: int
    fp32_top1: float
    machine: Dict[str, str]
    commands: List[str]
    entries: List[Entry] = []


def failed(recipe, seed, paper, why):
    """The entry of a recipe that has no result."""
    return Entry(recipe, seed, paper, why, 0.0, 0.0, 0.0, 0, False, "")


def save(path, board):
    """Write the leaderboard to ``path``."""
    entries = [entry._asdict() for entry in board.entries]
    document.save(path, KIND, VERSION, dict(board._asdict(), entries=entries))


def load(path):
    """Read a leaderboard; RecordError names every fault."""
    fields = document.load(path, KIND, VERSION)
    body = {name: value for name, value in fields.body.items() if name not in ("kind", "version")}
    board = document.named(Leaderboard, body, "the leaderboard", fields)
    if board is not None:
        rows = [document.named(Entry, row, "entry {}".format(i), fields) for i, row in enumerate(board.entries)]
        board = board._replace(entries=[row for row in rows if row is not None])
    fields.done()
    return board
