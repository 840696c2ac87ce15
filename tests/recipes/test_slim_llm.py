"""SliM-LLM on a language model: a plan within two bits, which says what became of them, and what is stored."""

import functools

import pytest

from edge_mpq import simulation
from edge_mpq.cost import size
from edge_mpq.evaluator import Evaluator
from edge_mpq.layers import layers_of
from edge_mpq.progress import silent
from edge_mpq.recipes import Outcome, Task, default, slim_llm, slim_llm_plus
from edge_mpq.records import plan as plans
from edge_mpq.records import target as targets
from edge_mpq.rounding import learned_clipping
from edge_mpq.rounding.slim import Options
from tests import trained_language

pytestmark = pytest.mark.slow  # a model is trained


def task(target: str = "cpu-x86-vnni", form: str = "w2b32", budget: str = "size<=2bits") -> Task:
    calibration = trained_language.calibration(2)
    return Task(
        graph=trained_language.graph(),
        example=calibration[0],
        calibration=calibration,
        validation=trained_language.batches("validation", 2),
        training=None,
        target=targets.get(target),
        budget=budget,
        formats=[form],
    )


@functools.cache
def outcome(name: str) -> Outcome:
    unguarded = Options(clips=False, guarded=False)
    runs = {
        "default": lambda: default.run(task()),
        "slim": lambda: slim_llm.run(task()),
        "unguarded": lambda: slim_llm.run(task(), options=unguarded),
        "plus": lambda: slim_llm_plus.run(task(), rule=learned_clipping.Rule(epochs=4)),
    }
    return runs[name]()


@pytest.mark.parametrize("name", ["slim", "unguarded", "plus"])
def test_the_plan_keeps_two_bits_and_says_where_they_went(name):
    found = outcome(name)
    layers = layers_of(found.graph)
    found.plan.check(layers, task().target)
    assert plans.weight_bits(found.plan, layers) == 2 == found.plan.predicted["weight_bits"]
    columns = {layer.name: simulation.weight_quantizer(found.quantized, layer.name).columns() for layer in layers}
    assert all(size.nominal_bits(counts) == 2 for counts in columns.values())
    for layer, counts in columns.items():
        why = found.plan.choices[layer].why
        assert ("inputs by bits" in why) == (len(counts) > 1)
        assert all(f"{count} at {bits}" in why for bits, count in counts.items() if len(counts) > 1)
    stored = sum(layer.weights * size.container_bits(columns[layer.name]) for layer in layers) / 8 / 2**20
    assert found.plan.predicted["container_mib"] == pytest.approx(stored)
    assert stored >= found.plan.predicted["size_mib"]


def test_bits_that_differ_are_stored_in_more_than_they_count():
    predicted = outcome("unguarded").plan.predicted
    assert predicted["container_mib"] > predicted["size_mib"]


def test_on_its_calibration_it_is_at_least_as_near_to_float_as_the_default():
    judge = Evaluator(task().graph, task().target, outcome("slim").ranges, task().calibration)
    assert judge.of(outcome("slim").quantized).kl <= 1.02 * judge.of(outcome("default").quantized).kl


def test_a_board_of_tensorrt_gets_no_unlike_bits():
    found = slim_llm.run(task("jetson-orin-nx", "w4b64", "size<=32bits"), silent)
    grids = [simulation.weight_quantizer(found.quantized, name) for name in found.plan.choices]
    assert all(set(grid.columns()) == {4} for grid in grids if grid is not None)
