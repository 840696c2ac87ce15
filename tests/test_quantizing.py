"""From the plan to the quantized model: plans that do not fit are refused, answers stay close, runs repeat."""

import pytest
import torch

from edge_mpq import quantizing, rounding
from edge_mpq.errors import CalibrationError, PlanError, UsageError
from edge_mpq.layers import layers_of
from edge_mpq.records.plan import PrecisionPlan
from tests import toys


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
