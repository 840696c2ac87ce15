"""Histograms of what the layers read: every value counted once, and clipped where the grid really clips."""

import pytest
import torch

from edge_mpq import calibration, placement, simulation
from edge_mpq import graph as ir
from edge_mpq.histograms import BINS, histograms
from edge_mpq.quantizers.blocks import BlockQuantizer
from edge_mpq.records import formats
from edge_mpq.records import target as targets
from edge_mpq.records.plan import Choice
from tests import toys

TARGET = "cpu-x86-vnni"


def made(kind, plan, ranges=None):
    graph = toys.graph(kind)
    ranges = ranges or toys.ranges(kind, targets.get(plan.target).scheme.activation == "int8")
    quantized = simulation.simulate(graph, plan, targets.get(plan.target), ranges)
    return quantized, histograms(quantized, graph, plan, toys.pictures(8))


@pytest.mark.parametrize("target", [TARGET, "jetson-orin-nano"])
@pytest.mark.parametrize("kind", toys.KINDS)
def test_every_rounded_tensor_is_counted_whole(kind, target):
    plan = toys.planned(kind, target)
    _, found = made(kind, plan)
    weights = [one for one in found if one.tensor == "weights"]
    assert [one.layer for one in weights] == list(plan.choices)
    assert {one.layer for one in found if one.tensor == "input"} == set(plan.choices)
    for layer, one in zip(toys.layers(kind), weights, strict=True):
        assert sum(one.counts) == layer.weights
        assert one.clip_high == pytest.approx(1) and one.clipped == 0
    assert all(len(one.counts) == BINS and one.format == "int8" for one in found)


def test_what_is_clipped_is_what_the_quantizer_changes_by_more_than_half_a_step():
    graph = toys.graph("residual")
    tensors = placement.every_tensor(graph)
    tight = calibration.ranges_of(graph, tensors, toys.batches())
    tight = tight._replace(tensors={name: (0.5 * low, 0.5 * high) for name, (low, high) in tight.tensors.items()})
    plan = toys.planned("residual", TARGET)
    quantized, found = made("residual", plan, tight)
    seen = next(one for one in found if one.layer == "stem.0" and one.tensor == "input")
    values, grid = toys.pictures(8), toys.tensor_grid(quantized, ir.weighted(graph)["stem.0"][0].args[0].name)
    beyond = (grid(values) - values).abs() > 0.5 * grid.scale
    assert seen.clipped == pytest.approx(float(beyond.float().mean()), abs=0.002) and seen.clipped > 0.01
    assert seen.clip_low == pytest.approx(float(-grid.zero * grid.scale))
    assert sum(one.clipped for one in made("residual", plan)[1]) < sum(one.clipped for one in found)


def test_layers_in_float_have_none():
    plan = toys.planned("residual", TARGET, "fp32", "fp32")
    assert made("residual", plan._replace(choices={**plan.choices, "head": Choice("fp32", "fp32")}))[1] == []


def test_columns_that_stay_float_are_left_out():
    """A block-wise weight with kept inputs: only what is rounded is counted."""
    graph, target = toys.graph("transformer"), targets.get("simulation")
    linear = (layer for layer in toys.layers("transformer") if layer.kind == "linear")
    name = next(layer.name for layer in linear if layer.weight_shape[1] % 16 == 0)
    choice = {name.replace(".", "__"): ("int4b16", "fp32")}
    plan = toys.planned("transformer", "simulation", "fp32", "fp32", **choice)
    quantized = simulation.simulate(graph, plan, target, toys.ranges("transformer"))
    weight = toys.weight(quantized, name)
    scale = weight.reshape(len(weight), -1, 16).abs().amax(2) / 7
    grid = BlockQuantizer(scale, torch.zeros_like(scale), 4, True, 16, [0, 3])
    simulation.set_weight_quantizer(quantized, name, grid)
    (one,) = histograms(quantized, graph, plan, toys.pictures(2))
    assert sum(one.counts) == weight.numel() - 2 * len(weight)
    assert one.format == "int4b16" and formats.get(one.format).block == 16
