"""Float ONNX: the torch model's function under the torch graph's names, and nothing of the machine that wrote it."""

import getpass
import os
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn
from torch.nn import functional

from edge_mpq import graph as ir
from edge_mpq import placement, simulation
from edge_mpq.errors import ExportError
from edge_mpq.records import target as targets
from export import hints_into_onnx, onnx_from_torch
from tests import toys
from tests.export import exported

pytest.importorskip("onnxruntime")
every_toy = pytest.mark.parametrize("kind", toys.KINDS)


def onnx_of(model: nn.Module, example: torch.Tensor) -> onnx.ModelProto:
    return onnx_from_torch.onnx_from_graph(simulation.prepared(model, example), onnx_from_torch.NEWEST_OPSET)


@every_toy
@torch.no_grad()
def test_it_computes_the_model_for_any_batch(kind):
    model = exported.float_onnx(kind)
    onnx.checker.check_model(model, full_check=True)
    assert model.opset_import[0].version == onnx_from_torch.NEWEST_OPSET
    for count in (1, 5):
        x = toys.pictures(count, seed=count)
        assert np.abs(exported.answers(model, x) - toys.model(kind)(x).numpy()).max() < 1e-5
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param


def test_the_input_is_called_as_in_the_graph_whatever_the_argument_is_called():
    # forward(input): a Python builtin, which the graph writes input_1 and the exporter input.
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    graph = simulation.prepared(model, toys.pictures(1))
    written = onnx_from_torch.onnx_from_graph(graph, onnx_from_torch.NEWEST_OPSET)
    assert [entry.name for entry in written.graph.input] == [ir.inputs(graph).name] == ["input_1"]
    assert written.graph.node[0].input[0] == "input_1"
    x = toys.pictures(3)
    with torch.no_grad():
        assert np.abs(exported.answers(written, x) - model.eval()(x).numpy()).max() < 1e-5


@every_toy
def test_layers_are_nodes_of_their_name_and_every_name_is_unique(kind):
    model = exported.float_onnx(kind)
    nodes = {node.name: node for node in model.graph.node}
    assert len(nodes) == len(model.graph.node) and "" not in nodes
    written = [output for node in model.graph.node for output in node.output]
    named = [*written, *(item.name for item in (*model.graph.initializer, *model.graph.input))]
    assert len(named) == len(set(named))
    for layer in toys.layers(kind):
        assert nodes[layer.name].op_type in onnx_from_torch.WEIGHTED_OPS
        assert onnx_from_torch.source_of(nodes[layer.name]) == ir.weighted(toys.graph(kind))[layer.name][0].name


@every_toy
@pytest.mark.parametrize("board", ["cpu-x86-vnni", "jetson-orin-nano"])
def test_every_tensor_that_is_rounded_is_there_under_its_name_with_the_same_values(kind, board):
    model, graph = exported.float_onnx(kind), toys.graph(kind)
    points = placement.points_of(graph, toys.planned(kind, board), targets.get(board).scheme)
    written = {output for node in model.graph.node for output in node.output}
    tensors = [point.tensor for point in points if point.tensor != ir.inputs(graph).name]
    assert set(tensors) <= written
    for name in set(tensors) - {item.name for item in model.graph.output}:
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    x, seen = toys.pictures(2), {}

    class Seen(torch.fx.Interpreter):
        def run_node(self, node):
            seen[node.name] = super().run_node(node)
            return seen[node.name]

    with torch.no_grad():
        Seen(graph).run(x)
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for name, value in zip(tensors, session.run(tensors, {session.get_inputs()[0].name: x.numpy()}), strict=True):
        assert value.shape == tuple(seen[name].shape)
        assert np.abs(value - seen[name].numpy()).max() < 1e-5


@every_toy
@pytest.mark.parametrize("opset", [13, 18])
def test_nothing_of_the_machine_is_in_the_file(kind, opset):
    model = exported.float_onnx(kind, opset)
    data = model.SerializeToString()
    places = [str(Path(__file__).resolve().parents[2]), str(Path.home()), os.path.dirname(torch.__file__), "/tmp"]
    for text in [*places, "site-packages", ".py", "stack_trace", 'File "', "torch.", f"/{getpass.getuser()}/"]:
        assert text.encode() not in data
    assert (model.producer_name, model.producer_version, model.doc_string) == ("edge-mpq", "", "")
    assert not any(node.doc_string for node in model.graph.node)
    assert {item.key for node in model.graph.node for item in node.metadata_props} <= {onnx_from_torch.SOURCE}


class Misnamed(nn.Module):
    """Layers called like the tensors that tracing makes, in another order, and one that is applied twice."""

    def __init__(self) -> None:
        super().__init__()
        self.linear_1, self.linear, self.relu = nn.Linear(16, 6), nn.Linear(6, 6), nn.Linear(6, 4)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.linear_1(pictures.mean(1)))
        return self.relu(functional.relu(self.linear(functional.relu(self.linear(x)))))


@pytest.fixture(scope="module")
def misnamed() -> tuple[torch.fx.GraphModule, onnx.ModelProto]:
    graph = simulation.prepared(Misnamed(), toys.pictures(1))
    return graph, onnx_from_torch.onnx_from_graph(graph, onnx_from_torch.NEWEST_OPSET)


def test_a_layer_called_like_a_tensor_keeps_its_name(misnamed):
    nodes = {node.name: node for node in misnamed[1].graph.node}
    assert len(nodes) == len(misnamed[1].graph.node)
    layers = [nodes[name] for name in ("linear_1", "linear", "relu")]
    assert [node.op_type for node in layers] == ["MatMul"] * 3
    assert [onnx_from_torch.source_of(node) for node in layers] == ["linear", "linear_1", "linear_3"]
    assert [exported.constants(misnamed[1])[node.input[1]].shape for node in layers] == [(16, 6), (6, 6), (6, 4)]


def test_a_layer_applied_twice_has_its_name_the_first_time(misnamed):
    products = [node for node in misnamed[1].graph.node if node.op_type == "MatMul"]
    assert [node.name for node in products].count("linear") == 1 and products[1].name == "linear"
    assert onnx_from_torch.source_of(products[2]) == "linear_2"


def test_the_same_graph_gives_the_same_bytes(misnamed):
    graph, model = misnamed
    again = onnx_from_torch.onnx_from_graph(graph, onnx_from_torch.NEWEST_OPSET)
    assert again.SerializeToString(deterministic=True) == model.SerializeToString(deterministic=True)


def test_an_operation_that_onnx_lacks_is_one_error():
    class Strange(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)

        def forward(self, pictures):
            return torch.special.bessel_j0(self.conv(pictures))

    with pytest.raises(ExportError, match="torch cannot write this model as ONNX"):
        onnx_of(Strange(), toys.pictures(1))


# Hints: the plan inside the ONNX.


def test_hints_come_back_as_they_were_written():
    plan = toys.planned("residual", "cpu-x86-vnni", one__0=("int4", "int8"), stem__0=("fp32", "fp32"))
    written = hints_into_onnx.write(exported.float_onnx("residual"), plan)
    model = onnx.load_from_string(written.SerializeToString())
    assert hints_into_onnx.read(model) == {name: choice[:2] for name, choice in plan.choices.items()}
    facts = {item.key: item.value for item in model.metadata_props}
    assert facts["edge_mpq.target"] == "cpu-x86-vnni" and '"int4"' in facts["edge_mpq.plan"]
    onnx.checker.check_model(model, full_check=True)
    x = toys.pictures(2)
    assert np.array_equal(exported.answers(model, x), exported.answers(exported.float_onnx("residual"), x))


def test_a_model_without_hints_has_none():
    assert hints_into_onnx.read(exported.float_onnx("residual")) == {}


def test_hints_for_another_model_are_refused():
    with pytest.raises(ExportError, match="no node for layers encode.0, middle.0"):
        hints_into_onnx.write(exported.float_onnx("residual"), toys.planned("unet", "cpu-x86-vnni"))
