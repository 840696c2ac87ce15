"""Unlike bits within a layer as an engine computes them: what was simulated, a kernel for each type, no more."""

import functools
from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import fx, nn

import edge_mpq
from edge_mpq import graph as ir
from edge_mpq import simulation
from edge_mpq.cost import size
from edge_mpq.engines import onnxruntime as backend
from edge_mpq.errors import ExportError
from edge_mpq.layers import layers_of
from edge_mpq.quantizers import blocks
from edge_mpq.records import plan as plans
from edge_mpq.records import target as targets
from edge_mpq.rounding import slim
from export import onnx_from_torch
from export.bundle_from_torch import Quantized, quantized_onnx

CPU, ORIN = targets.get("cpu-x86-vnni"), targets.get("jetson-orin-nx")
BLOCK = 32
# Bits of the eight blocks of the wide layer, and of the four of the others.
PATTERNS = {
    "around two": ([1, 2, 2, 3, 2, 1, 3, 2], [2, 3, 1, 2]),
    "around three": ([2, 3, 3, 4, 3, 2, 4, 3], [3, 4, 2, 3]),
    "deployable": ([8, 2, 4, 2, 4, 4, 4, 4], [2, 4, 8, 2]),
    "below the types": ([1, 2, 2, 1, 1, 2, 1, 2], [1, 1, 2, 2]),
}

FLOATS = (3, 40, 41)


class Wide(nn.Module):
    """Three linears with a bias, one whose 50 outputs no two-bit kernel takes, and a 1x1 convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down, self.head = nn.Linear(128, 256), nn.Linear(256, 128), nn.Linear(128, 50)
        self.point = nn.Conv2d(128, 128, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.down(nn.functional.gelu(self.up(x)))
        x = torch.relu(self.point(x.transpose(1, 2).unsqueeze(3))).squeeze(3).transpose(1, 2)
        return self.head(x)


@functools.cache
def uniform():
    """(plan, float graph, simulation, inputs)"""
    torch.manual_seed(0)
    inputs = torch.randn(2, 6, 128)
    graph = edge_mpq.prepared(Wide(), inputs)
    plan = plans.uniform(layers_of(graph), CPU, f"int4b{BLOCK}", "fp32")
    quantized, _ = edge_mpq.quantize(graph, plan, [inputs], rounding="nearest")
    return plan, graph, quantized, inputs


def simulated(pattern: str, symmetric: bool, kept: tuple[int, ...] = ()):
    """The same, with the bits of ``pattern``."""
    plan, graph, quantized, inputs = uniform()
    quantized = ir.copied(quantized)
    for name in plan.choices:
        weight = ir.attribute(quantized, name + ".weight").detach()
        bits = torch.tensor(PATTERNS[pattern][0 if name == "down" else 1], dtype=torch.int32)
        grid = blocks.over(*blocks.ranges(weight, bits, BLOCK, kept), bits, symmetric, BLOCK, kept)
        slim.place(quantized, name, grid, weight)
    return plan, graph, quantized, inputs


def written(graph: fx.GraphModule, plan, quantized, path):
    model = quantized_onnx(onnx_from_torch.onnx_from_graph(graph, 18), graph, Quantized(plan, quantized), CPU)
    onnx.save(model, path)
    return model


def computed(path, inputs) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: inputs.numpy()})[0]


@pytest.mark.parametrize(
    ("pattern", "symmetric", "kept"),
    [
        ("around two", True, ()),
        ("around two", False, FLOATS),
        ("around three", False, ()),
        ("deployable", True, FLOATS),
        ("below the types", False, ()),
    ],
)
def test_the_engine_computes_what_was_simulated_in_one_kernel_for_each_type(pattern, symmetric, kept, tmp_path):
    plan, graph, quantized, inputs = simulated(pattern, symmetric, kept)
    written(graph, plan, quantized, tmp_path / "model.onnx")
    card = backend.build(tmp_path / "model.onnx", tmp_path / "engine", CPU, plan, accuracy_level=0)
    expected = quantized(inputs).detach().numpy()
    assert np.abs(computed(tmp_path / "engine", inputs) - expected).max() <= 1e-5 * np.abs(expected).max()
    kernels = Counter(node.op_type for node in onnx.load(tmp_path / "engine").graph.node)
    types = {
        "around two": (2, 2, 2, 1),
        "around three": (2, 2, 2, 1),
        "deployable": (3, 3, 3, 2),
        "below the types": (1, 1, 1, 1),
    }[pattern]
    assert kernels["MatMulNBits"] == sum(types)
    assert kernels["DequantizeLinear"] == kernels["Gemm"] == kernels["Conv"] == 0
    assert kernels["MatMul"] + kernels["FusedMatMul"] == (4 if kept else 0)
    parted = 4 if kept else sum(count > 1 for count in types)
    assert kernels["Gather"] == kernels["Split"] == parted
    assert not card.mismatches()


def test_codes_lie_in_the_types_that_the_size_speaks_of(tmp_path):
    """Nominal bits are what was asked for, containers what is stored, and they are told apart."""
    plan, graph, quantized, _ = simulated("around two", True)
    model = written(graph, plan, quantized, tmp_path / "model.onnx")
    columns = {name: simulation.weight_quantizer(quantized, name).columns() for name in plan.choices}
    assert columns["down"] == {1: 64, 2: 128, 3: 64} and size.nominal_bits(columns["down"]) == 2
    assert size.container_bits(columns["down"]) == 2.5  # 2 + 2f, a quarter of the blocks raised
    width = {onnx.TensorProto.INT2: 2, onnx.TensorProto.INT4: 4, onnx.TensorProto.INT8: 8}
    codes = [item for item in model.graph.initializer if item.name.endswith("weight_codes")]
    stored = sum(width[item.data_type] * np.prod(item.dims) for item in codes) / 8 / 2**20
    layers = layers_of(graph)
    pairs = {name: choice[:2] for name, choice in plan.choices.items()}
    # The head's 50 outputs take four bits throughout, which no two-bit kernel reads rightly.
    odd = next(layer for layer in layers if layer.name == "head")
    more = (4 - size.container_bits(columns["head"])) * odd.weights / 8 / 2**20
    assert stored == pytest.approx(size.container_mib(layers, pairs, columns) + more)
    assert stored < size.container_mib(layers, pairs)  # all at the plan's four bits


def test_the_order_of_inputs_is_what_makes_it_right(tmp_path):
    """The law above could not fail if a layer's inputs were all alike."""
    plan, graph, quantized, inputs = simulated("around two", True)
    model = written(graph, plan, quantized, tmp_path / "model.onnx")
    for item in model.graph.initializer:
        if item.name.endswith(".inputs"):
            places = onnx.numpy_helper.to_array(item)[::-1].copy()
            item.CopyFrom(onnx.numpy_helper.from_array(places, item.name))
    onnx.save(model, tmp_path / "turned.onnx")
    expected = quantized(inputs).detach().numpy()
    assert np.abs(computed(tmp_path / "turned.onnx", inputs) - expected).max() > 0.1 * np.abs(expected).max()


def test_a_board_without_the_types_is_told(tmp_path):
    plan, graph, quantized, _ = simulated("around two", True)
    plan = plan._replace(target=ORIN.name, choices={name: plans.Choice("fp32", "fp32") for name in plan.choices})
    with pytest.raises(ExportError, match="jetson-orin-nx has no int2b32 for layer 'point'.*; round without"):
        quantized_onnx(onnx_from_torch.onnx_from_graph(graph, 18), graph, Quantized(plan, quantized), ORIN)
