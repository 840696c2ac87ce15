"""From the plan to the quantized model: plans that do not fit are refused, answers stay close, runs repeat."""

import pytest
import torch

from edge_mpq import quantizing, rounding
from edge_mpq.calibration import bits_of, fitted, ranges_of
from edge_mpq.errors import CalibrationError, PlanError, UsageError
from edge_mpq.layers import layers_of
from edge_mpq.placement import every_tensor
from edge_mpq.records import target as targets
from edge_mpq.records.plan import PrecisionPlan
from tests import toys

WATCHED = every_tensor(toys.graph("residual"))


def quarter() -> PrecisionPlan:
    """A plan for a toy at 4 and 8 bits."""
    return toys.planned("residual", "cpu-x86-vnni", "int8", "int8", down__0=("int4", "int8"), last__0=("int4", "int8"))


def test_a_plan_for_another_model_is_refused():
    plan = quarter()
    for kind in ("unet", "transformer"):
        with pytest.raises(PlanError, match="is not in the model.*plan again for this model"):
            quantizing.quantize(toys.graph(kind), plan, toys.batches())
    with pytest.raises(PlanError, match="layer shapes differ"):
        quantizing.quantize(toys.graph("residual"), plan._replace(model="0" * 16), toys.batches())
    with pytest.raises(PlanError, match="jetson-nano runs fp32, fp16"):
        quantizing.quantize(toys.graph("residual"), plan._replace(target="jetson-nano"), toys.batches())


def test_quantizing_needs_pictures_and_known_methods():
    plan = quarter()
    with pytest.raises(CalibrationError, match="no calibration picture"):
        quantizing.quantize(toys.graph("residual"), plan, [])
    with pytest.raises(UsageError, match="choose one of .*feedback"):
        quantizing.quantize(toys.graph("residual"), plan, toys.batches(), rounding="guess")
    with pytest.raises(UsageError, match="choose one of .*minmax"):
        quantizing.quantize(toys.graph("residual"), plan, toys.batches(), observer="guess")


@pytest.mark.parametrize("rule", rounding.names())
@torch.no_grad()
def test_a_quantized_model_answers_nearly_as_the_float_one_and_the_same_every_time(rule):
    plan, x = quarter(), toys.pictures(64, seed=5)
    quantized, table = quantizing.quantize(toys.model("residual"), plan, toys.batches(), rounding=rule)
    answers = quantizing.answers(quantized, x.split(20))
    reference = toys.model("residual")(x)
    assert (answers - reference).square().mean() < 0.05 * reference.var()
    again, same = quantizing.quantize(toys.graph("residual"), plan, toys.batches(), rounding=rule, ranges=table)
    assert same is table and torch.equal(quantizing.answers(again, x.split(20)), answers)
    assert [layer.name for layer in layers_of(quantized)] == list(plan.choices)


def test_activations_of_few_bits_have_the_ranges_that_err_least_at_theirs():
    board, usual = targets.get("simulation"), ranges_of(toys.graph("residual"), WATCHED, toys.batches(), "mse")
    plan = toys.planned("residual", board.name, "int4", "int4", head=("int8", "int8"), last__0=("fp8", "fp8"))
    _, table = quantizing.quantize(toys.graph("residual"), plan, toys.batches())
    assert fitted(usual, toys.graph("residual"), plan, board, toys.batches()) == table
    bits = bits_of(toys.graph("residual"), plan, board.scheme)
    assert set(bits.values()) == {4, 8} and table.tensors.keys() == usual.tensors.keys()
    moved = [name for name, ends in table.tensors.items() if ends != usual.tensors[name]]
    assert moved and all(bits[name] == 4 for name in moved)


def test_where_all_have_eight_bits_nothing_is_measured_again():
    usual, board = toys.ranges("residual"), targets.get("cpu-x86-vnni")
    assert fitted(usual, toys.graph("residual"), quarter(), board, []) is usual
