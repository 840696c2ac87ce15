"""Laws that every tuner keeps, present and future."""

import math
import random

import pytest

from edge_mpq import tuners
from edge_mpq.errors import UsageError
from edge_mpq.records.tuning import Configuration, Space, Trial, Tuning

every_tuner = pytest.mark.parametrize("name", tuners.names())
SPACE = Space({"letter": ("a", "b", "c"), "digit": ("1", "2", "3", "4"), "sign": ("+", "-")}, {"size": 1.0})


class Table:
    """A score for every configuration, and how often each was asked for."""

    def __init__(self, seed: int = 0) -> None:
        draw = random.Random(seed)
        self.scores = {configuration: draw.random() for configuration in SPACE.configurations()}
        self.asked: list[Configuration] = []

    def __call__(self, configuration: Configuration) -> float:
        self.asked.append(configuration)
        return self.scores[configuration]


def other(seed: int) -> Tuning:
    """A tuning of another model, whose axes were not quite the same."""
    draw = random.Random(seed)
    space = Space({"letter": ("a", "z"), "sign": ("-", "+"), "more": ("x", "y")}, {"size": 9.0, "age": 3.0})
    return Tuning(space, tuple(Trial(configuration, draw.random()) for configuration in space.configurations()))


def test_the_door_lists_the_tuners():
    assert {"boosted_trees", "genetic", "grid", "random_search"} <= set(tuners.names())
    with pytest.raises(UsageError, match="choose one of .*genetic"):
        tuners.get("oracle")


@every_tuner
@pytest.mark.parametrize("known", [(), (other(1), other(2))], ids=["cold", "known"])
def test_no_configuration_is_measured_twice_and_the_log_says_what_was(name, known):
    for trials, seed in ((1, 0), (9, 1), (24, 2), (1000, 3)):
        table = Table(seed)
        tuning = tuners.get(name).search(SPACE, table, trials, seed, known)
        assert table.asked == [trial.configuration for trial in tuning.trials]
        assert len(set(table.asked)) == len(table.asked) == min(trials, 24)
        assert all(table.scores[trial.configuration] == trial.score for trial in tuning.trials)
        assert tuning.space == SPACE


@every_tuner
def test_the_best_so_far_never_falls_and_a_whole_search_ends_at_the_best(name):
    table = Table()
    tuning = tuners.get(name).search(SPACE, table, 24)
    curve = tuning.best_so_far()
    assert curve == sorted(curve) and curve[-1] == tuning.best.score == max(table.scores.values())


@every_tuner
def test_the_same_seed_has_the_same_trials_and_a_shorter_search_begins_a_longer_one(name):
    tuner = tuners.get(name)
    once, again = (tuner.search(SPACE, Table(), 14, 5, [other(1)]) for _ in range(2))
    assert once == again
    assert tuner.search(SPACE, Table(), 8, 5, [other(1)]).trials == once.trials[:8]


@every_tuner
def test_what_is_enough_ends_the_search(name):
    enough = sorted(Table().scores.values())[-5]
    scores = [trial.score for trial in tuners.get(name).search(SPACE, Table(), 24, enough=enough).trials]
    assert scores[-1] >= enough and all(score < enough for score in scores[:-1])


@every_tuner
@pytest.mark.parametrize(
    "space, trials, score, said",
    [
        (Space({}), 3, 0.0, "no configuration"),
        (Space({"letter": ("a",), "digit": ()}), 3, 0.0, "no configuration"),
        (SPACE, 0, 0.0, "0 trials"),
        (SPACE, 3, math.nan, "is nan"),
    ],
)
def test_nonsense_is_refused(name, space, trials, score, said):
    with pytest.raises(UsageError, match=said):
        tuners.get(name).search(space, lambda configuration: score, trials)
