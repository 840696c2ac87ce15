"""MixDQ on a small conditional generator: its parts together, who keeps fp32, and what an engine makes of it."""

import functools

import numpy as np
import pytest
import torch

from edge_mpq import recipes, transforms
from edge_mpq.layers import layers_of
from edge_mpq.recipes import Outcome, Task, mixdq
from edge_mpq.records import target as targets
from edge_mpq.sensitivity import decoupled
from export import onnx_from_torch, qdq_into_onnx
from tests import trained_generator
from tests.export.exported import answers


def task(budget: str, *formats: str, board: str = "cpu-x86-vnni") -> Task:
    return Task(
        graph=trained_generator.graph(),
        example=trained_generator.calibration(1)[0][:1],
        calibration=trained_generator.calibration(2),
        validation=[],
        training=None,
        target=targets.get(board),
        budget=budget,
        formats=formats,
    )


@functools.cache
def eight_bits(recipe: str) -> Outcome:
    return recipes.get(recipe).run(task("size<=8bits", "w8a8"))


def test_eight_bits_undo_the_generator_unless_the_constant_token_passes_by():
    lossless = trained_generator.error(trained_generator.graph())
    assert lossless < 0.05  # it has learned to draw
    for naive in ("uniform", "default"):
        assert trained_generator.error(eight_bits(naive).quantized) > 2 * lossless
    found = eight_bits("mixdq")
    assert trained_generator.error(found.quantized) < 1.05 * lossless
    assert found.plan.transforms == found.graph.meta[transforms.APPLIED] == ("constant_tokens",)
    assert found.deployable and not found.note


def test_fewer_bits_go_where_they_harm_least_and_whole_plans_decide():
    found = mixdq.run(task("size<=5bits", "w8a8", "w4a8"))
    widths = {choice.weight for choice in found.plan.choices.values()}
    assert widths == {"int4", "int8"} and found.evaluations > 1
    assert trained_generator.error(found.quantized) < 1.2 * trained_generator.error(trained_generator.graph())


@torch.no_grad()
def test_with_every_layer_protected_nothing_changes():
    found = mixdq.run(task("size<=1x", "fp32", "w4a8"), share=1.0)
    assert all(choice[:2] == ("fp32", "fp32") for choice in found.plan.choices.values())
    inputs = trained_generator.labelled(8, 1)[0]
    assert torch.equal(found.quantized(inputs), found.graph(inputs))
    assert torch.allclose(found.quantized(inputs), trained_generator.graph()(inputs), atol=1e-4)
    rounded = mixdq.run(task("size<=0.2x", "fp32", "w4a8"), share=0.0)
    assert not torch.allclose(rounded.quantized(inputs), trained_generator.graph()(inputs), atol=1e-2)


def protected(given: Task, harms: dict[str, float], share: float) -> list[str]:
    """Who keeps fp32 where activations in 8 bits harm so much."""
    names = [layer.name for layer in layers_of(given.graph)]
    parts = {name: {("fp32", "int8"): harms.get(name, 1e-3), ("int8", "fp32"): 1.0} for name in names}
    rows = {name: {("fp32", "fp32"): 0.0, ("int8", "int8"): 1.0} for name in names}
    if "fp32" not in given.formats:
        rows = {name: {("int8", "int8"): 1.0} for name in names}
    table = decoupled.Decoupled(rows, decoupled.groups_of(given.graph), parts)
    return list(mixdq.protected(given, given.graph, table, share))


def test_the_worst_activations_keep_fp32_where_the_budget_bears_it():
    harms = {"conv_out": 0.5, "blocks.0.ff.net.2": 9.0, "blocks.1.conv": 0.4}
    given = task("size<=16bits", "fp32", "w8a8")
    # Each group's worst is the worst there is: their metrics do not compare.
    assert set(protected(given, harms, 0.125)) == {"conv_out", "blocks.0.ff.net.2"}
    assert len(protected(given, harms, 0.01)) == 1  # one per cent of sixteen layers, rounded up
    assert protected(given._replace(budget="size<=8.1bits"), {"blocks.0.ff.net.2": 9.0}, 0.01) == []
    assert protected(given._replace(formats=("w8a8",)), harms, 1.0) == []


def test_groups_and_metrics_are_the_user_s_to_give():
    seen = []

    def metric(reference, moved):
        seen.append(reference.shape)
        return float((reference - moved).abs().mean())

    given = task("size<=5bits", "w8a8", "w4a8")
    groups = {layer.name: "first" if layer.name.startswith("blocks.0") else "rest" for layer in layers_of(given.graph)}
    found = mixdq.run(given, groups=groups, metrics={"first": metric, "rest": metric}, decibels=True)
    assert seen and {choice.weight for choice in found.plan.choices.values()} == {"int4", "int8"}


@torch.no_grad()
@pytest.mark.parametrize("board", ["cpu-x86-vnni", "jetson-orin-nano"])
def test_the_bypass_is_standard_operations(board):
    found = eight_bits("mixdq") if board.startswith("cpu") else mixdq.run(task("size<=8bits", "w8a8", board=board))
    target = targets.get(board)
    written = onnx_from_torch.onnx_from_graph(found.graph, 18)
    model = qdq_into_onnx.insert(written, found.graph, found.quantized, found.plan, target)
    inputs = trained_generator.labelled(8, 77)[0]
    simulated, got = found.quantized(inputs).numpy(), answers(model, inputs)
    assert np.abs(got - simulated).max() <= 0.02 * np.ptp(simulated)
    assert {"Slice", "Concat"} <= {node.op_type for node in model.graph.node}
