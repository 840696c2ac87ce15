"""What is peculiar to FLIQS: it trains, so it needs labels; what it finds beats one format trained alike."""

import functools
from pathlib import Path

import pytest

from edge_mpq import budget as budgets
from edge_mpq import menu as menus
from edge_mpq import simulation
from edge_mpq.errors import PlanError
from edge_mpq.layers import layers_of
from edge_mpq.planning import cost_tables
from edge_mpq.recipes import Outcome, fliqs
from edge_mpq.records import target as targets
from edge_mpq.training import loop, widths
from export import onnx_from_torch
from export.bundle_from_torch import Quantized, opset_of, quantized_onnx
from tests import trained_toys
from tests.export import exported
from tests.laws.test_recipes import epochs, held_out, outcome, task

SHARES = (1.0, 0.75, 0.5)


def test_without_labels_and_for_a_budget_of_accuracy_it_says_what_is_wanting():
    with pytest.raises(PlanError, match="no labelled batches; give training data"):
        fliqs.run(task()._replace(training=None))
    with pytest.raises(PlanError, match="speaks of accuracy; give fliqs a size"):
        fliqs.run(task()._replace(budget="drop<=1%"))


def test_searched_formats_beat_the_narrow_one_trained_alike_and_training_alone_does_not_do_it():
    narrow = fliqs.run(task()._replace(formats=["w4a8"]))
    trained, searched, naive = (held_out().of(one.quantized) for one in (narrow, outcome("fliqs"), outcome("uniform")))
    assert searched.right > trained.right + 0.05 and searched.loss < trained.loss
    assert trained.right < naive.right + 0.1


def test_short_epochs_are_repeated_until_the_policy_has_had_its_steps(monkeypatch):
    drawn = []

    def counted(epoch: int) -> list:
        drawn.append(epoch)
        return [(inputs[:2], labels[:2]) for inputs, labels in epochs(0)]

    asked = task()._replace(training=counted, calibration=task().calibration[:1], formats=["w4a8"])
    fliqs.run(asked, epochs=1)
    assert max(drawn) == 0 and loop.steps_of(counted) == 4
    monkeypatch.setattr(fliqs, "STEPS", 40)
    fliqs.run(asked)
    assert max(drawn) + 1 == 10 > fliqs.EPOCHS


@pytest.mark.parametrize("names", [["fp8", "fp4"], ["fp8_e5m2", "fp6_e3m2", "fp5_e2m2", "fp4"]], ids=" ".join)
def test_floats_are_searched_in_weights_and_activations_at_once_by_their_bit_operations(names):
    asked = task()._replace(target=targets.get("simulation"), budget="bitops<=0.0244x", formats=names)
    found = fliqs.run(asked, epochs=2)
    layers = layers_of(found.graph)
    tables = cost_tables(layers, menus.menu_of(layers, asked.target, names), asked.target)
    (limit,) = budgets.limits(budgets.parse(asked.budget), layers, tables)
    choices = {name: choice[:2] for name, choice in found.plan.choices.items()}
    assert limit.holds(choices) and found.plan.predicted["gbops"] == pytest.approx(limit.cost(choices))
    assert all(weight == activation and weight in names for weight, activation in choices.values())
    assert len(set(choices.values())) > 1 and (found.plan.allocator, found.plan.budget) == ("fliqs", asked.budget)
    assert all("probability" in choice.why for choice in found.plan.choices.values())


@functools.cache
def joint() -> Outcome:
    """Three bits a weight of a menu that has no less than four: channels must go."""
    return fliqs.run(task()._replace(budget="size<=3bits"), epochs=10, widths=SHARES)


def test_fewer_channels_meet_a_budget_that_formats_alone_cannot_and_training_is_what_they_live_on():
    with pytest.raises(PlanError, match="size<=3bits .*cannot be met"):
        fliqs.run(task()._replace(budget="size<=3bits"))
    found, whole = joint(), layers_of(task().graph)
    layers = layers_of(found.graph)
    found.plan.check(layers, task().target)
    most = 3 * sum(layer.weights for layer in whole) / (8 * 2**20)
    assert found.plan.predicted["size_mib"] <= most < sum(layer.weights for layer in whole) * 4 / (8 * 2**20)
    assert all("% of its channels" in choice.why for choice in found.plan.choices.values())
    # The same channels and formats of the model as it was given.
    told, outputs = widths.widths_of(task().graph), {layer.name: layer.weight_shape[0] for layer in layers}
    before = {layer.name: layer.weight_shape[0] for layer in whole}
    kept = told.kept([outputs[group.layers[0]] / before[group.layers[0]] for group in told.groups])
    cut = widths.narrowed(task().graph, told.channels, kept)
    assert layers_of(cut) == layers
    untrained = simulation.simulate(cut, found.plan, task().target, found.ranges)
    trained, control = (held_out().of(one) for one in (found.quantized, untrained))
    assert trained.right > control.right + 0.1 and trained.loss < control.loss


def test_what_comes_out_is_a_model_like_any_other_to_export_and_engine(tmp_path: Path):
    found, board = joint(), task().target
    written = onnx_from_torch.onnx_from_graph(found.graph, opset_of(board))
    model = quantized_onnx(written, found.graph, Quantized(found.plan, found.quantized), board)
    shapes = {name: value.shape for name, value in exported.constants(written).items()}
    assert all(shapes[f"{layer.name}.weight"] == layer.weight_shape for layer in layers_of(found.graph))
    x = trained_toys.labelled(400, seed=900)[0]
    exported.agree(found.quantized, exported.engine(model, tmp_path, found.plan).infer(x.numpy())[0], x)


def test_widths_are_searched_within_a_size_or_bit_operations_alone():
    with pytest.raises(PlanError, match="speaks of latency, which no width foretells; give a size or bitops"):
        fliqs.run(task()._replace(budget="latency<=0.9x"), widths=SHARES)
