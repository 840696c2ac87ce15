"""Where activations are rounded: both schemes on toys whose right answer is known, and laws for any plan."""

import random
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from edge_mpq import graph as ir
from edge_mpq import placement, simulation
from edge_mpq.layers import layers_of
from edge_mpq.placement import Point
from edge_mpq.records import formats
from edge_mpq.records import plan as plans
from edge_mpq.records import target as targets
from edge_mpq.records.plan import Choice, PrecisionPlan
from tests import toys

TENSORRT, ONNXRUNTIME = targets.get("jetson-orin-nano").scheme, targets.get("cpu-x86-vnni").scheme
every_scheme = pytest.mark.parametrize("scheme", [TENSORRT, ONNXRUNTIME], ids=["inputs", "outputs"])
FLOAT = ("fp32", "fp32")


def readers(kind: str, plan: PrecisionPlan, scheme) -> dict[str, tuple[str, ...]]:
    """tensor -> who reads the rounded one, () for all."""
    return {point.tensor: point.readers for point in placement.points_of(toys.graph(kind), plan, scheme)}


def groups(points: list[Point]) -> list[set[str]]:
    """Tensors that share a range with others."""
    found: dict[str, set[str]] = {}
    for point in points:
        found.setdefault(point.group, set()).add(point.tensor)
    return sorted((group for group in found.values() if len(group) > 1), key=sorted)


def whole(model: nn.Module) -> tuple[torch.fx.GraphModule, PrecisionPlan]:
    """A model and the plan that has all of it at int8."""
    graph = simulation.prepared(model, toys.pictures(1))
    return graph, plans.uniform(layers_of(graph), targets.get("simulation"), "int8", "int8")


class Dense(nn.Module):
    """Each layer reads the concat of all before it."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(8, 4, 1)
        self.side, self.last = nn.Conv2d(4, 4, 1), nn.Conv2d(12, 4, 1)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        a = functional.relu(self.a(pictures))
        b = functional.relu(self.b(a))
        both = torch.cat([a, b], 1)
        c = functional.relu(self.c(both))
        return self.last(torch.cat([both, c], 1)).mean((2, 3)) + self.side(c).mean((2, 3))


# TensorRT.


def test_tensorrt_rounds_what_layers_read_and_the_skip_of_an_add_and_nothing_else():
    plan = toys.planned("residual", "jetson-orin-nano")
    assert readers("residual", plan, TENSORRT) == {
        "pictures": ("conv2d",),
        "max_pool2d": ("conv2d_1", "add"),  # the identity skip
        "relu_1": ("conv2d_2",),
        "relu_2": ("conv2d_3", "conv2d_5"),
        "relu_3": ("conv2d_4",),
        "conv2d_5": ("add_1",),  # the downsampling skip, which is the shorter branch
        "relu_4": ("conv2d_6",),
        "relu_5": ("conv2d_7",),
        "relu_6": ("conv2d_8", "conv2d_9"),
        "cat": ("conv2d_10",),
        "flatten": ("linear",),
    }


def test_tensorrt_leaves_an_add_alone_whose_layer_is_float():
    plan = toys.planned("residual", "jetson-orin-nano", two__0=FLOAT, stem__0=FLOAT, deep__0=FLOAT, short__0=FLOAT)
    found = readers("residual", plan, TENSORRT)
    assert found["max_pool2d"] == ("conv2d_1",) and found["relu_2"] == ("conv2d_3",)
    assert not {"pictures", "relu_1", "relu_3", "conv2d_5"} & set(found)


def test_tensorrt_rounds_neither_behind_a_layer_nor_between_it_and_its_activation():
    plan = toys.planned("residual", "jetson-orin-nano")
    graph = toys.graph("residual")
    fresh = {node for nodes in ir.weighted(graph).values() for node in nodes}
    for tensor, who in readers("residual", plan, TENSORRT).items():
        node = next(node for node in graph.graph.nodes if node.name == tensor)
        assert node not in fresh or all(name.startswith("add") for name in who)


def test_tensorrt_takes_a_sum_with_a_number_for_no_residual():
    graph, plan = whole(nn.Sequential(nn.Conv2d(3, 4, 1), AddOne()))
    assert [point.tensor for point in placement.points_of(graph, plan, TENSORRT)] == [ir.inputs(graph).name]


class AddOne(nn.Module):
    def forward(self, x):
        return x + 1.0


def test_tensorrt_shares_one_range_among_all_that_meet_in_concats():
    graph, plan = whole(Dense())
    points = placement.points_of(graph, plan, TENSORRT)
    assert groups(points) == [{"relu", "cat", "relu_2", "cat_1"}]


# ONNX Runtime.


def test_onnxruntime_rounds_behind_layers_and_around_what_lies_between():
    plan = toys.planned("residual", "cpu-x86-vnni")
    found = readers("residual", plan, ONNXRUNTIME)
    assert found == dict.fromkeys(found, ()) | {"pictures": ("conv2d",)}
    assert list(found) == [
        "pictures", "relu", "max_pool2d", "relu_1", "conv2d_2", "relu_2", "relu_3", "conv2d_4", "conv2d_5", "relu_4",
        "relu_5", "relu_6", "relu_7", "relu_8", "cat", "relu_9", "adaptive_avg_pool2d", "flatten",
    ]  # fmt: skip


def test_onnxruntime_shares_ranges_through_concats_and_moves():
    points = placement.points_of(toys.graph("residual"), toys.planned("residual", "cpu-x86-vnni"), ONNXRUNTIME)
    assert groups(points) == [{"adaptive_avg_pool2d", "flatten"}, {"relu_7", "relu_8", "cat"}, {"relu", "max_pool2d"}]
    graph, plan = whole(Dense())
    shared = groups(placement.points_of(graph, plan, ONNXRUNTIME))
    assert shared == [{"relu", "relu_1", "cat", "relu_2", "cat_1"}]


def test_onnxruntime_leaves_float_layers_float_on_both_sides():
    float_ones: dict[str, Any] = dict.fromkeys(("stem__0", "two__0", "left__0", "right__0", "last__0"), FLOAT)
    found = readers("residual", toys.planned("residual", "cpu-x86-vnni", **float_ones), ONNXRUNTIME)
    # The pool's input stays float, and so do the Add it feeds and the concat between float layers.
    assert found["max_pool2d"] == ("conv2d_1",)
    assert found["relu_2"] == ("conv2d_3", "conv2d_5")
    assert not {"pictures", "relu", "conv2d_2", "relu_7", "relu_8", "cat", "relu_9"} & set(found)
    assert found["relu_1"] == ()  # an integer kernel writes integers, whoever reads them


def test_onnxruntime_has_no_integer_transposed_convolution_to_round_behind():
    found = readers("unet", toys.planned("unet", "cpu-x86-vnni"), ONNXRUNTIME)
    assert "relu_2" not in found and found["cat"] == ("conv2d_2",)


def test_a_linear_s_output_stays_float():
    found = readers("transformer", toys.planned("transformer", "cpu-x86-vnni"), ONNXRUNTIME)
    assert not {"linear", "linear_1", "linear_5", "add", "add_1"} & set(found)


# Laws.


@every_scheme
@pytest.mark.parametrize("kind", toys.KINDS)
def test_a_plan_without_formats_rounds_nothing(kind, scheme):
    assert placement.points_of(toys.graph(kind), toys.planned(kind, "simulation", "fp32", "fp32"), scheme) == []
    only_weights = toys.planned(kind, "simulation", "int4", "fp32")
    assert placement.points_of(toys.graph(kind), only_weights, scheme) == []


@every_scheme
@pytest.mark.parametrize("kind", toys.KINDS)
def test_any_plan_rounds_watched_tensors_once_in_order_for_readers_that_read_them(kind, scheme):
    graph, draw = toys.graph(kind), random.Random(0)
    order = [node.name for node in graph.graph.nodes]
    nodes = {node.name: node for node in graph.graph.nodes}
    layers = {node: name for name, found in ir.weighted(graph).items() for node in found}
    watched = placement.every_tensor(graph)
    assert len(set(watched)) == len(watched)
    for _ in range(30):
        plan = toys.planned(kind, "simulation")
        pairs = [("int8", "int8"), ("int4", "int8"), ("int8", "int4"), ("fp16", "fp16"), FLOAT]
        plan = plan._replace(choices={name: Choice(*draw.choice(pairs)) for name in plan.choices})
        points = placement.points_of(graph, plan, scheme)
        tensors = [point.tensor for point in points]
        assert tensors == sorted(set(tensors), key=order.index)
        assert set(tensors) <= set(watched)
        for point in points:
            assert set(point.readers) <= {user.name for user in nodes[point.tensor].users}
            assert point.form in formats.FORMATS and point.form != "fp32"
            assert point.group in tensors
        for name, layer_nodes in ir.weighted(graph).items():
            if plan.choices[name].activation not in ("fp32", "fp16"):  # a reader in half precision casts for itself
                for node in layer_nodes:
                    (read,) = [point for point in points if point.tensor == node.args[0].name]
                    assert not read.readers or node.name in read.readers
                    form, planned = formats.get(read.form), formats.get(plan.choices[name].activation)
                    assert not form.is_float and form.bits >= planned.bits
                    others = {layers.get(user) for user in node.args[0].users}
                    if (
                        None not in others
                    ):  # nobody else wants it wider: a layer reads what it is scored and charged for
                        assert form.name in {plan.choices[other].activation for other in others}


@every_scheme
def test_a_layer_reads_the_format_it_is_planned_in_whatever_the_one_before_it_computes_in(scheme):
    graph = simulation.prepared(nn.Sequential(*(nn.Conv2d(3, 3, 1) for _ in range(3))), toys.pictures(1))
    widths = {"0": ("int8", "int8"), "1": ("int4", "int4"), "2": ("int8", "int8")}
    plan = PrecisionPlan("", "simulation", {name: Choice(*pair) for name, pair in widths.items()})
    forms = [point.form for point in placement.points_of(graph, plan, scheme)]
    assert forms == ["int8", "int4", "int8"] + ["int8"] * (scheme.placement == "outputs")  # and what the last writes


@every_scheme
def test_a_tensor_wanted_in_two_formats_takes_the_wider(scheme):
    plan = toys.planned("residual", "simulation", down__0=("int8", "int4"), short__0=("int8", "int8"))
    (point,) = [p for p in placement.points_of(toys.graph("residual"), plan, scheme) if p.tensor == "relu_2"]
    assert point.form == "int8"
