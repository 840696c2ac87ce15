"""Tuners: one file per way to search a small space of configurations whose every trial is dear.

All answer with what they measured, in order, and measure no configuration twice.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Protocol, cast

from edge_mpq import door
from edge_mpq.progress import Progress, silent
from edge_mpq.records.tuning import Configuration, Space, Tuning

# Runs one configuration: how good it is, finite, more is better.
Measure = Callable[[Configuration], float]


class Tuner(Protocol):
    """What every file of this folder holds."""

    def search(
        self,
        space: Space,
        measure: Measure,
        trials: int,
        seed: int = 0,
        known: Sequence[Tuning] = (),
        enough: float = float("inf"),
        progress: Progress = silent,
    ) -> Tuning:
        """At most ``trials`` configurations of ``space``, measured one after another.

        known: earlier tunings of other models, for methods that learn from them.  enough: the
        score that ends the search.  The same seed, the same trials.  Raises UsageError for a
        space without configurations or less than one trial.
        """


def names() -> list[str]:
    """Every tuner there is a file for."""
    return door.names(sys.modules[__name__])


def get(name: str) -> Tuner:
    """The module of tuner ``name``; UsageError lists what there is."""
    return cast(Tuner, door.get(sys.modules[__name__], name))
