"""Batch normalization in quantization-aware training: by the batch at first, and in the end as it is deployed."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from edge_mpq.training import batchnorm, qat
from tests import toys
from tests.training.aware import INT8, UINT8, labelled, trainee, walk


@pytest.mark.parametrize("kind", toys.KINDS)
@pytest.mark.parametrize(("rule", "warm_up"), [("lsq", 2), ("moving", 0)])
def test_frozen_it_computes_the_folded_model_that_is_deployed_bit_for_bit(kind, rule, warm_up):
    learner, x = trainee(kind, toys.planned(kind, INT8), rule, warm_up), toys.pictures(6, seed=3)
    walk(learner, kind)
    learner.freeze()
    walk(learner, kind)
    deployed = qat.finish(learner)
    with torch.no_grad():
        learner.warm_up = 0
        assert torch.equal(learner(x), deployed(x))
        assert torch.equal(learner.eval()(x), deployed(x))
        assert not torch.equal(deployed(x), toys.simulated(kind, toys.planned(kind, INT8))(x))


@torch.no_grad()
@pytest.mark.parametrize("kind", ["residual", "unet"])
def test_a_float_layer_s_normalization_trains_by_the_batch_and_a_rounded_one_s_too_until_it_is_frozen(kind):
    for width in ("fp32", "int8"):
        learner = trainee(kind, toys.planned(kind, INT8, width, "fp32")).train()
        module = copy.deepcopy(toys.model(kind)).train()
        inputs = labelled(kind)(0)[0][0]
        answers, expected = learner(inputs), module(inputs)
        error = (answers - expected).square().mean() / expected.var()
        assert error == 0 if width == "fp32" else 0 < error < 0.02
        ours = {name: value for name, value in learner.graph.named_buffers() if "running" in name}
        theirs = {name: value for name, value in module.named_buffers() if "running" in name}
        assert all(torch.allclose(ours[name], theirs[name], atol=0.02, rtol=0.02) for name in theirs)
        learner.freeze()
        before = {name: value.clone() for name, value in ours.items()}
        learner(inputs)
        moved = [name for name, value in ours.items() if not torch.equal(value, before[name])]
        assert bool(moved) == (width == "fp32")


@torch.no_grad()
def test_what_is_rounded_while_training_is_the_folded_weight():
    learner = trainee("residual", toys.planned("residual", INT8, "int8", "int8")).train()
    layer = next(module for module in learner.graph.modules() if isinstance(module, batchnorm.NormalizedLayer))
    grid: Any = learner.weight_grids["stem.0"]
    assert layer.grid is grid
    model: Any = toys.model("residual")
    convolution, norm = model.stem[0], model.stem[1]
    factor = norm.weight / (norm.running_var + norm.eps).sqrt()
    x = toys.pictures(4)
    rounded = nn.functional.conv2d(x, grid(convolution.weight * factor.view(-1, 1, 1, 1)), padding=1)
    expected = nn.functional.batch_norm(rounded / factor.view(-1, 1, 1), None, None, norm.weight, norm.bias, True)
    parts = [value.clone() for value in (norm.weight, norm.bias, norm.running_mean, norm.running_var)]
    assert torch.allclose(layer(x, convolution.weight, None, *parts), expected, atol=1e-4)


def test_beside_a_muted_channel_everything_trains_and_stays_finite():
    model = copy.deepcopy(toys.model("residual"))
    with torch.no_grad():
        norm: Any = model.get_submodule("one.1")
        norm.weight[2], norm.bias[2] = 0, 0.5
    plan, example = toys.planned("residual", UINT8, "int4"), toys.pictures(1)
    learner = qat.prepare(model, example, plan, toys.ranges("residual"))
    walk(learner, "residual")
    assert all(torch.isfinite(parameter).all() for parameter in learner.parameters())
    assert torch.isfinite(qat.finish(learner.eval())(toys.pictures(2))).all()
