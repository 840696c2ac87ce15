"""A graph at another input size: what is convolutional follows and answers as torch does, what is tied is refused."""

import functools

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from edge_mpq.errors import ExportError
from edge_mpq.simulation import prepared
from export import onnx_at_size, onnx_from_torch


class Free(nn.Module):
    """Convolutions and a mean: any size will do."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 8, 3, 2, 1), nn.Linear(8, 4)

    def forward(self, x):
        return self.head(self.stem(x).relu().mean((2, 3)))


class Maps(nn.Module):
    """A map of half the size."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 2, 1)

    def forward(self, x):
        return self.head(self.stem(x).relu())


class Flat(nn.Module):
    """A layer for so many pixels and no other number."""

    def __init__(self, fixed: bool) -> None:
        super().__init__()
        self.fixed = fixed
        self.stem, self.head = nn.Conv2d(3, 8, 3, 2, 1), nn.Linear(8 * 64, 4)

    def forward(self, x):
        x = self.stem(x).relu()
        return self.head(x.reshape(-1, 512) if self.fixed else x.flatten(1))


class Places(nn.Module):
    """A table of positions, one row a pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 8, 3, 2, 1), nn.Linear(8, 4)
        self.places = nn.Parameter(torch.randn(1, 8, 8, 8))

    def forward(self, x):
        return self.head((self.stem(x) + self.places).relu().mean((2, 3)))


@functools.cache
def exported(kind: type[nn.Module], *given: bool) -> tuple[nn.Module, onnx.ModelProto]:
    """A model and its ONNX for 16 x 16 pixels."""
    model = kind(*given).eval()
    return model, onnx_from_torch.onnx_from_graph(prepared(model, torch.zeros(1, 3, 16, 16)), 17)


@pytest.mark.parametrize("model", [Free, Maps])
@pytest.mark.parametrize("size", [(24, 24), (8, 40), (17, 15)])
def test_what_follows_answers_as_torch_at_that_size(model, size) -> None:
    made, graph = exported(model)
    before = graph.SerializeToString()
    other = onnx_at_size.resized(graph, *size)
    assert graph.SerializeToString() == before  # the one given stays as it is
    pictures = np.random.default_rng(0).standard_normal((2, 3, *size)).astype(np.float32)
    session = onnxruntime.InferenceSession(other.SerializeToString())
    assert session.get_inputs()[0].shape[2:] == list(size)
    said = session.run(None, {session.get_inputs()[0].name: pictures})[0]
    with torch.no_grad():
        assert said == pytest.approx(made(torch.from_numpy(pictures)).numpy(), abs=1e-5)
    assert onnx_at_size.resized(graph, 16, 16) is graph


@pytest.mark.parametrize("model", [(Flat, False), (Flat, True), (Places,)], ids=["flatten", "reshape", "positions"])
def test_what_is_tied_to_its_size_is_refused_with_the_mend(model) -> None:
    _, graph = exported(*model)
    with pytest.raises(ExportError, match=r"does not take 32 x 48 pixels.*edge-mpq quantize --size 32 48"):
        onnx_at_size.resized(graph, 48, 32)


def test_what_takes_no_pictures_is_refused() -> None:
    graph = onnx.ModelProto()
    graph.CopyFrom(exported(Free)[1])
    graph.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "rows"
    with pytest.raises(ExportError, match="not .N, C, H, W. of a known size"):
        onnx_at_size.resized(graph, 24, 24)
