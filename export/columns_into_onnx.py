"""ONNX + simulated graph -> ONNX whose layers with unlike bits by input are one product for each type, and their sum.

W x = W_2 x_2 + W_4 x_4 + ...: a Gather sorts the inputs by the type that holds their weights' codes, a Split
takes them apart, each part is a block-wise weight of export.blocks_into_onnx, which ONNX Runtime
fuses into one MatMulNBits, and inputs whose weights stay float are a MatMul.  Blocks of one bit travel with those of
two, blocks of three with those of four, so the parts are fewer than the widths.

Axis letters: K outputs, C inputs, B blocks of an output.
"""

from typing import NamedTuple

import numpy as np
import onnx
import torch
from onnx import helper
from torch import fx

from edge_mpq import graph as ir
from edge_mpq import simulation
from edge_mpq.errors import ExportError
from edge_mpq.quantizers.blocks import BlockQuantizer
from edge_mpq.records.target import Target
from export import newer_opset_of_onnx
from export.blocks_into_onnx import (
    BLOCKED,
    TWO_BITS,
    as_product,
    containers,
    dequantized,
    is_split,
    places,
)
from export.lint.editing import store, tidy, unused


class Part(NamedTuple):
    """Inputs of one type: their places among all [n], and the grid of their weights, None where those stay float."""

    inputs: torch.Tensor
    grid: BlockQuantizer | None


def insert(
    model: onnx.ModelProto,
    float_onnx: onnx.ModelProto,
    graph: fx.GraphModule,
    quantized: fx.GraphModule,
    target: Target,
) -> onnx.ModelProto:
    """``model`` with the block-wise weights of unlike bits of ``quantized``; itself where there are none.

    float_onnx: the model as the exporter made it from ``graph``, whose nodes say where they come
    from.  Raises ExportError where a layer is not in the ONNX, or wants a type that ``target`` has not.
    """
    grids = {name: simulation.weight_quantizer(quantized, name) for name in ir.weighted(graph)}
    split = {name: grid for name, grid in grids.items() if isinstance(grid, BlockQuantizer) and is_split(grid)}
    if not split:
        return model
    missing = {
        form: name
        for name, grid in split.items()
        for form in (f"int{width}b{grid.block}" for width in containers(grid))
        if form not in target.weight_formats
    }
    if missing:
        what = ", ".join(f"{form} for layer {name!r}" for form, name in missing.items())
        raise ExportError(f"{target.name} has no {what}", "round without unlike bits in a layer")
    narrow = any(2 in containers(grid) for grid in split.values())
    raised = newer_opset_of_onnx.raised(model, TWO_BITS if narrow else BLOCKED)
    for name, source, node in places(raised, float_onnx, graph, split):
        weight = ir.attribute(quantized, str(source.args[1].target)).detach().flatten(1)
        _write(raised, node, parts_of(split[name]), weight)
    tidy(raised)
    onnx.checker.check_model(raised)
    return raised


def parts_of(grid: BlockQuantizer) -> list[Part]:
    """The inputs of each type, the narrowest first, and those whose weights stay float."""
    held, stays = torch.tensor(containers(grid)), grid.stays()
    parts = []
    for width in held.unique():
        chosen = held == width
        inputs = chosen.repeat_interleave(grid.block).nonzero()[:, 0]
        kept = stays[inputs].nonzero()[:, 0]
        mine = grid.scale[:, chosen], grid.zero[:, chosen], grid.bits[chosen], grid.symmetric, grid.block, kept
        parts.append(Part(inputs, BlockQuantizer(*mine)))
    return parts + [Part(grid.kept, None)] * (len(grid.kept) > 0)


def _write(model: onnx.ModelProto, node: onnx.NodeProto, parts: list[Part], weight: torch.Tensor) -> None:
    """Make ``node``, which multiplies by a weight [K, C], the sum of the products of its ``parts``."""
    as_product(model, node)
    name, result = node.name, node.output[0]
    titles = [name] + [unused(model, f"{name}_part{index}") for index in range(1, len(parts))]
    made, read = _taken_apart(model, name, node.input[0], [part.inputs for part in parts])
    products = [unused(model, title + "_product") for title in titles]
    for title, part, given, product in zip(titles, parts, read, products, strict=True):
        mine = weight[:, part.inputs]
        ready = (
            store(model, title + ".weight_float", mine.numpy().T)
            if part.grid is None
            else dequantized(model, title, part.grid, mine)
        )
        if title == name:
            node.input[:], node.output[0] = [given, ready], product
        else:
            made.append(helper.make_node("MatMul", [given, ready], [product], name=title))
    total = products[0]
    for index, product in enumerate(products[1:], 1):
        added = result if index == len(products) - 1 else unused(model, f"{name}_sum{index}")
        made.append(helper.make_node("Add", [total, product], [added], name=unused(model, f"{name}_add{index}")))
        total = added
    place = list(model.graph.node).index(node)
    for step in reversed(made):
        model.graph.node.insert(place + 1, step)


def _taken_apart(
    model: onnx.ModelProto, name: str, source: str, inputs: list[torch.Tensor]
) -> tuple[list[onnx.NodeProto], list[str]]:
    """The nodes that give the ``inputs`` of each part from the last axis of tensor ``source``; what they write."""
    order = store(model, name + ".inputs", torch.cat(inputs).numpy())
    sizes = store(model, name + ".sizes", np.array([len(part) for part in inputs], np.int64))
    sorted_, written = unused(model, name + "_sorted"), [unused(model, f"{name}_in{i}") for i in range(len(inputs))]
    gather = helper.make_node("Gather", [source, order], [sorted_], name=unused(model, name + "_gather"), axis=-1)
    split = helper.make_node("Split", [sorted_, sizes], written, name=unused(model, name + "_split"), axis=-1)
    return [gather, split], written
