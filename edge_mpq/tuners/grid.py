"""One configuration after another, the last axis varying fastest: what every search is held against."""

from collections.abc import Sequence

from edge_mpq.progress import Progress, silent
from edge_mpq.records.tuning import Space, Tuning
from edge_mpq.tuners import Measure
from edge_mpq.tuners.base import run


def search(
    space: Space,
    measure: Measure,
    trials: int,
    seed: int = 0,
    known: Sequence[Tuning] = (),
    enough: float = float("inf"),
    progress: Progress = silent,
) -> Tuning:
    """The first ``trials`` configurations of the space; see the family's contract."""
    return run(space, measure, trials, enough, progress, lambda made, left: left[0])
