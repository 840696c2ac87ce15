"""Small changes to a model: store a constant, lead readers to another tensor, take out what nobody reads."""

import numpy as np
import onnx
from onnx import numpy_helper

from export.lint.reading import Reading, every_node, inner_nodes


def names(model: onnx.ModelProto) -> set[str]:
    """Every name of a tensor or node."""
    graph = model.graph
    found = {item.name for item in (*graph.initializer, *graph.input, *graph.output)}
    for node in every_node(graph):
        found.update((node.name, *node.input, *node.output))
    return found


def unused(model: onnx.ModelProto, wanted: str) -> str:
    """``wanted``, or with a number behind where that is taken."""
    taken, name, count = names(model), wanted, 1
    while name in taken:
        name, count = f"{wanted}_{count}", count + 1
    return name


def store(model: onnx.ModelProto, wanted: str, values: np.ndarray | np.generic) -> str:
    """A new constant; its name."""
    values, name = np.array(values, order="C"), unused(model, wanted)
    model.graph.initializer.append(numpy_helper.from_array(values, name))
    return name


def lead(model: onnx.ModelProto, old: str, new: str, keep: onnx.NodeProto | None = None) -> None:
    """Every reader of ``old`` but ``keep`` reads ``new``."""
    for node in every_node(model.graph):
        if node is not keep:
            for index, name in enumerate(node.input):
                if name == old:
                    node.input[index] = new


def bypass(reading: Reading, dequantize: onnx.NodeProto, source: str) -> None:
    """Readers of a DQ read ``source`` instead; an output of the model keeps its name."""
    model, output = reading.model, dequantize.output[0]
    if output not in reading.outputs:
        lead(model, output, source)
        return
    writer = reading.writer.get(source)
    if writer is None or source in reading.outputs:
        dequantize.op_type = "Identity"
        dequantize.input[:] = [source]
        del dequantize.attribute[:]
        return
    model.graph.node.remove(dequantize)
    writer.output[list(writer.output).index(source)] = output
    lead(model, source, output)


def tidy(model: onnx.ModelProto) -> None:
    """Take out what nobody reads, put writers before readers, and forget types that may have changed."""
    graph = model.graph
    outputs = {item.name for item in graph.output}
    while True:
        used = outputs | {name for node in every_node(graph) for name in node.input}
        kept = [node for node in graph.node if not node.output or used & set(node.output)]
        if len(kept) == len(graph.node):
            break
        _replace(graph.node, kept)
    _replace(graph.initializer, [item for item in graph.initializer if item.name in used])
    _replace(graph.node, _sorted(list(graph.node)))
    del graph.value_info[:]


def _replace(field, items: list) -> None:
    copies = [type(item).FromString(item.SerializeToString()) for item in items]
    del field[:]
    field.extend(copies)


def _sorted(nodes: list[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """The nodes in their order, save that none stands before one it reads from."""
    writer = {name: index for index, node in enumerate(nodes) for name in node.output if name}
    reads = [
        sorted({writer[name] for part in (node, *inner_nodes(node)) for name in part.input if name in writer})
        for node in nodes
    ]
    done: set[int] = set()
    order: list[onnx.NodeProto] = []
    for start in range(len(nodes)):
        stack = [start]
        while stack:
            waiting = [index for index in reads[stack[-1]] if index not in done and index != stack[-1]]
            if stack[-1] in done:
                stack.pop()
            elif waiting:
                stack.append(waiting[0])
            else:
                done.add(stack[-1])
                order.append(nodes[stack.pop()])
    return order
