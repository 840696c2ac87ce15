"""Quantization-aware training: what it leaves alone, what it folds, what it learns, and what it refuses."""

import copy

import pytest
import torch
from torch import nn

from edge_mpq import calibration, placement, simulation
from edge_mpq import graph as ir
from edge_mpq.errors import PlanError, UsageError
from edge_mpq.quantizers.affine import AffineQuantizer
from edge_mpq.records import target as targets
from edge_mpq.training import loop, qat
from edge_mpq.training.checkpoint import Checkpoints
from edge_mpq.training.distillation import distilled, divergence
from tests import toys, trained_toys
from tests.training.aware import INT8, UINT8, labelled, same, trained, trainee, unfolded, walk

# The negative control.


@pytest.mark.parametrize(("kind", "board"), [("residual", UINT8), ("shortcut", INT8), ("unet", INT8), ("odd", UINT8)])
def test_training_with_nothing_rounded_is_plain_training_bit_for_bit(kind, board):
    plain = copy.deepcopy(toys.model(kind))
    log = loop.fit(plain, labelled(kind), 3, 2e-3, precision="fp32")
    ours = trained(kind, toys.planned(kind, board, "fp32", "fp32"))
    folded = simulation.prepared(plain, toys.pictures(1))
    assert same(ours.graph, folded)
    assert [(epoch.loss, epoch.right) for epoch in ours.log] == [(epoch.loss, epoch.right) for epoch in log]
    x = toys.pictures(5, seed=3)
    with torch.no_grad():
        assert torch.equal(ours.model(x), folded(x))
        assert not torch.equal(ours.model(x), toys.graph(kind)(x))  # it did train
    rounded = trained(kind, toys.planned(kind, board))
    assert not same(rounded.graph, ours.graph)


def test_the_model_that_came_is_left_alone():
    for model in (toys.model("residual"), toys.graph("residual"), unfolded("residual")):
        before = copy.deepcopy(model.state_dict())
        plan, table = toys.planned("residual", UINT8), toys.ranges("residual")
        walk(qat.prepare(model, toys.pictures(1), plan, table), "residual", 2)
        assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())


# Steps.


def test_points_that_share_one_scale_share_one_step():
    plan = toys.planned("residual", UINT8)
    learner = trainee("residual", plan)
    walk(learner, "residual")
    groups: dict[str, set] = {}
    for point in placement.points_of(toys.graph("residual"), plan, targets.get(UINT8).scheme):
        groups.setdefault(point.group, set()).add(point.tensor)
    assert max(map(len, groups.values())) == 3  # both inputs of the concat, and what it gives
    deployed = qat.finish(learner)
    for tensors in groups.values():
        assert len({id(learner.activation_grids[tensor]) for tensor in tensors}) == 1
        assert len({toys.tensor_grid(deployed, tensor).scale.item() for tensor in tensors}) == 1
    steps = [name for name, _ in learner.named_parameters() if ".activation_quantizers." in name]
    assert len(steps) == len(groups)


def test_steps_are_learned_and_decay_does_not_touch_them():
    learner = trainee("residual", toys.planned("residual", UINT8, "int4"))
    weights, steps = learner.parameter_groups(1e-3, 0.1)
    assert (weights["weight_decay"], steps["weight_decay"]) == (0.1, 0.0)
    assert len(weights["params"]) + len(steps["params"]) == len(list(learner.parameters()))
    walk(learner, "residual")
    assert all(step.abs().max() > 0 for step in steps["params"])
    assert trainee("residual", toys.planned("residual", UINT8, "fp32", "fp32")).parameter_groups(1e-3, 0.1)[1:] == []


def test_a_warm_up_follows_the_data_and_then_steps_are_learned():
    learner = trainee("residual", toys.planned("residual", UINT8, "int4"), "lsq", 2)
    starts = {name: grid.step.scale.item() for name, grid in learner.activation_grids.items()}
    _, steps = learner.parameter_groups(1e-3, 0.0)
    walk(learner, "residual", 2)
    assert all(not step.any() for step in steps["params"])
    moved = {name: grid.step.scale.item() for name, grid in learner.activation_grids.items()}
    assert all(moved[name] != start for name, start in starts.items())
    walk(learner, "residual", 2)
    assert all(step.any() for step in steps["params"])


def test_moving_ranges_go_towards_the_data_and_stand_when_frozen():
    plan, far = toys.planned("residual", UINT8), toys.ranges("residual")
    far = far._replace(tensors={name: (100 * low, 100 * high) for name, (low, high) in far.tensors.items()})
    learner = qat.prepare(unfolded("residual"), toys.pictures(1), plan, far, "moving").train()
    first = {name: grid.ends.clone() for name, grid in learner.activation_grids.items()}
    with torch.no_grad():
        for _ in range(20):
            learner(toys.pictures(16))
    later = {name: grid.ends.clone() for name, grid in learner.activation_grids.items()}
    assert all(later[name][1] < 0.9 * first[name][1] for name in first)
    learner.freeze()
    with torch.no_grad():
        learner(toys.pictures(16))
    assert all(torch.equal(grid.ends, later[name]) for name, grid in learner.activation_grids.items())
    assert all(not step.requires_grad for name, step in learner.named_parameters() if name.endswith("growth"))


@pytest.mark.parametrize("kind", ["residual", "transformer"])
@pytest.mark.parametrize("rule", ["lsq", "moving"])
def test_a_symmetric_board_keeps_its_zero_points_at_zero(kind, rule):
    ours = trained(kind, toys.planned(kind, INT8), 2, rule=rule)
    grids = [module for module in ours.model.modules() if isinstance(module, AffineQuantizer)]
    assert grids and all(grid.symmetric and not grid.zero.any() for grid in grids)


def test_a_mixed_plan_keeps_each_layer_s_formats():
    tied = {
        "stem__0": ("fp32", "fp32"),
        "two__0": ("fp32", "fp32"),
        "deep__0": ("int2", "int8"),
        "short__0": ("int2", "int8"),
    }
    plan = toys.planned("residual", UINT8, one__0=("int4", "int8"), **tied)
    ours = trained("residual", plan, 2)
    for name, choice in plan.choices.items():
        grid = toys.weight_grid(ours.model, name)
        assert (f"int{grid.bits}" if grid is not None else "fp32") == choice.weight


def test_float_formats_train_beside_integers():
    mixed = {
        "one__0": ("fp8", "fp8"),
        "down__0": ("bf16", "bf16"),
        "stem__0": ("fp16", "fp16"),
        "two__0": ("int4", "int4"),
    }
    plan = toys.planned("residual", "simulation", "int8", "fp32", **mixed)
    plan = plan._replace(choices={**plan.choices, "stem.0": plan.choices["two.0"]})
    learner = trainee("residual", plan)
    walk(learner, "residual")
    learner.freeze()
    deployed, x = qat.finish(learner.eval()), toys.pictures(4, seed=3)
    kinds = {type(simulation.weight_quantizer(deployed, name)).__name__ for name in plan.choices}
    assert kinds == {"CastQuantizer", "FloatQuantizer", AffineQuantizer.__name__}
    with torch.no_grad():
        assert torch.allclose(learner(x), deployed(x), atol=0.02 * deployed(x).abs().max().item())


def test_blocks_of_weights_train_on_the_grid_they_are_deployed_on():
    blocks = {"up": ("int4b16", "fp32"), "down": ("uint4b32", "fp32")}
    learner = trainee("transformer", toys.planned("transformer", "simulation", **blocks))
    walk(learner, "transformer")
    learner.freeze()
    deployed, x = qat.finish(learner.eval()), toys.pictures(4, seed=3)
    for name in blocks:
        weight = toys.weight(deployed, name)
        assert not torch.equal(weight, toys.weight(toys.graph("transformer"), name))
        assert torch.equal(toys.weight_grid(deployed, name)(weight), learner.weight_grids[name](weight))
    with torch.no_grad():
        assert torch.allclose(learner(x), deployed(x), atol=0.02 * deployed(x).abs().max().item())


# Training.


def test_it_mends_what_rounding_to_two_bits_broke():
    plan = toys.planned("residual", UINT8, "int2")
    graph, example = trained_toys.trained(), toys.pictures(1)
    inputs, labels = trained_toys.labelled(256, seed=999)
    batches = [trained_toys.labelled(64, seed)[0] for seed in (500, 501)]
    table = calibration.ranges_of(graph, placement.every_tensor(graph), batches)
    broken = simulation.simulate(graph, plan, targets.get(UINT8), table)
    data = lambda epoch: [trained_toys.labelled(32, seed=10 * epoch + index) for index in range(10)]  # noqa: E731
    mended = qat.fit(graph, example, plan, table, data, 3, 5e-3)
    with torch.no_grad():
        right = [(model(inputs).argmax(1) == labels).float().mean().item() for model in (broken, mended.model)]
    assert right[1] > right[0] + 0.1


def test_distillation_of_weight_zero_is_none_and_of_another_weight_is_not():
    plan = toys.planned("residual", UINT8, "int4")
    none = trained("residual", plan, 1)
    zero = trained("residual", plan, 1, teacher=toys.model("residual"), distillation=0.0)
    some = trained("residual", plan, 1, distillation=0.5)
    other = trained("residual", plan, 1, distillation=0.5, temperature=1.0)
    assert same(none.model, zero.model)
    assert not same(none.model, some.model) and not same(some.model, other.model)


def test_divergence_is_that_of_the_softened_answers():
    ours, theirs = torch.tensor([[0.0, 2.0]]), torch.tensor([[1.0, 1.0]])
    student = torch.softmax(ours / 2, 1)
    expected = 4 * (0.5 * torch.log(0.5 / student)).sum()
    assert divergence(ours, theirs, 2.0).item() == pytest.approx(expected.item(), rel=1e-5)
    assert divergence(theirs, theirs, 2.0).item() == pytest.approx(0, abs=1e-7)
    one = divergence(torch.tensor([[2.0]]), torch.tensor([[-1.0]]), 1.0)
    two = divergence(torch.tensor([[2.0, 0.0]]), torch.tensor([[-1.0, 0.0]]), 1.0)
    assert one.item() == pytest.approx(two.item())
    assert distilled(loop.classification, toys.model("residual"), 0.0) is loop.classification


class Killed(Exception):
    """Stands for the end of a process."""


def test_a_training_that_was_killed_goes_on_to_the_same_end(tmp_path):
    plan = toys.planned("residual", UINT8, "int4")
    whole = trained("residual", plan, warm_up=2)

    def kill(step: int, _: nn.Module) -> None:
        if step == 8:  # in the last epoch, in which normalizations are frozen
            raise Killed

    kept = Checkpoints(tmp_path, every=1, resume=True)
    with pytest.raises(Killed):
        trained("residual", plan, warm_up=2, checkpoints=kept, after_step=kill)
    resumed = trained("residual", plan, warm_up=2, checkpoints=kept)
    assert same(whole.model, resumed.model)


# Refusals.


def test_what_does_not_fit_is_refused_with_its_mend():
    example, table = toys.pictures(1), toys.ranges("residual")
    plan = toys.planned("residual", UINT8)
    with pytest.raises(PlanError, match="is not in the model.*plan again"):
        qat.prepare(unfolded("shortcut"), example, plan, table)
    with pytest.raises(PlanError, match="no range for"):
        qat.prepare(unfolded("residual"), example, plan, table._replace(tensors={}))
    with pytest.raises(UsageError, match="no rule 'pact'; choose one of lsq, moving"):
        qat.prepare(unfolded("residual"), example, plan, table, "pact")
    with pytest.raises(PlanError, match="after equalize, not the plain model; apply"):
        qat.prepare(unfolded("residual"), example, plan._replace(transforms=("equalize",)), table)


def test_the_names_of_the_graph_are_those_of_the_folded_one():
    learner = trainee("residual", toys.planned("residual", UINT8, "fp32", "fp32"))
    folded = [node.name for node in toys.graph("residual").graph.nodes if node.op == "call_function"]
    assert [node.name for node in learner.graph.graph.nodes if node.op.startswith("call")] == folded
    assert ir.BATCH_NORM[0] not in {node.target for node in learner.graph.graph.nodes}
