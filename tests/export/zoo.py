"""The zoo's models, traced once a process, and their exports under plans that mix formats."""

import functools

import onnx
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
from export import bundle_from_torch, onnx_from_torch
from export.bundle_from_torch import Quantized
from export.older_opset_of_onnx import lower

SIDES = {"cifar_resnet20": 32, "cifar_mobilenet_v2": 32, "unet": 64, "light_segmenter": 64, "cifar_vit": 32}


@functools.cache
def traced(name: str) -> tuple[fx.GraphModule, RangeTable, onnx.ModelProto]:
    torch.set_num_threads(1)
    pictures = torch.randn(2, 3, SIDES[name], SIDES[name], generator=torch.Generator().manual_seed(0))
    graph = prepared(load_model(name), pictures)
    ranges = calibration.ranges_of(graph, placement.every_tensor(graph), [pictures], symmetric=True)
    return graph, ranges, onnx_from_torch.onnx_from_graph(graph, onnx_from_torch.NEWEST_OPSET)


def plans_of(name: str, board: str) -> dict[str, PrecisionPlan]:
    """The smallest format each layer may take, and a mix of all."""
    target, layers = targets.get(board), layers_of(traced(name)[0])
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


def exported(name: str, plan: PrecisionPlan) -> onnx.ModelProto:
    """The ONNX of a zoo's model under ``plan`` for its target."""
    graph, ranges, whole = traced(name)
    target = targets.get(plan.target)
    plan.check(layers_of(graph), target)
    opset = bundle_from_torch.opset_of(target)
    floats = lower(whole, opset) if opset < onnx_from_torch.NEWEST_OPSET else whole
    form = Quantized(plan, simulate(graph, plan, target, ranges))
    return bundle_from_torch.quantized_onnx(floats, graph, form, target)
