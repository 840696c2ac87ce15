"""What quantization-aware training learned is what export writes and what the engine computes."""

import functools
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from edge_mpq import calibration, placement, simulation
from edge_mpq import graph as ir
from edge_mpq.engines import onnxruntime
from edge_mpq.quantizing import answers
from edge_mpq.records import target as targets
from edge_mpq.records.plan import PrecisionPlan
from edge_mpq.training import qat
from export import onnx_from_torch
from export.bundle_from_torch import Quantized, opset_of, quantized_onnx
from tests import toys, trained_toys


def mixed(board: str) -> PrecisionPlan:
    """Eight bits, with two layers at four where the board stores that."""
    few: dict[str, Any] = {"one__0": ("int4", "int8"), "left__0": ("int4", "int8"), "right__0": ("int4", "int8")}
    return toys.planned("residual", board, **(few if board == "cpu-x86-vnni" else {}))


@functools.cache
@torch.enable_grad()
def trained(board: str) -> qat.Trained:
    """The toy that has learned something, under a mixed plan, two short epochs on."""
    graph, target = trained_toys.trained(), targets.get(board)
    seen = [trained_toys.labelled(64, seed)[0] for seed in (500, 501)]
    table = calibration.ranges_of(graph, placement.every_tensor(graph), seen, "mse", target.scheme.activation == "int8")

    def batches(epoch: int) -> list:
        return [trained_toys.labelled(32, seed=600 + 10 * epoch + index) for index in range(4)]

    return qat.fit(graph, toys.pictures(1), mixed(board), table, batches, 2, 1e-3)


@functools.cache
def exported(board: str) -> onnx.ModelProto:
    ours, target = trained(board), targets.get(board)
    written = onnx_from_torch.onnx_from_graph(ours.graph, opset_of(target))
    return quantized_onnx(written, ours.graph, Quantized(mixed(board), ours.model), target)


def stored(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    values = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            values[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    return values


@pytest.mark.parametrize("board", ["cpu-x86-vnni", "jetson-orin-nano"])
def test_scales_in_the_onnx_are_those_learned_bit_for_bit(board):
    ours, values = trained(board), stored(exported(board))
    plan, scheme = mixed(board), targets.get(board).scheme
    grids = {point.tensor: toys.tensor_grid(ours.model, point.tensor) for point in placement.points_of(
        ours.graph, plan, scheme
    )}  # fmt: skip
    readers = {node.input[0]: node for node in exported(board).graph.node if node.op_type == "QuantizeLinear"}
    checked = 0
    for tensor, grid in grids.items():
        node = readers.get(tensor) or readers.get(tensor + "_before")
        if node is None:
            continue  # tuning for the processor took a pair out
        scale, zero = (values[name] for name in node.input[1:3])
        assert scale.tobytes() == grid.scale.numpy().tobytes() and zero == grid.zero.item()
        assert zero.dtype == (np.uint8 if scheme.activation == "uint8" else np.int8)
        low, high = ours.ranges.tensors[tensor]
        assert (low, high) == tuple(((code - grid.zero) * grid.scale).item() for code in (grid.lowest, grid.highest))
        checked += 1
    assert checked > 0.7 * len(grids)
    for name in plan.choices:
        grid = toys.weight_grid(ours.model, name)
        assert any(
            value.dtype == np.float32 and value.tobytes() == grid.scale.numpy().tobytes() for value in values.values()
        ), name


def test_the_scales_were_learned():
    ours, board = trained("jetson-orin-nano"), "jetson-orin-nano"
    plain = simulation.simulate(ours.graph, mixed(board), targets.get(board), ours.ranges)
    for name in mixed(board).choices:
        assert not torch.equal(toys.weight_grid(plain, name).scale, toys.weight_grid(ours.model, name).scale)


def test_the_engine_runs_integers_throughout_and_answers_as_the_simulation(tmp_path: Path):
    ours, target, plan = trained("cpu-x86-vnni"), targets.get("cpu-x86-vnni"), mixed("cpu-x86-vnni")
    (tmp_path / "model.onnx").write_bytes(exported("cpu-x86-vnni").SerializeToString())
    card = onnxruntime.build(tmp_path / "model.onnx", tmp_path / "model.engine", target, plan)
    assert card.got == card.asked and set(card.got) == set(ir.weighted(ours.graph))
    ran = [node.op_type for node in onnx.load(tmp_path / "model.engine").graph.node]
    # The pictures come as floats, and the scores leave as floats: nothing else crosses over.
    assert ran.count("QuantizeLinear") == 1 and ran.count("DequantizeLinear") <= 1
    assert not {"Conv", "FusedConv", "Gemm", "FusedGemm"} & set(ran)
    pictures = trained_toys.labelled(1000, seed=900)[0].split(100)
    engine = onnxruntime.open(tmp_path / "model.engine")
    said = np.concatenate([engine.infer(batch.numpy())[0] for batch in pictures])
    simulated = answers(ours.model, pictures).numpy()
    assert (said.argmax(1) == simulated.argmax(1)).mean() >= 0.995
