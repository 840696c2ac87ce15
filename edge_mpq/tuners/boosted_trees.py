"""Gradient-boosted trees learn what configurations are worth, and say which to measure next.

Lee, Yu, Kwon, Kim, Quantune: Post-Training Quantization of Convolutional Neural Networks using
Extreme Gradient Boosting for Fast Deployment, Future Generation Computer Systems 132, 2022,
arXiv 2202.05048.  ``FIRST`` configurations are drawn evenly; then each trial is the one that XGBoost,
fitted to all trials so far, ranks first, or with probability ``EXPLORE`` any.  A reconstruction: of the
paper the abstract could be read, of its tuner nothing.

Earlier tunings of other models are rows too, each model a group: the trees learn which of two
configurations of one model is better, so that levels of accuracy need no common scale.  With such
rows the trees are asked from the first trial on.
"""

import random
from collections.abc import Sequence

import numpy as np

from edge_mpq.progress import Progress, silent
from edge_mpq.records.tuning import Configuration, Space, Trial, Tuning
from edge_mpq.tuners import Measure
from edge_mpq.tuners.base import run

FIRST = 5
EXPLORE = 0.1
ROUNDS = 60
OPTIONS = {
    "objective": "rank:pairwise",
    "learning_rate": 0.1,
    "max_depth": 6,
    "reg_alpha": 0.01,
    "subsample": 0.79,
    "colsample_bytree": 0.9,
    "nthread": 1,
}


def search(
    space: Space,
    measure: Measure,
    trials: int,
    seed: int = 0,
    known: Sequence[Tuning] = (),
    enough: float = float("inf"),
    progress: Progress = silent,
) -> Tuning:
    """The configurations that the trees rank first; see the family's contract."""
    draw = random.Random(seed)
    features = sorted(space.features)

    def choose(made: Sequence[Trial], left: Sequence[Configuration]) -> Configuration:
        exploring = draw.random() < EXPLORE
        if exploring or (len(made) < FIRST and not known):
            return draw.choice(left)
        scores = predicted(space, features, [*known, Tuning(space, tuple(made))], left, seed)
        best = np.flatnonzero(scores == scores.max())  # leaves are shared, so that the best are often several
        return left[draw.choice(best.tolist())]

    return run(space, measure, trials, enough, progress, choose)


def predicted(
    space: Space, features: Sequence[str], tunings: Sequence[Tuning], asked: Sequence[Configuration], seed: int
) -> np.ndarray:
    """How trees that learned from ``tunings``, a group each, rank configurations of ``space``: [N], more is better."""
    import xgboost  # reading it takes half a second

    rows = [
        encoded(tuning.space, space, features, trial.configuration) for tuning in tunings for trial in tuning.trials
    ]
    learned = xgboost.DMatrix(
        np.array(rows),
        [trial.score for tuning in tunings for trial in tuning.trials],
        qid=[group for group, tuning in enumerate(tunings) for _ in tuning.trials],
    )
    trees = xgboost.train({**OPTIONS, "seed": seed}, learned, ROUNDS)
    return trees.predict(xgboost.DMatrix(np.array([encoded(space, space, features, one) for one in asked])))


def encoded(own: Space, space: Space, features: Sequence[str], configuration: Configuration) -> list[float]:
    """One bit for each value of each axis of ``space``, then the model's ``features``; own: the configuration's space.

    A value that ``space`` does not have sets no bit of its axis.
    """
    chosen = dict(zip(own.axes, configuration, strict=True))
    bits = [float(chosen.get(axis) == value) for axis, values in space.axes.items() for value in values]
    return bits + [own.features.get(name, float("nan")) for name in features]
