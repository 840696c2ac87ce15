"""Learned steps: forward is the affine grid's bit for bit, and gradients are the paper's, worked out by hand."""

import pytest
import torch

from edge_mpq.quantizers import affine, lsq
from edge_mpq.records import formats
from tests.laws.test_quantizers import INTEGERS, drawn, every_integer


def learner(form: formats.Format, low: float, high: float, symmetric: bool = True) -> lsq.LearnedStepQuantizer:
    return lsq.quantizer(form, torch.tensor([low]), torch.tensor([high]), symmetric, None)


@every_integer
@pytest.mark.parametrize("symmetric", [True, False])
def test_forward_is_that_of_the_affine_grid_bit_for_bit(form, symmetric):
    for seed in range(5):
        values = drawn(4, 3, 8, 8, seed=seed)
        module = learner(form, -0.7 * values.abs().max().item(), 0.5 * values.max().item(), symmetric)
        module.growth.data.normal_(0, 0.3, generator=torch.Generator().manual_seed(seed))
        deployed = module.learned()
        assert torch.equal(module.scale, deployed.scale) and torch.equal(module.zero, deployed.zero)
        assert torch.equal(module(values), deployed(values))
        weight = drawn(6, 4, 3, 3, seed=seed)
        rows = lsq.quantizer(form, *affine.weight_range(weight, 0), True, 0)
        rows.growth.data.normal_(0, 0.3, generator=torch.Generator().manual_seed(seed))
        assert torch.equal(rows(weight), rows.learned()(weight))


def test_the_gradient_of_a_step_is_the_paper_s():
    module = learner(formats.get("int3"), -6.0, 6.0)  # codes -3 to 3, step 2
    values = torch.tensor([[0.6, 2.6, -1.4, 9.0, -50.0, 4.0]], requires_grad=True)
    assert module.scale.item() == 2
    (module(values) * torch.tensor([1.0, 10.0, 100.0, 1000.0, 1e4, 1e5])).sum().backward()
    # round(v / s) - v / s inside: 0 - 0.3, 1 - 1.3, -1 + 0.7, 2 - 2; the last codes 3 and -3 beyond.
    by_step = 1 * -0.3 + 10 * -0.3 + 100 * -0.3 + 1000 * 3 + 1e4 * -3 + 1e5 * 0
    factor = (6 * 3) ** -0.5  # 1 / sqrt(N Qp): six values of one picture, highest code 3
    assert module.growth.grad is not None
    assert module.growth.grad.item() == pytest.approx(by_step * factor * 2, rel=1e-5)  # d step / d growth = step
    assert values.grad is not None and values.grad.tolist() == [[1, 10, 100, 0, 0, 1e5]]


def test_the_gradient_of_an_asymmetric_step_counts_codes_from_zero():
    module = learner(formats.get("int2"), -1.0, 2.0, symmetric=False)  # codes 0 to 3, zero 1, step 1: -1 to 2
    (module(torch.tensor([[-3.0, 0.2], [7.0, 1.7]])) * torch.tensor([[1.0, 10.0], [100.0, 1000.0]])).sum().backward()
    by_step = 1 * -1 + 10 * -0.2 + 100 * 2 + 1000 * 0.3
    assert module.growth.grad is not None
    assert module.growth.grad.item() == pytest.approx(by_step * (2 * 3) ** -0.5, rel=1e-5)


def test_each_channel_learns_from_its_own_values():
    weight = torch.tensor([[0.6, 9.0], [0.3, -9.0]])
    module = lsq.quantizer(formats.get("int2"), torch.tensor([-2.0, -1.0]), torch.tensor([2.0, 1.0]), True, 0)
    module(weight).sum().backward()
    factor = (2 * 1) ** -0.5
    expected = [(-0.3 + 1) * factor * 2, (-0.3 - 1) * factor * 1]
    assert module.growth.grad is not None and module.growth.grad.tolist() == pytest.approx(expected, rel=1e-5)


def test_descending_finds_the_step_of_least_error():
    values = drawn(1, 4000)
    module = learner(formats.get("int3"), -8.0, 8.0)
    errors = {}
    optimizer = torch.optim.Adam([module.growth], lr=0.02)
    for step in range(300):
        loss = (module(values) - values).square().mean()
        errors[step] = loss.item()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    best = min((affine.quantizer(formats.get("int3"), *torch.tensor([[-r], [r]]), True, None)(values) - values)
               .square().mean().item() for r in torch.linspace(0.5, 8, 60).tolist())  # fmt: skip
    assert errors[299] < 0.2 * errors[0] and errors[299] <= 1.02 * best


def test_a_step_that_does_not_learn_has_no_gradient_but_is_there():
    module = learner(formats.get("int4"), -1.0, 1.0)
    module.learning = False
    module(drawn(2, 9)).square().sum().backward()
    assert module.growth.grad is not None and module.growth.grad.tolist() == [0]


def test_a_restart_before_the_way_back_does_not_reach_into_it():
    module, twin, values = learner(formats.get("int4"), -1.0, 1.0), learner(formats.get("int4"), -1.0, 1.0), drawn(2, 9)
    rounded = module(values)
    module.restart(torch.tensor([5.0]), torch.tensor([0]))
    rounded.square().sum().backward()
    twin(values).square().sum().backward()
    assert module.growth.grad is not None and torch.equal(module.growth.grad, twin.growth.grad)
    assert module.scale.item() == 5


@pytest.mark.parametrize("form", [formats.get("fp8"), formats.get("fp16")], ids=lambda form: form.name)
def test_floats_have_no_step(form):
    with pytest.raises(ValueError, match="no step to learn"):
        learner(form, -1.0, 1.0)


@pytest.mark.parametrize("form", INTEGERS, ids=lambda form: form.name)
def test_the_start_of_a_weight_errs_no_more_than_its_full_range(form):
    weight = drawn(8, 5, 3, 3) * torch.logspace(-2, 1, 8).view(-1, 1, 1, 1)
    weight[3] = 0  # a dead channel
    scale = lsq.weight_scale(weight, form, 0)
    zero = torch.zeros(8)
    chosen = affine.AffineQuantizer(scale, zero, form.bits, True, 0)
    full = affine.quantizer(form, *affine.weight_range(weight, 0), True, 0)
    ours, theirs = ((grid(weight) - weight).square().sum((1, 2, 3)) for grid in (chosen, full))
    assert (ours <= theirs * (1 + 1e-5)).all() and scale[3] == 1
    if form.bits <= 3:
        assert ours.sum() < 0.95 * theirs.sum()
    assert torch.equal(lsq.weight_scale(weight.transpose(0, 1), form, 1), scale)
