"""The wildfire recipe trains what it planned: closer to the float model than the plan alone, never without labels."""

import pytest

from edge_mpq import recipes
from edge_mpq.errors import PlanError
from edge_mpq.recipes import wildfire
from tests.laws.test_recipes import held_out, outcome, task


def test_training_on_the_grids_brings_the_answers_closer() -> None:
    found, before = (held_out().of(outcome(name).quantized) for name in ("wildfire", "default"))
    assert found.kl < 0.95 * before.kl and found.right > before.right - 0.02


def test_it_starts_where_quantization_after_training_ends() -> None:
    unmoved = held_out().of(wildfire.run(task(), epochs=1, learning_rate=1e-9).quantized)
    assert unmoved.kl == pytest.approx(held_out().of(outcome("default").quantized).kl, rel=0.02)


def test_the_plan_is_that_of_quantization_after_training() -> None:
    assert outcome("wildfire").plan.choices == outcome("default").plan.choices


def test_without_labelled_pictures_it_does_not_serve() -> None:
    with pytest.raises(PlanError, match="no labelled picture"):
        recipes.get("wildfire").run(task()._replace(training=None))


def test_a_drop_that_training_loses_is_refused() -> None:
    with pytest.raises(PlanError, match="does not stay within a drop of 20.00% on held-out data"):
        wildfire.run(task()._replace(budget="drop<=20%"), epochs=1, learning_rate=10.0)
