"""The loop that every tuner runs: choose a configuration, measure it, remember it."""

import math
from collections.abc import Callable, Sequence

from edge_mpq.errors import UsageError
from edge_mpq.progress import Progress
from edge_mpq.records.tuning import Configuration, Space, Trial, Tuning
from edge_mpq.tuners import Measure

# (trials so far, configurations not measured yet in the order of the space) -> one of the latter.
Choose = Callable[[Sequence[Trial], Sequence[Configuration]], Configuration]


def run(space: Space, measure: Measure, trials: int, enough: float, progress: Progress, choose: Choose) -> Tuning:
    """Measure what ``choose`` says until ``trials`` are made, nothing is left or a score is ``enough``."""
    left = space.configurations()
    if not left or not space.axes:
        raise UsageError("there is no configuration to choose from", "give every axis a value")
    if trials < 1:
        raise UsageError(f"{trials} trials were asked", "give 1 or more")
    made: list[Trial] = []
    for _ in progress(range(min(trials, len(left))), "tuning"):
        configuration = choose(made, left)
        left.remove(configuration)
        score = float(measure(configuration))
        if not math.isfinite(score):
            raise UsageError(f"the score of {', '.join(configuration)} is {score}", "measure a finite number")
        made.append(Trial(configuration, score))
        if score >= enough:
            break
    return Tuning(space, tuple(made))
