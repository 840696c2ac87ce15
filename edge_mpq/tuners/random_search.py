"""Configurations drawn evenly, none twice.

Of n configurations of which g are good, the first good one comes after (n + 1) / (g + 1) trials
in the mean.
"""

import random
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
    """``trials`` draws without replacement; see the family's contract."""
    draw = random.Random(seed)
    return run(space, measure, trials, enough, progress, lambda made, left: draw.choice(left))
