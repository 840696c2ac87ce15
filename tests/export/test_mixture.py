"""A mixture of experts as ONNX: every expert is there by its name, and the answers are those of the graph."""

import onnxruntime
import torch

from edge_mpq import graph as ir
from export.onnx_from_torch import onnx_from_graph
from tests import trained_mixture


def test_experts_stand_unrolled_in_the_model_and_answer_as_in_torch():
    graph = trained_mixture.small()
    model = onnx_from_graph(graph, 18)
    assert set(ir.weighted(graph)) <= {node.name for node in model.graph.node}
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    tokens = trained_mixture.tokens(3)
    (answers,) = session.run(None, {session.get_inputs()[0].name: tokens.numpy()})
    with torch.no_grad():
        assert torch.allclose(torch.from_numpy(answers), graph(tokens), atol=1e-5)
