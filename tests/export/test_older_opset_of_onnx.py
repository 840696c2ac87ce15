"""Older opsets: the same answers as the newest, operation by operation, or a refusal that names the node."""

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from edge_mpq.errors import ExportError
from edge_mpq.records import target as targets
from export import older_opset_of_onnx
from tests import toys
from tests.export import exported

pytest.importorskip("onnxruntime")

OLDER = [13, 14, 15, 16, 17]


def model(op: str, *constants: np.ndarray | None, outputs: int = 1, **attributes: Any) -> onnx.ModelProto:
    """One node of opset 18 on a float input [N, 4, 6, 6]; None leaves an optional input out."""
    names = ["" if value is None else f"c{index}" for index, value in enumerate(constants)]
    results = [f"y{index}" for index in range(outputs)]
    node = helper.make_node(op, ["x", *names], results, name="it", **attributes)
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4, 6, 6])],
        [onnx.ValueInfoProto(name=name) for name in results],
        [numpy_helper.from_array(v, n) for v, n in zip(constants, names, strict=True) if v is not None],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return onnx.shape_inference.infer_shapes(made)


def values(made: onnx.ModelProto, x: np.ndarray) -> list[np.ndarray]:
    import onnxruntime

    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})


@pytest.mark.parametrize("kind", toys.KINDS)
@pytest.mark.parametrize("opset", [13, 17])
def test_toys_answer_the_same(kind, opset):
    newest, older = exported.float_onnx(kind), exported.float_onnx(kind, opset)
    onnx.checker.check_model(older, full_check=True)
    assert [(item.domain, item.version) for item in older.opset_import] == [("", opset)]
    assert older.ir_version == older_opset_of_onnx.IR_VERSIONS[opset]
    x = toys.pictures(3, seed=opset)
    assert np.abs(exported.answers(older, x) - exported.answers(newest, x)).max() < 1e-6
    names = {node.name for node in older.graph.node}
    assert len(names) == len(older.graph.node)
    assert {layer.name for layer in toys.layers(kind)} <= names
    used = {name for node in older.graph.node for name in node.input}
    assert {item.name for item in older.graph.initializer} <= used


def integers(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


def floats(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


ONES = {
    "mean over axes": lambda: model("ReduceMean", integers(2, 3), keepdims=0),
    "mean over the last": lambda: model("ReduceMean", integers(-1)),
    "mean over all": lambda: model("ReduceMean", keepdims=1),
    "mean over nothing": lambda: model("ReduceMean", noop_with_empty_axes=1),
    "mean over an empty list, which is all": lambda: model("ReduceMean", integers(), keepdims=1),
    "mean over an empty list, which is nothing": lambda: model("ReduceMean", integers(), noop_with_empty_axes=1),
    "max": lambda: model("ReduceMax", integers(1)),
    "sum of squares": lambda: model("ReduceSumSquare", integers(1, 2)),
    "zero pad": lambda: model("Pad", integers(0, 1, 0, 2, 0, 0, 3, 1)),
    "constant pad": lambda: model("Pad", integers(0, 1, 0, 2, 0, 0, 3, 1), np.array(2.5, np.float32)),
    "reflecting pad": lambda: model("Pad", integers(0, 0, 1, 2, 0, 0, 3, 1), mode="reflect"),
    "edge pad": lambda: model("Pad", integers(0, 0, 1, 2, 0, 0, 3, 1), mode="edge"),
    "even split": lambda: model("Split", outputs=2, axis=1, num_outputs=2),
    "uneven split": lambda: model("Split", integers(1, 3), outputs=2, axis=1),
    "reshape": lambda: model("Reshape", integers(0, -1)),
    "reshape of the newer kind": lambda: model("Reshape", integers(-1, 6), allowzero=1),
    "shape": lambda: model("Shape"),
    "part of a shape": lambda: model("Shape", start=1, end=3),
    "end of a shape": lambda: model("Shape", start=-2),
    "nearest resize": lambda: model("Resize", None, np.array([1, 1, 2, 2], np.float32), mode="nearest"),
    "linear resize": lambda: model("Resize", None, None, integers(2, 4, 9, 5), mode="linear"),
    "hard swish": lambda: model("HardSwish"),
    "layer norm": lambda: model("LayerNormalization", floats(6), floats(6), epsilon=1e-3),
    "layer norm without shift": lambda: model("LayerNormalization", floats(6)),
    "softmax": lambda: model("Softmax", axis=1),
}


@pytest.mark.parametrize("opset", OLDER)
@pytest.mark.parametrize("case", ONES)
def test_each_operation_answers_the_same(case, opset):
    newest = ONES[case]()
    before = newest.SerializeToString()
    older = older_opset_of_onnx.lower(newest, opset)
    onnx.checker.check_model(older)
    assert newest.SerializeToString() == before
    x = 3 * floats(2, 4, 6, 6)
    for one, other in zip(values(older, x), values(newest, x), strict=True):
        assert one.shape == other.shape and np.abs(one - other).max() <= 1e-5 * np.abs(other).max()


def test_a_node_s_metadata_goes_along():
    newest = model("LayerNormalization", floats(6), floats(6))
    newest.graph.node[0].metadata_props.add(key="edge_mpq.source", value="norm")
    for node in older_opset_of_onnx.lower(newest, 13).graph.node:
        assert [(item.key, item.value) for item in node.metadata_props] == [("edge_mpq.source", "norm")]


REFUSED = {
    "is a Mish": (lambda: model("Mish"), 17),
    "is a GridSample": (lambda: model("GridSample", floats(2, 5, 5, 2)), 15),
    "pads chosen axes": (lambda: model("Pad", integers(1, 1), np.array(0, np.float32), integers(2)), 17),
    "resizes with antialias": (
        lambda: model("Resize", None, None, integers(2, 4, 3, 3), mode="linear", antialias=1),
        17,
    ),
    "reshapes to an extent of zero": (lambda: model("Reshape", integers(0, 6), allowzero=1), 13),
    "normalizes from axis 2": (lambda: model("LayerNormalization", floats(6, 6), axis=2), 16),
}


@pytest.mark.parametrize("said", REFUSED)
def test_what_has_no_older_form_is_refused_by_name(said):
    make, opset = REFUSED[said]
    with pytest.raises(ExportError, match=f"node 'it' {said}") as caught:
        older_opset_of_onnx.lower(make(), opset)
    assert caught.value.mend


def test_axes_that_are_computed_are_refused():
    newest = model("ReduceMean", integers(2))
    newest.graph.node[0].input[1] = "x"
    with pytest.raises(ExportError, match="'it' computes its axes"):
        older_opset_of_onnx.lower(newest, 13)


@pytest.mark.parametrize("opset", [12, 18, 19])
def test_opsets_outside_the_range_are_refused(opset):
    with pytest.raises(ExportError, match=f"opset {opset} is not one of 13 to 17"):
        older_opset_of_onnx.lower(model("Relu"), opset)


@torch.no_grad()
def test_every_target_s_opset_can_be_written():
    x = toys.pictures(2)
    for name in targets.names():
        made = exported.float_onnx("transformer", min(18, targets.get(name).opset))
        assert np.abs(exported.answers(made, x) - toys.model("transformer")(x).numpy()).max() < 1e-5
