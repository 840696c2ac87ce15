"""Learned rounding: where it starts, where it ends, what it wins over the nearest points, and what its options do."""

import functools

import pytest
import torch

from edge_mpq import graph as ir
from edge_mpq import quantizing, simulation
from edge_mpq.calibration import ranges_of
from edge_mpq.errors import UsageError
from edge_mpq.layers import layers_of
from edge_mpq.placement import every_tensor
from edge_mpq.progress import silent
from edge_mpq.quantizers.affine import quantizer, weight_range
from edge_mpq.reconstruction import AXES, Options, units
from edge_mpq.reconstruction.learning import Learner
from edge_mpq.reconstruction.soft import SoftWeight
from edge_mpq.records import formats
from edge_mpq.records import plan as plans
from edge_mpq.records import target as targets
from edge_mpq.records.plan import Choice
from edge_mpq.rounding import learned
from tests import toys, trained_toys
from tests.export import exported

QUICK = Options(iterations=60)
BOARD = targets.get("simulation")


# One weight.


def soft(variable: str, bits: str = "int4", shape=(6, 3, 3, 3)) -> tuple[torch.Tensor, SoftWeight]:
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    grid = quantizer(formats.get(bits), *weight_range(weight, 0), True, 0)
    return weight, SoftWeight(weight, grid, variable)


@pytest.mark.parametrize("variable", ["sigmoid", "softplus"])
def test_it_starts_at_the_float_weight(variable):
    weight, start = soft(variable)
    assert torch.allclose(start(), weight, atol=1e-6)
    assert start.indecision(2.0) > 0.3


def test_straight_through_starts_at_the_nearest_points():
    weight, start = soft("ste")
    assert torch.equal(start().detach(), start.rounded()[0]) and not torch.allclose(start(), weight, atol=1e-2)
    assert torch.allclose(start.rounded()[0], start.grid(weight), atol=1e-6)


@pytest.mark.parametrize("variable", AXES["variable"])
def test_a_weight_reaches_its_own_two_points_and_no_others(variable):
    weight, moved = soft(variable)
    for value in (-50.0, 50.0):
        moved.place.data.fill_(value)
        given, grid = moved.rounded()
        steps = (given / grid.scale.view(-1, 1, 1, 1)).round()
        assert torch.equal(moved.fraction.round(), torch.full_like(weight, float(value > 0)))
        assert ((given - weight).abs() <= grid.scale.view(-1, 1, 1, 1) * (1 + 1e-5)).all()
        assert steps.min() >= grid.lowest and steps.max() <= grid.highest


# One unit.


def learner(options: Options, form: str = "int4", read: str = "fp32") -> Learner:
    """The residual block ``one``, ``two`` of the trained toy before it learns; all else is float."""
    graph = trained_toys.trained()
    plan = plans.uniform(layers_of(graph), BOARD, "fp32", "fp32")
    plan = plan._replace(choices={**plan.choices, **dict.fromkeys(("one.0", "two.0"), Choice(form, read))})
    quantized = simulation.simulate(graph, plan, BOARD, ranges())
    cut = units.blocks(quantized, ["one.0", "two.0"])
    pictures = list(trained_toys.labelled(64, seed=4000)[0].split(16))
    return next(learned.learners(quantized, graph, cut, pictures, options))


@functools.cache
def ranges():
    return ranges_of(trained_toys.trained(), every_tensor(trained_toys.trained()), toys.batches())


def test_a_unit_starts_without_error_and_ends_decided_and_near_its_weights():
    one = learner(Options(iterations=300))
    before = {name: toys.weight(one.quantized, name) for name in one.weights}
    nearest = one.error({})
    assert one.error(one.changed()) < 1e-8 * nearest
    one.learn()
    after = one.error({})
    assert after < 0.7 * nearest and after == pytest.approx(one.error(one.changed(rounded=True)), rel=1e-4)
    for name, value in one.weights.items():
        h = value.fraction.detach()
        assert ((h < 1e-3) | (h > 1 - 1e-3)).float().mean() > 0.999
        step = value.grid.scale.view(-1, *[1] * (h.dim() - 1))
        moved = toys.weight(one.quantized, name) - before[name]
        assert (moved.abs() < step * (1 + 1e-4)).all() and (moved.abs() > 0.5 * step).any()


def test_without_the_pull_weights_stay_between_their_points(monkeypatch):
    monkeypatch.setattr("edge_mpq.reconstruction.learning.PULL", 0.0)
    one = learner(QUICK)
    one.learn()
    h = torch.cat([value.fraction.detach().flatten() for value in one.weights.values()])
    assert ((h > 1e-3) & (h < 1 - 1e-3)).float().mean() > 0.3


@pytest.mark.parametrize(
    "axis", [{axis: name} for axis in AXES if axis not in ("dof", "unit") for name in AXES[axis]], ids=str
)
def test_every_value_of_every_axis_is_no_worse_than_nearest(axis):
    one = learner(QUICK._replace(**axis), "int3", "int8")
    nearest = one.error({})
    one.learn()
    assert one.error({}) <= nearest
    if axis.get("variable") != "ste" and axis.get("optimizer") != "sgd":
        assert one.error({}) < nearest
    assert all(parameter.grad is None for parameter in one.quantized.parameters())


def test_steps_and_biases_move_only_where_they_may():
    plain, free = learner(QUICK), learner(QUICK._replace(dof=("rounding", "scale", "bias")))
    scale = toys.weight_grid(plain.quantized, "two.0").scale.clone()
    bias = ir.attribute(plain.quantized, "two.0.bias").detach().clone()
    for one in (plain, free):
        one.learn()
    assert torch.equal(toys.weight_grid(plain.quantized, "two.0").scale, scale)
    assert torch.equal(ir.attribute(plain.quantized, "two.0.bias"), bias)
    moved = toys.weight_grid(free.quantized, "two.0")
    assert not torch.equal(moved.scale, scale)
    assert not torch.equal(ir.attribute(free.quantized, "two.0.bias"), bias)
    codes = toys.weight(free.quantized, "two.0") / moved.scale.view(-1, 1, 1, 1)
    assert (codes - codes.round()).abs().max() < 1e-4


# A whole model.


def top1(quantized: torch.fx.GraphModule) -> float:
    inputs, labels = trained_toys.labelled(1024, seed=9999)
    with torch.no_grad():
        return (quantized(inputs).argmax(1) == labels).float().mean().item()


@functools.cache
def quantized(rule: str, seed: int = 4000) -> torch.fx.GraphModule:
    """The trained toy with weights of three bits, inputs in float: four would cost it nothing."""
    graph = trained_toys.unbalanced()
    plan = plans.uniform(layers_of(graph), BOARD, "int3", "fp32")
    pictures = [trained_toys.labelled(32, seed=seed + index)[0] for index in range(4)]
    method = learned.Rule(Options(iterations=150)) if rule == "learned" else rule
    return quantizing.quantize(graph, plan, pictures, rounding=method)[0]


def output_error(model: torch.fx.GraphModule, seed: int) -> float:
    x = trained_toys.labelled(256, seed)[0]
    with torch.no_grad():
        return (model(x) - trained_toys.unbalanced()(x)).square().mean().item()


@pytest.mark.parametrize("seed", [4000, 9999], ids=["calibration", "held-out"])
def test_it_answers_nearer_to_float_than_nearest(seed):
    assert output_error(quantized("learned"), seed) < 0.75 * output_error(quantized("nearest"), seed)


def test_more_answers_are_right_than_of_nearest():
    assert top1(quantized("learned")) > top1(quantized("nearest")) + 0.02


def test_other_calibration_pictures_change_little():
    spread = abs(top1(quantized("learned")) - top1(quantized("learned", 4500)))
    assert spread < 0.03 and spread < 0.5 * (top1(trained_toys.unbalanced()) - top1(quantized("nearest")))


def test_the_onnx_carries_the_integers_that_were_learned():
    pytest.importorskip("onnx")
    plan = toys.planned("residual", "cpu-x86-vnni", "int4")
    model, onnx_model = exported.deployed("residual", plan, rounding=learned.Rule(QUICK))
    held = exported.constants(onnx_model)
    nearest = quantizing.quantize(toys.graph("residual"), plan, toys.batches(), rounding="nearest")[0]
    differ = False
    for layer in ("stem.0", "down.0"):
        grid, weight = toys.weight_grid(model, layer), toys.weight(model, layer)
        codes = weight / grid.scale.view(-1, 1, 1, 1)
        assert (codes - codes.round()).abs().max() < 1e-4
        stored = [value for value in held.values() if value.shape == codes.shape and value.dtype == "int8"]
        assert any((value == codes.round().numpy()).all() for value in stored)
        plain = grid.integers(toys.weight(nearest, layer))
        differ |= not any((value == plain.numpy()).all() for value in stored)
    assert differ


def test_options_that_there_are_not_are_named_together():
    with pytest.raises(UsageError) as caught:
        wrong = Options(unit="channel", loss="hinge", dof=("scale",), drop=2.0, iterations=0)
        learned.Rule(wrong).apply(toys.simulated("residual", toys.planned("residual", "simulation")), None, [], silent)
    for part in ("unit 'channel'", "loss 'hinge'", "dof leaves out rounding", "drop 2.0", "0 iterations"):
        assert part in str(caught.value)
