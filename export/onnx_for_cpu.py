"""Quantized ONNX -> the same function in the shape that ONNX Runtime's CPU kernels like.

Each rewrite keeps the computed values (rounding included) and removes a cost that was
measured on ResNet-20 (benchmarks/cpu_rewrites.py prints what each is worth):

moves: Slice and Pad between integer tensors work on the integers, not on floats between
a DQ and a Q.  slices: a Slice of a Slice along other axes is one Slice.  pool: an average
over a whole map is GlobalAveragePool.  channels: a first layer of 3 input channels gets
a fourth that is zero, so that four products fill one VNNI lane.
"""

from collections.abc import Callable

import numpy as np
import onnx
import onnx_graphsurgeon as gs

CHANNELS_A_LANE = 4


def tune(model: onnx.ModelProto, without: str = "") -> onnx.ModelProto:
    """``model`` rewritten; the input is left as it was.  ``without`` leaves one rewrite out, to measure it."""
    surgeon = gs.import_onnx(onnx.shape_inference.infer_shapes(model))
    for name, rewrite in REWRITES.items():
        if name != without:
            rewrite(surgeon)
            surgeon.cleanup()
    surgeon.toposort()
    tuned = gs.export_onnx(surgeon)
    del tuned.graph.value_info[:]
    tuned.ir_version, tuned.producer_name = model.ir_version, model.producer_name
    onnx.checker.check_model(tuned)
    return tuned


def _only(items: list) -> gs.Node | None:
    return items[0] if len(items) == 1 else None


def _same_grid(one: gs.Node, other: gs.Node) -> bool:
    return all(
        isinstance(mine, gs.Constant) and isinstance(theirs, gs.Constant) and np.array_equal(mine.values, theirs.values)
        for mine, theirs in zip(one.inputs[1:], other.inputs[1:], strict=True)
    )


def _moves(surgeon: gs.Graph) -> None:
    """DQ -> Slice or Pad -> Q on one grid: move the codes."""
    for node in list(surgeon.nodes):
        if node.op not in ("Slice", "Pad"):
            continue
        before = _only(node.inputs[0].inputs)
        after = _only(node.outputs[0].outputs)
        if before is None or after is None or before.op != "DequantizeLinear" or after.op != "QuantizeLinear":
            continue
        if not _same_grid(before, after):
            continue
        codes = gs.Variable(node.outputs[0].name + "_moved", before.inputs[2].values.dtype)
        moved = gs.Node(node.op, node.name, attrs=dict(node.attrs), inputs=list(node.inputs), outputs=[codes])
        moved.inputs[0] = before.inputs[0]
        if node.op == "Pad":
            if len(node.inputs) > 2 and not (
                isinstance(node.inputs[2], gs.Constant) and not node.inputs[2].values.any()
            ):
                continue  # only zero is known to be on the grid
            if node.attrs.get("mode", "constant") == "constant":
                zero = gs.Constant(node.name + "_fill", np.array(before.inputs[2].values))
                moved.inputs = [*moved.inputs[:2], zero, *moved.inputs[3:]]
        surgeon.nodes.append(moved)
        written = after.outputs[0]
        for reader in list(written.outputs):
            reader.inputs = [codes if item is written else item for item in reader.inputs]
        node.outputs.clear()
        after.outputs.clear()


def _slices(surgeon: gs.Graph) -> None:
    """Slice of a Slice along other axes: one Slice of both."""
    for node in list(surgeon.nodes):
        first = _only(node.inputs[0].inputs) if node.op == "Slice" else None
        if first is None or first.op != "Slice" or len(first.outputs[0].outputs) != 1:
            continue
        both = [first.inputs[1:], node.inputs[1:]]
        if not all(len(part) == 4 and all(isinstance(item, gs.Constant) for item in part) for part in both):
            continue
        if (
            set(first.inputs[3].values) & set(node.inputs[3].values)
            or min(*first.inputs[3].values, *node.inputs[3].values) < 0
        ):
            continue
        merged = [
            gs.Constant(f"{node.name}_both_{index}", np.concatenate([one.values, other.values]))
            for index, (one, other) in enumerate(zip(*both, strict=True))
        ]
        node.inputs = [first.inputs[0], *merged]
        first.outputs.clear()


def _pool(surgeon: gs.Graph) -> None:
    """An average over all of H and W: GlobalAveragePool."""
    for node in surgeon.nodes:
        shape = node.inputs[0].shape if node.inputs else None
        if node.op == "AveragePool" and shape is not None and len(shape) == 4:
            whole = node.attrs.get("kernel_shape") == list(shape[2:])
            if whole and not any(node.attrs.get("pads", [0])) and not node.attrs.get("ceil_mode", 0):
                node.op, node.attrs = "GlobalAveragePool", {}
        elif node.op == "ReduceMean" and node.attrs.get("keepdims", 1) == 1 and shape is not None and len(shape) == 4:
            axes = node.attrs.get("axes")
            if axes is None and len(node.inputs) > 1 and isinstance(node.inputs[1], gs.Constant):
                axes = node.inputs[1].values.tolist()
            if axes is not None and sorted(axis % 4 for axis in axes) == [2, 3]:
                node.op, node.attrs, node.inputs = "GlobalAveragePool", {}, node.inputs[:1]


def _channels(surgeon: gs.Graph) -> None:
    """Input codes of 3 channels: a fourth of zeros, and weights of zero for it."""
    for node in list(surgeon.nodes):
        if node.op != "Conv" or node.attrs.get("group", 1) != 1:
            continue
        data, weight = _only(node.inputs[0].inputs), _only(node.inputs[1].inputs)
        if data is None or weight is None or {data.op, weight.op} != {"DequantizeLinear"}:
            continue
        stored = weight.inputs[0]
        source = _only(data.inputs[0].inputs)
        from_input = source is not None and source.op == "QuantizeLinear" and source.inputs[0] in surgeon.inputs
        if not from_input or not isinstance(stored, gs.Constant) or stored.values.shape[1] != CHANNELS_A_LANE - 1:
            continue
        if stored.values.ndim != 4 or len(data.outputs[0].outputs) != 1:
            continue
        pads = np.array([0, 0, 0, 0, 0, 1, 0, 0], np.int64)
        padded = gs.Variable(node.name + "_four_channels", data.inputs[2].values.dtype)
        inputs = [data.inputs[0], gs.Constant(node.name + "_pads", pads)]
        inputs.append(gs.Constant(node.name + "_fill", np.array(data.inputs[2].values)))
        surgeon.nodes.append(gs.Node("Pad", node.name + "_pad", inputs=inputs, outputs=[padded]))
        data.inputs[0] = padded
        wider = np.concatenate([stored.values, np.zeros_like(stored.values[:, :1])], axis=1)
        weight.inputs[0] = gs.Constant(stored.name, wider)


REWRITES: dict[str, Callable[[gs.Graph], None]] = {
    "moves": _moves,
    "slices": _slices,
    "pool": _pool,
    "channels": _channels,
}
