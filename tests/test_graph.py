"""Tracing: one flat graph whose names last, however the model is written; errors for what cannot be traced."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from edge_mpq import graph as ir
from edge_mpq.errors import ModelError
from tests import toys


def traced(model: nn.Module, example: torch.Tensor | None = None) -> torch.fx.GraphModule:
    return ir.trace(model, toys.pictures(1) if example is None else example)


class InPlace(nn.Module):
    """A residual block as it is mostly written: everything overwrites something."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 1), nn.Linear(4, 3)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        x = functional.relu6(self.one(pictures), inplace=True)
        x += self.two(pictures)
        x = functional.relu(x, inplace=True)
        return self.head(x.mean((2, 3)))


class ThroughViews(nn.Module):
    """Writes through views of a tensor, which only the operations in place get right."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        x = self.conv(pictures) + 1
        x[:, 0] += 1
        x.view(x.shape[0], -1).mul_(2)
        return x.sum((2, 3))


class Lambda(nn.Module):
    def __init__(self, function) -> None:
        super().__init__()
        self.conv, self.function = nn.Conv2d(3, 4, 1), function

    def forward(self, pictures):
        return self.function(self.conv(pictures))


@pytest.mark.parametrize("kind", toys.KINDS)
@torch.no_grad()
def test_a_traced_graph_computes_the_model_for_any_batch(kind):
    graph = traced(toys.model(kind))
    for count in (1, 2, 7):
        x = toys.pictures(count, seed=count)
        assert torch.allclose(graph(x), toys.model(kind)(x), atol=1e-5)


def test_a_traced_graph_is_traced_once():
    graph = traced(toys.model("residual"))
    assert traced(graph) is graph


@pytest.mark.parametrize("model", [InPlace(), ThroughViews()], ids=["in place", "through views"])
@torch.no_grad()
def test_operations_in_place_compute_the_same(model):
    graph, x = traced(model), toys.pictures(3)
    before = x.clone()
    assert torch.allclose(graph(x), model(x), atol=1e-6)
    assert torch.equal(x, before)


def test_nothing_overwrites_what_is_read_again():
    targets = {str(node.target) for node in traced(InPlace()).graph.nodes}
    assert {"aten.relu6.default", "aten.add.Tensor", "aten.relu.default"} <= targets
    assert not any(target.split(".")[1].endswith("_") for target in targets if target.startswith("aten."))


def test_the_caller_s_model_is_left_as_it_was():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model[1].eval()
    graph = traced(model)
    assert [part.training for part in model.modules()] == [True, True, False] and not graph.training
    for parameter in graph.parameters():
        assert parameter.requires_grad
        parameter.data.fill_(0)
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_what_does_nothing_at_inference_is_gone():
    graph = traced(nn.Sequential(Lambda(lambda x: x[:, :]), nn.Dropout(0.5), nn.Identity()))
    assert [str(node.target) for node in graph.graph.nodes if node.op == "call_function"] == ["aten.conv2d.default"]
    sliced = traced(Lambda(lambda x: x[:, :, ::2]))
    slices = [node for node in sliced.graph.nodes if node.target == ir.aten.slice.Tensor]
    assert len(slices) == 1 and slices[0].args[4] == 2


def test_parameters_keep_their_paths_and_every_node_its_name():
    graph = traced(toys.model("residual"))
    assert {"stem.0.weight", "down.1.running_mean", "head.bias"} <= set(graph.state_dict())
    assert all(node.meta["custom"][ir.NAME] == node.name for node in graph.graph.nodes)


def test_layers_are_called_by_their_modules_in_order_of_use():
    names = list(ir.weighted(toys.graph("residual")))
    assert names[:4] == ["stem.0", "one.0", "two.0", "down.0"] and names[-1] == "head"
    assert list(ir.weighted(toys.graph("transformer")))[1:3] == ["attention.in_proj", "attention.out_proj"]


def test_a_weight_that_is_computed_is_no_layer():
    class Product(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.gain = nn.Conv2d(3, 4, 1), nn.Parameter(torch.ones(4, 1, 1, 1))

        def forward(self, pictures):
            return functional.conv2d(pictures, self.conv.weight * self.gain)

    assert ir.weighted(traced(Product())) == {}


def test_layers_are_found_behind_their_quantizers_too():
    quantized = toys.simulated("residual", toys.planned("residual", "cpu-x86-vnni"))
    assert list(ir.weighted(quantized)) == list(ir.weighted(toys.graph("residual")))


def test_a_tail_is_behind_the_activation_that_reads_alone():
    graph = toys.graph("residual")
    (stem,), (two,) = ir.weighted(graph)["stem.0"], ir.weighted(graph)["two.0"]
    assert ir.tail(stem).name == "relu" and ir.tail(two) is two
    (add,) = two.users
    assert ir.followed_by(stem, ir.ADD) is None and ir.followed_by(two, ir.ADD) is add


def test_shapes_leave_out_the_pictures_wherever_they_stand():
    graph = toys.graph("transformer")
    assert ir.shape(ir.inputs(graph)) == (3, 16, 16) and ir.shape(ir.outputs(graph)) == (toys.CLASSES,)
    (first,), (merged,) = ir.weighted(graph)["attention.in_proj"], ir.weighted(graph)["attention.out_proj"]
    assert ir.shape(first) == (16, 48)  # [tokens, N, channels]
    assert ir.shape(merged) == (16, 16)  # [tokens x N, channels]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(value):
    norm = nn.BatchNorm2d(4)
    norm.get_buffer("running_var")[2] = value
    model = nn.Sequential(nn.Conv2d(3, 4, 1), norm)
    with pytest.raises(ModelError, match="not finite: 1.running_var"):
        traced(model)


@pytest.mark.parametrize(
    "function",
    [lambda x: x.view(2, -1), lambda x: x * 2 if x.sum() > 0 else x, lambda x: x.missing, lambda x: x @ x[:, :, :5]],
    ids=["fixed batch", "branch on values", "attribute error", "wrong shapes"],
)
def test_what_cannot_be_traced_is_one_error_with_a_mend(function):
    with pytest.raises(ModelError, match="cannot trace Lambda .*leave the batch size free"):
        traced(Lambda(function))


def test_several_outputs_are_refused():
    with pytest.raises(ModelError, match="returns 2 tensors; wrap it"):
        traced(Lambda(lambda x: (x, x + 1)))
    graph = traced(Lambda(lambda x: (x,)))
    assert ir.outputs(graph).name == "conv2d"


class TiedHead(nn.Module):
    """A head that applies the embedding: as another module's parameter, or as itself."""

    def __init__(self, by_name: bool) -> None:
        super().__init__()
        self.wte, self.by_name = nn.Embedding(7, 4), by_name
        if by_name:
            self.head = nn.Linear(4, 7, bias=False)
            self.head.weight = self.wte.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.wte(tokens)
        return self.head(x) if self.by_name else functional.linear(x, self.wte.weight)


@pytest.mark.parametrize("by_name", [True, False])
@torch.no_grad()
def test_an_embedding_that_is_the_head_too_does_not_follow_the_head(by_name):
    tokens, model = torch.arange(6).view(2, 3), TiedHead(by_name).eval()
    graph = traced(model, tokens)
    (layer,) = ir.weighted(graph)
    assert torch.equal(graph(tokens), model(tokens))
    embedded = model.wte(tokens)
    ir.set_parameter(graph, layer + ".weight", torch.zeros(7, 4))
    assert not graph(tokens).any()
    (lookup,) = graph.graph.find_nodes(op="call_function", target=ir.aten.embedding.default)
    assert torch.equal(ir.attribute(graph, lookup.args[0].target)[tokens], embedded)
    assert model.wte.weight.any()
