"""Trit planes as an engine computes them: two fused products of two-bit weights and their sum."""

from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import edge_mpq
from edge_mpq import simulation
from edge_mpq.engines import onnxruntime as backend
from edge_mpq.errors import ExportError
from edge_mpq.layers import layers_of
from edge_mpq.quantizers.trit_planes import TritPlaneQuantizer
from edge_mpq.recipes.ptqtp import TritPlanes
from edge_mpq.records import plan as plans
from edge_mpq.records import target as targets
from export import onnx_from_torch, planes_into_onnx
from export.bundle_from_torch import Quantized, quantized_onnx
from export.lint.reading import opset_of
from tests.export.test_blocks import Words, model_of

CPU = targets.get("cpu-x86-vnni")


def exported(variant, tmp_path, form="int4b64"):
    """(plan, float graph, simulated model, inputs, path of its ONNX)"""
    model, inputs = model_of(Words)
    graph = edge_mpq.prepared(model, inputs)
    plan = plans.uniform(layers_of(graph), CPU, form, "fp32")
    quantized, _ = edge_mpq.quantize(graph, plan, [inputs], rounding=TritPlanes(CPU, variant))
    written = onnx_from_torch.onnx_from_graph(graph, 18)
    path = tmp_path / "model.onnx"
    onnx.save(quantized_onnx(written, graph, Quantized(plan, quantized), CPU), path)
    return plan, graph, quantized, inputs, path


@pytest.mark.parametrize(("variant", "products"), [("free", 2), ("warm", 2), ("multistart", 2), ("tied", 1)])
def test_the_engine_computes_what_was_simulated_in_fused_kernels(variant, products, tmp_path):
    plan, _, quantized, inputs, path = exported(variant, tmp_path)
    expected = quantized(inputs).detach().numpy()
    for level, most in ((0, 1e-5), (4, 2e-2)):
        card = backend.build(path, tmp_path / "engine", CPU, plan, accuracy_level=level)
        session = onnxruntime.InferenceSession(tmp_path / "engine", providers=["CPUExecutionProvider"])
        got = session.run(None, {session.get_inputs()[0].name: inputs.numpy()})[0]
        assert np.abs(got - expected).max() <= most * np.abs(expected).max()
        kernels = Counter(node.op_type for node in onnx.load(tmp_path / "engine").graph.node)
        assert kernels["MatMulNBits"] == products * len(plan.choices)
        assert not kernels["DequantizeLinear"] and not kernels["MatMul"]
        assert not card.mismatches()


def test_two_planes_summed_before_the_product_are_not_fused(tmp_path):
    """What the law above guards against: the shorter way to write it, which costs a dequantization at every run."""
    path = exported("free", tmp_path)[-1]
    model = onnx.load(path)
    produced = {node.output[0]: node for node in model.graph.node}
    final = next(node for node in model.graph.node if node.name == "head_sum")
    first, second = (produced[name] for name in final.input)
    final.input[:] = [first.input[1], second.input[1]]
    result = final.output[0]
    final.output[0] = "head_both"
    first.input[1], first.output[0] = "head_both", result
    kept = [node for node in model.graph.node if node.name not in (first.name, second.name, final.name)]
    place = next(index for index, node in enumerate(kept) if result in node.input)
    nodes = [*kept[:place], final, first, *kept[place:]]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, path)
    backend.build(path, tmp_path / "engine", CPU)
    kernels = Counter(node.op_type for node in onnx.load(tmp_path / "engine").graph.node)
    assert kernels["DequantizeLinear"] + kernels["MatMul"] > 0


def test_each_branch_is_its_plane_and_they_add_up_to_the_weight(tmp_path):
    _, _, quantized, _, path = exported("free", tmp_path)
    model = onnx.load(path)
    assert opset_of(model) == planes_into_onnx.TWO_BITS
    stored = {item.name: onnx.numpy_helper.to_array(item) for item in model.graph.initializer}
    kinds = {item.name: item.data_type for item in model.graph.initializer if item.name.endswith("weight_codes")}
    for layer in ("up", "down", "head"):
        grid = simulation.weight_quantizer(quantized, layer)
        assert isinstance(grid, TritPlaneQuantizer)
        weight = quantized.get_submodule(layer).weight.detach()
        total = 0
        for title, trits in zip((layer, layer + "_second"), grid.planes(weight).numpy(), strict=True):
            codes = stored[title + ".weight_codes"].astype(np.int8)  # [C, K]
            assert np.array_equal(codes.T, trits)
            total = total + codes * stored[title + ".weight_scale"].repeat(64, 0)
        assert np.array_equal(total.T, grid(weight).numpy())
    # 50 outputs: what ONNX Runtime 1.32 would multiply wrongly in two bits travels in four.
    assert (
        kinds["up.weight_codes"] == onnx.TensorProto.INT2 and kinds["head_second.weight_codes"] == onnx.TensorProto.INT4
    )


def test_a_model_without_planes_is_left_alone_and_one_without_the_layer_refused(tmp_path):
    _, graph, quantized, _, path = exported("tied", tmp_path)
    model = onnx.load(path)
    assert planes_into_onnx.insert(model, model, graph, quantized) is model
    _, graph, quantized, _, _ = exported("free", tmp_path)
    with pytest.raises(ExportError, match="layer 'up' is not in the ONNX"):
        planes_into_onnx.insert(model, onnx.ModelProto(), graph, quantized)


def test_where_nothing_runs_two_bits_planes_are_tied():
    model, inputs = model_of(Words)
    board = targets.get("jetson-orin-nano")
    plan = plans.uniform(layers_of(edge_mpq.prepared(model, inputs)), board, "int4b64", "fp32")
    quantized, _ = edge_mpq.quantize(model, plan, [inputs], rounding=TritPlanes(board))
    for layer in plan.choices:
        grid = simulation.weight_quantizer(quantized, layer)
        assert not isinstance(grid, TritPlaneQuantizer)
        assert torch.equal(grid.integers(quantized.get_submodule(layer).weight.detach()).abs().max(), torch.tensor(4))
