"""Q/DQ in models that the exporter writes in unusual ways: biases it leaves out, layers applied twice."""

import functools

import onnx
import pytest
import torch
from torch import fx, nn
from torch.nn import functional

from edge_mpq import quantizing, simulation
from edge_mpq.layers import layers_of
from edge_mpq.records import plan as plans
from edge_mpq.records import target as targets
from export import onnx_from_torch, qdq_into_onnx
from tests import toys
from tests.export import exported

pytest.importorskip("onnxruntime")

VNNI, ORIN = "cpu-x86-vnni", "jetson-orin-nano"


class NoBias(nn.Module):
    """Biases of zeros, which the exporter leaves out, in every kind of layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.up = nn.Conv2d(3, 8, 3, padding=1), nn.ConvTranspose2d(8, 8, 2, 2, groups=2)
        self.tokens, self.head = nn.Linear(8, 6), nn.Linear(6, 4)
        for layer in (self.conv, self.up, self.tokens, self.head):
            nn.init.zeros_(layer.get_parameter("bias"))

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.up(functional.relu(self.conv(pictures))))
        return self.head(functional.relu(self.tokens(x.flatten(2).transpose(1, 2))).mean(1))


class Twice(nn.Module):
    """A convolution and a linear that are applied twice, to tensors of other ranges."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 3, padding=1)
        self.linear, self.head = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.conv(5 * functional.relu(self.conv(self.stem(pictures)))))
        x = functional.relu(self.linear(x.flatten(2).transpose(1, 2))).mean(1)  # over tokens,
        return self.head(functional.relu(self.linear(x)))  # and over channels


@functools.cache
def unusual(model: type[nn.Module]) -> tuple[fx.GraphModule, onnx.ModelProto]:
    """The graph and the float ONNX of a model with random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        graph = simulation.prepared(model(), toys.pictures(1))
    return graph, onnx_from_torch.onnx_from_graph(graph, 18)


@pytest.mark.parametrize("board", [VNNI, ORIN])
@pytest.mark.parametrize("model", [NoBias, Twice])
def test_biases_of_zeros_and_shared_layers_compute_the_simulation(model, board, tmp_path, capsys):
    graph, floats = unusual(model)
    target = targets.get(board)
    plan = plans.uniform(layers_of(graph), target, "int8", "int8")
    quantized, _ = quantizing.quantize(graph, plan, toys.batches())
    made = qdq_into_onnx.insert(floats, graph, quantized, plan, target)
    onnx.checker.check_model(made, full_check=True)
    assert "share the same name" not in "".join(capsys.readouterr())
    names = [item.name for item in (*made.graph.initializer, *made.graph.node)]
    assert len(names) == len(set(names))
    x = toys.pictures(128, seed=25)
    exported.agree(quantized, exported.answers(made, x), x)
    if exported.EXACT_INTEGERS:
        exported.agree(quantized, exported.engine(made, tmp_path).infer(x.numpy())[0], x)


@pytest.mark.parametrize(("board", "stored"), [(VNNI, ".weight_codes"), (ORIN, ".weight")])
def test_the_weight_of_a_shared_layer_is_stored_once(board, stored):
    graph, floats = unusual(Twice)
    target = targets.get(board)
    plan = plans.uniform(layers_of(graph), target, "int8", "int8")
    quantized, _ = quantizing.quantize(graph, plan, toys.batches())
    arrays = exported.constants(qdq_into_onnx.insert(floats, graph, quantized, plan, target))
    # The linear is stored twice, once as it is and once transposed: over tokens it is a MatMul.
    found = sorted(name for name in arrays if name.endswith(stored))
    assert len(found) == 5 and [name for name in found if name.startswith("conv")] == ["conv" + stored]
