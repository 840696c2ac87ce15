"""Rewrites for ONNX Runtime's CPU kernels: not one bit of an answer changes, and each rewrite is reached."""

import functools
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from export import onnx_for_cpu
from tests import toys
from tests.export import exported

pytest.importorskip("onnxruntime")


@functools.cache
def quantized(kind: str, weight: str = "int8") -> onnx.ModelProto:
    return exported.deployed(kind, toys.planned(kind, "cpu-x86-vnni", weight))[1]


@pytest.mark.parametrize("kind", toys.KINDS)
@pytest.mark.parametrize("weight", ["int8", "int4"])
def test_answers_keep_every_bit(kind, weight, tmp_path):
    plain = quantized(kind, weight)
    before = plain.SerializeToString()
    tuned = onnx_for_cpu.tune(plain)
    assert plain.SerializeToString() == before
    onnx.checker.check_model(tuned, full_check=True)
    x = toys.pictures(64, seed=31)
    assert np.array_equal(exported.answers(tuned, x), exported.answers(plain, x))
    fast, slow = (exported.engine(model, tmp_path).infer(x.numpy())[0] for model in (tuned, plain))
    assert np.array_equal(fast, slow)


@pytest.mark.parametrize("kind", toys.KINDS)
def test_layers_keep_their_names_and_a_second_time_changes_nothing(kind):
    tuned = onnx_for_cpu.tune(quantized(kind))
    names = [node.name for node in tuned.graph.node]
    assert len(names) == len(set(names)) and {layer.name for layer in toys.layers(kind)} <= set(names)
    assert exported.operations(onnx_for_cpu.tune(tuned)) == exported.operations(tuned)


@pytest.mark.parametrize("kind", ["residual", "shortcut"])
def test_from_the_input_s_q_to_the_head_all_is_integer(kind, tmp_path):
    ran = exported.optimized(onnx_for_cpu.tune(quantized(kind)), tmp_path)
    assert (ran["QuantizeLinear"], ran["DequantizeLinear"]) == (1, 0)
    assert ran["QLinearGlobalAveragePool"] == 1


# Each rewrite, on the toy that has something for it.


def test_moves_slices_and_pads_shift_codes():
    plain, tuned = quantized("shortcut"), onnx_for_cpu.tune(quantized("shortcut"))
    made = {output: node for node in tuned.graph.node for output in node.output}
    moved = [node for node in tuned.graph.node if node.op_type in ("Slice", "Pad") and node.name != "stem.0_pad"]
    assert len(moved) == 2
    for node in moved:
        assert made[node.input[0]].op_type in ("QuantizeLinear", "Slice")
    before, after = exported.operations(plain), exported.operations(tuned)
    assert before["QuantizeLinear"] - after["QuantizeLinear"] == 3  # behind two slices and a pad


def test_slices_along_other_axes_become_one():
    assert exported.operations(quantized("shortcut"))["Slice"] == 2
    assert exported.operations(onnx_for_cpu.tune(quantized("shortcut")))["Slice"] == 1


@pytest.mark.parametrize("kind", ["residual", "shortcut"])
def test_a_mean_over_the_whole_map_becomes_a_global_pool(kind):
    assert exported.operations(quantized(kind))["ReduceMean"] == 1
    tuned = exported.operations(onnx_for_cpu.tune(quantized(kind)))
    assert (tuned["ReduceMean"], tuned["GlobalAveragePool"]) == (0, 1)


def test_the_first_layer_gets_a_fourth_channel_of_zeros():
    tuned = onnx_for_cpu.tune(quantized("residual"))
    arrays = exported.constants(tuned)
    codes = arrays["stem.0.weight_codes"]
    assert codes.shape == (8, 4, 3, 3) and not codes[:, 3].any() and codes[:, :3].any()
    (pad,) = [node for node in tuned.graph.node if node.op_type == "Pad"]
    assert arrays[pad.input[1]].tolist() == [0, 0, 0, 0, 0, 1, 0, 0]
    assert arrays[pad.input[2]] == arrays["pictures_zero"]  # what is added stands for zero
    assert arrays["one.0.weight_codes"].shape == (8, 8, 3, 3)


# What must stay.


def chain(*nodes: onnx.NodeProto, shape=(4, 6, 6), **arrays: np.ndarray) -> onnx.ModelProto:
    """x -> nodes -> y."""
    graph = helper.make_graph(
        list(nodes),
        "chain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *shape])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def moved(op: str, second_scale: float = 0.1, inputs: tuple[str, ...] = (), **attributes: Any) -> onnx.ModelProto:
    """Q, DQ, an operation with inputs a and b, Q, DQ."""
    node = helper.make_node
    model = chain(
        node("QuantizeLinear", ["x", "s", "z"], ["q"], name="q1"),
        node("DequantizeLinear", ["q", "s", "z"], ["d"], name="d1"),
        node(op, ["d", *inputs], ["m"], name="it", **attributes),
        node("QuantizeLinear", ["m", "t", "z"], ["r"], name="q2"),
        node("DequantizeLinear", ["r", "t", "z"], ["y"], name="d2"),
        s=np.array(0.1, np.float32),
        t=np.array(second_scale, np.float32),
        z=np.array(100, np.uint8),
        pads=np.array([0, 1, 0, 0, 0, 1, 0, 0], np.int64),
        fill=np.array(2.0, np.float32),
        nothing=np.array(0.0, np.float32),
        first=np.array([1], np.int64),
        last=np.array([3], np.int64),
    )
    used = {name for item in model.graph.node for name in item.input}
    kept = [item for item in model.graph.initializer if item.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    return model


MOVES = {
    "slice": (lambda: moved("Slice", inputs=("first", "last", "first")), 1),
    "pad with zeros": (lambda: moved("Pad", inputs=("pads",)), 1),
    "pad with a written zero": (lambda: moved("Pad", inputs=("pads", "nothing")), 1),
    "reflecting pad": (lambda: moved("Pad", inputs=("pads",), mode="reflect"), 1),
    "pad with twos, which may not be on the grid": (lambda: moved("Pad", inputs=("pads", "fill")), 2),
    "slice to another grid": (lambda: moved("Slice", 0.2, inputs=("first", "last", "first")), 2),
    "another operation": (lambda: moved("Softmax"), 2),
}


@pytest.mark.parametrize("case", MOVES)
def test_only_moves_on_one_grid_are_done_on_codes(case):
    make, left = MOVES[case]
    plain = make()
    tuned = onnx_for_cpu.tune(plain)
    assert exported.operations(tuned)["QuantizeLinear"] == left
    x = toys.torch.randn(2, 4, 6, 6, generator=toys.torch.Generator().manual_seed(0)) * 5
    assert np.array_equal(exported.answers(tuned, x), exported.answers(plain, x))


POOLS: dict[str, tuple[dict[str, Any], str]] = {
    "whole average": (dict(op="AveragePool", kernel_shape=[6, 6]), "GlobalAveragePool"),
    "part of it": (dict(op="AveragePool", kernel_shape=[3, 6]), "AveragePool"),
    "padded": (dict(op="AveragePool", kernel_shape=[6, 6], pads=[1, 1, 1, 1]), "AveragePool"),
    "mean of rows and columns": (dict(op="ReduceMean", axes=[-1, 2]), "GlobalAveragePool"),
    "mean of channels": (dict(op="ReduceMean", axes=[1]), "ReduceMean"),
    "mean without the axes": (dict(op="ReduceMean", axes=[2, 3], keepdims=0), "ReduceMean"),
}


@pytest.mark.parametrize("case", POOLS)
def test_only_averages_over_the_whole_map_become_global(case):
    facts, expected = POOLS[case]
    attributes = {key: value for key, value in facts.items() if key not in ("op", "axes")}
    arrays = {"axes": np.array(facts["axes"], np.int64)} if "axes" in facts else {}
    plain = chain(helper.make_node(facts["op"], ["x", *arrays], ["y"], name="it", **attributes), **arrays)
    tuned = onnx_for_cpu.tune(plain)
    assert [node.op_type for node in tuned.graph.node] == [expected]
    x = toys.torch.randn(2, 4, 6, 6, generator=toys.torch.Generator().manual_seed(0))
    np.testing.assert_allclose(exported.answers(tuned, x), exported.answers(plain, x), rtol=1e-5, atol=1e-6)


def sliced_twice(first: tuple[int, int], second: tuple[int, int]) -> onnx.ModelProto:
    """Two slices, each (axis, start) to the end."""
    arrays = {"end": np.array([6], np.int64), "one": np.array([1], np.int64)}
    for index, (axis, start) in enumerate((first, second)):
        arrays |= {f"axis{index}": np.array([axis], np.int64), f"start{index}": np.array([start], np.int64)}
    nodes = [
        helper.make_node("Slice", ["x", "start0", "end", "axis0", "one"], ["m"], name="a"),
        helper.make_node("Slice", ["m", "start1", "end", "axis1", "one"], ["y"], name="b"),
    ]
    return chain(*nodes, **arrays)


@pytest.mark.parametrize(("second", "left"), [((3, 2), 1), ((2, 1), 2), ((-1, 2), 2)])
def test_only_slices_along_other_axes_are_merged(second, left):
    plain = sliced_twice((2, 1), second)
    tuned = onnx_for_cpu.tune(plain)
    assert exported.operations(tuned)["Slice"] == left
    x = toys.torch.randn(2, 4, 6, 6, generator=toys.torch.Generator().manual_seed(0))
    assert np.array_equal(exported.answers(tuned, x), exported.answers(plain, x))


@pytest.mark.parametrize("kind", ["residual", "unet"])
def test_a_float_model_keeps_its_answers(kind):
    plain, x = exported.float_onnx(kind), toys.pictures(4)
    tuned = onnx_for_cpu.tune(plain)
    np.testing.assert_allclose(exported.answers(tuned, x), exported.answers(plain, x), rtol=1e-5, atol=1e-6)
