"""What the exporter writes of the zoo's models breaks no rule of the boards it is for."""

import functools

import onnx
import pytest
import torch
from torch import fx

from edge_mpq import calibration, placement
from edge_mpq.layers import layers_of
from edge_mpq.loading import load_model
from edge_mpq.menu import menu_of
from edge_mpq.records import plan as plans
from edge_mpq.records import target as targets
from edge_mpq.records.plan import Choice, PrecisionPlan
from edge_mpq.records.ranges import RangeTable
from edge_mpq.simulation import prepared, simulate
from export import bundle_from_torch, lint_onnx, onnx_from_torch
from export.bundle_from_torch import Quantized
from export.older_opset_of_onnx import lower

SIDES = {"cifar_resnet20": 32, "cifar_mobilenet_v2": 32, "unet": 64, "cifar_vit": 32}
BOARDS = ["jetson-nano", "jetson-orin-nano", "tensorrt-11-x86"]


@functools.cache
def _traced(name: str) -> tuple[fx.GraphModule, RangeTable, onnx.ModelProto]:
    torch.set_num_threads(1)
    pictures = torch.randn(2, 3, SIDES[name], SIDES[name], generator=torch.Generator().manual_seed(0))
    graph = prepared(load_model(name), pictures)
    ranges = calibration.ranges_of(graph, placement.every_tensor(graph), [pictures], symmetric=True)
    return graph, ranges, onnx_from_torch.onnx_from_graph(graph, onnx_from_torch.NEWEST_OPSET)


def _plans(name: str, board: str) -> dict[str, PrecisionPlan]:
    """The smallest format each layer may take, and a mix of all."""
    target, layers = targets.get(board), layers_of(_traced(name)[0])
    menu = menu_of(layers, target, ["fp16", "w8a8"] if target.has_int8 else ["fp16"])
    small = plans.uniform(layers, target, "fp32", "fp32")
    small = small._replace(choices={layer: Choice(*pairs[-1]) for layer, pairs in menu.items()})
    ties = {layer.tie for layer in layers if layer.tie}
    turns = [(layer, ("fp32", "fp16", "int8")[i % 3]) for i, layer in enumerate(layers)]
    mixed = {
        layer.name: Choice(form, form) if form != "int8" and layer.tie not in ties else small.choices[layer.name]
        for layer, form in turns
    }
    return {"small": small, "mixed": small._replace(choices=mixed)}


def _cases() -> list:
    """Every model, board and plan."""
    return [
        pytest.param(
            *(name, board, title),
            marks=[pytest.mark.slow] * (name != "cifar_resnet20"),
        )
        for name in SIDES
        for board in BOARDS
        for title in ("small", "mixed")
    ]


@pytest.mark.parametrize(("name", "board", "title"), _cases())
def test_exports_of_the_zoo_are_clean(name: str, board: str, title: str) -> None:
    graph, ranges, whole = _traced(name)
    target, plan = targets.get(board), _plans(name, board)[title]
    plan.check(layers_of(graph), target)
    floats = lower(whole, target.opset) if target.opset < onnx_from_torch.NEWEST_OPSET else whole
    form = Quantized(plan, simulate(graph, plan, target, ranges))
    model = bundle_from_torch.quantized_onnx(floats, graph, form, target)
    assert model.opset_import[0].version <= target.opset
    found = [lint_onnx.shown(item) for item in lint_onnx.check(model, target) if item.severity != "note"]
    assert found == []
    kinds = {node.op_type for node in model.graph.node}
    assert ("QuantizeLinear" in kinds) == target.has_int8
