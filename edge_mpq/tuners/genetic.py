"""A genetic search in a steady state: good configurations are crossed, and their children mutate.

The first ``POPULATION`` trials are drawn evenly.  Later ones are children of two trials of the best
``POPULATION`` so far, each the better of two drawn: every value comes from either parent evenly and
then mutates at ``MUTATION``.  A child that was measured before mutates on until it is new.
"""

import random
from collections.abc import Sequence

from edge_mpq.progress import Progress, silent
from edge_mpq.records.tuning import Configuration, Space, Trial, Tuning
from edge_mpq.tuners import Measure
from edge_mpq.tuners.base import run

POPULATION = 8
MUTATION = 0.15


def search(
    space: Space,
    measure: Measure,
    trials: int,
    seed: int = 0,
    known: Sequence[Tuning] = (),
    enough: float = float("inf"),
    progress: Progress = silent,
) -> Tuning:
    """Up to ``trials`` individuals, one after another; see the family's contract."""
    draw = random.Random(seed)
    axes = list(space.axes.values())

    def parent(living: Sequence[Trial]) -> Configuration:
        return max(draw.sample(living, 2), key=lambda trial: trial.score).configuration

    def mutated(configuration: Configuration, rate: float) -> Configuration:
        genes = zip(configuration, axes, strict=True)
        return tuple(draw.choice(values) if draw.random() < rate else value for value, values in genes)

    def choose(made: Sequence[Trial], left: Sequence[Configuration]) -> Configuration:
        if len(made) < POPULATION:
            return draw.choice(left)
        living = sorted(made, key=lambda trial: -trial.score)[:POPULATION]
        one, other = parent(living), parent(living)
        child = tuple(draw.choice(pair) for pair in zip(one, other, strict=True))
        rate = MUTATION
        child = mutated(child, rate)
        while child not in left:  # ever more of it changes, so that it ends as an even draw
            rate = min(1.0, rate * 1.1)
            child = mutated(child, rate)
        return child

    return run(space, measure, trials, enough, progress, choose)
