"""A mixture of experts as ONNX: every expert stands in it by its name, at a width of its own, in fused kernels."""

import onnx
import onnxruntime
import torch

import edge_mpq
from edge_mpq import graph as ir
from edge_mpq.engines import onnxruntime as backend
from edge_mpq.layers import layers_of
from edge_mpq.records import plan as plans
from edge_mpq.records import target as targets
from edge_mpq.roles import roles_of
from export.bundle_from_torch import Quantized, quantized_onnx
from export.onnx_from_torch import onnx_from_graph
from tests import trained_mixture

CPU = targets.get("cpu-x86-vnni")
WIDTHS = {"attention": "int8b32", "shared": "uint4b32", "routed": "uint2b32"}


def answers(path: str, tokens: torch.Tensor) -> torch.Tensor:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {session.get_inputs()[0].name: tokens.numpy()})[0])


@torch.no_grad()
def test_experts_stand_unrolled_in_it_and_each_has_its_width(tmp_path):
    graph, tokens = trained_mixture.small(), trained_mixture.tokens(3)
    written = onnx_from_graph(graph, 18)
    assert set(ir.weighted(graph)) <= {node.name for node in written.graph.node}
    onnx.save(written, tmp_path / "float.onnx")
    assert torch.allclose(answers(str(tmp_path / "float.onnx"), tokens), graph(tokens), atol=1e-5)

    plan = plans.uniform(layers_of(graph), CPU, "fp32", "fp32")
    widths = {name: WIDTHS.get(role.kind, "fp32") for name, role in roles_of(graph).items()}
    widths["blocks.1.mlp.experts.2.up"] = widths["blocks.0.mlp.experts.0.down"] = "uint4b32"
    plan = plan._replace(choices={name: plans.Choice(form, "fp32") for name, form in widths.items()})
    quantized, _ = edge_mpq.quantize(graph, plan, [trained_mixture.tokens()])
    onnx.save(quantized_onnx(written, graph, Quantized(plan, quantized), CPU), tmp_path / "model.onnx")
    backend.build(tmp_path / "model.onnx", tmp_path / "engine", CPU, plan, accuracy_level=0)
    expected = quantized(tokens)
    assert torch.allclose(answers(str(tmp_path / "engine"), tokens), expected, atol=1e-4 * expected.abs().max().item())
    assert not torch.allclose(expected, graph(tokens), atol=1e-3)
    kernels = [node.op_type for node in onnx.load(tmp_path / "engine").graph.node]
    assert kernels.count("MatMulNBits") == sum(form != "fp32" for form in widths.values())
    assert "DequantizeLinear" not in kernels
