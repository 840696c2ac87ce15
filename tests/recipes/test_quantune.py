"""What is peculiar to Quantune: a tuning helps the next, a drop holds on other data, integers are what is tuned."""

import functools

import pytest

from edge_mpq import calibration
from edge_mpq.drop import share_right
from edge_mpq.errors import PlanError
from edge_mpq.recipes import Outcome, Task, quantune
from edge_mpq.records import target as targets
from edge_mpq.records.tuning import Tuning
from tests import toys, trained_toys


def task(budget: str = "size<=5bits", target: str = "cpu-x86-vnni", **others) -> Task:
    return Task(
        graph=trained_toys.unbalanced(),
        example=toys.pictures(1),
        calibration=[trained_toys.labelled(32, seed=4000 + index)[0] for index in range(2)],
        validation=[trained_toys.labelled(64, seed=7000 + index) for index in range(4)],
        training=None,
        target=targets.get(target),
        budget=budget,
        **{"formats": ["fp32", "w8a8", "w4a8"], **others},
    )


@functools.cache
def tuned() -> tuple[Outcome, Tuning]:
    return quantune.tuned(task(), trials=8)


def test_the_winner_is_of_the_best_that_were_measured_and_every_trial_counts():
    outcome, tuning = tuned()
    assert len(tuning.trials) == 8 and outcome.evaluations == 8 + quantune.CONFIRMED
    assert outcome.deployable and outcome.note == ""


def test_a_known_tuning_is_where_the_next_one_starts():
    _, first = quantune.tuned(task(), trials=1, known=[tuned()[1]])
    scores = sorted(trial.score for trial in tuned()[1].trials)
    assert first.trials[0].score > scores[len(scores) // 2]


def test_a_drop_is_kept_where_the_search_did_not_look():
    given = task("drop<=4%")
    outcome, tuning = quantune.tuned(given, trials=6)
    held_out = given.validation[1::2]
    assert share_right(outcome.quantized, held_out) >= share_right(given.graph, held_out) - 0.04
    assert {choice.weight for choice in outcome.plan.choices.values()} <= {"int8", "fp32"}
    floats = [name for name, choice in outcome.plan.choices.items() if choice.weight == "fp32"]
    assert len(floats) <= quantune.SHARE_OF_LAYERS * len(outcome.plan.choices)


def test_a_drop_that_none_keeps_is_refused():
    with pytest.raises(PlanError, match="none of 3 configurations stays within a drop of 0.10%"):
        quantune.tuned(task("drop<=0.1%", formats=["w3a8"], target="simulation"), trials=3)


@pytest.mark.parametrize(("budget", "batches"), [("size<=5bits", 0), ("drop<=50%", 1), ("drop<=50%", 0)])
def test_validation_data_that_tell_nothing_are_refused(budget, batches):
    given = task(budget)
    with pytest.raises(PlanError, match=f"{batches} validation batches .*give more, in at least two batches"):
        quantune.tuned(given._replace(validation=given.validation[:batches]), trials=1)


def plans(budget: str, **others):
    given = task(budget, **others)
    return quantune.plans_of(given.graph, given.target, given.budget, given.formats, given.calibration)


def test_mixed_needs_room_in_the_budget():
    assert set(plans("size<=5bits")) == {"off", "on"}
    assert set(plans("size<=4bits")) == {"off"}  # four bits a weight are four bits for all


def test_without_mixed_all_layers_take_the_widest_integers_within_the_budget():
    for budget, weight in (("size<=9bits", "int8"), ("size<=7.9bits", "int4"), ("drop<=1%", "int8")):
        assert {choice[:2] for choice in plans(budget)["off"].choices.values()} == {(weight, "int8")}
    with pytest.raises(PlanError, match="no integers of cpu-x86-vnni meet size<=3bits"):
        plans("size<=3bits")


def test_a_target_without_integers_is_refused():
    with pytest.raises(PlanError, match="no integers of jetson-nano"):
        plans("size<=0.5x", target="jetson-nano", formats=None)


def test_calibration_is_shared_by_configurations(monkeypatch):
    calls = []
    real = calibration.ranges_of

    def counted(*given):
        calls.append(given[3:5])
        return real(*given)

    monkeypatch.setattr("edge_mpq.configurations.ranges_of", counted)
    _, tuning = quantune.tuned(task(), trials=6)
    made = {(c[0], c[2], c[1] in ("asymmetric", "symmetric_uint8")) for c, _ in tuning.trials}
    assert len(calls) == len(made) < 6
