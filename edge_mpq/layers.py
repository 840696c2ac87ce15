"""torch graph -> [LayerSpec]: shapes, multiply-adds, and which layers share a decision."""

import math

from torch import fx

from edge_mpq import graph as ir
from edge_mpq.errors import ModelError
from edge_mpq.records.layer import LayerSpec


def layers_of(graph: fx.GraphModule) -> list[LayerSpec]:
    """Every weighted layer of a traced graph, in the order of its first use.

    Raises ModelError when there is none.
    """
    ties = _ties(graph)
    found = [_layer(name, nodes, ties.get(name)) for name, nodes in ir.weighted(graph).items()]
    if not found:
        raise ModelError("the model has no convolution or linear layer", "there is nothing to quantize")
    return found


def _layer(name: str, nodes: list[fx.Node], tie: str | None) -> LayerSpec:
    first = nodes[0]
    weight = tuple(int(extent) for extent in first.args[1].meta["val"].shape)
    kind = ir.WEIGHTED[first.target]
    return LayerSpec(
        name=name,
        kind=kind,
        weight_shape=weight,
        input_shape=ir.shape(first.args[0]),
        output_shape=ir.shape(first),
        macs=sum(_macs(node, kind, weight) for node in nodes),
        groups=_groups(first, kind),
        tie=tie,
    )


def _groups(node: fx.Node, kind: str) -> int:
    position = {"conv1d": 6, "conv2d": 6, "conv_transpose2d": 6}.get(kind)
    return int(node.args[position]) if position is not None and len(node.args) > position else 1


def _macs(node: fx.Node, kind: str, weight: tuple[int, ...]) -> int:
    """Multiply-adds of one application for one picture."""
    # Each place of the output meets every weight; of a transposed convolution, each place of the input.
    places = node.args[0] if kind == "conv_transpose2d" else node
    return math.prod(ir.shape(places)) // weight[0] * math.prod(weight)


def _ties(graph: fx.GraphModule) -> dict[str, str]:
    """layer -> the Add or Concat whose inputs it feeds together with another layer.

    Both inputs of a residual Add, and all of a Concat, must come in one activation
    format, or the engine converts one of them on every frame.
    """
    leader: dict[str, str] = {}

    def find(name: str) -> str:
        while leader.setdefault(name, name) != name:
            name = leader[name]
        return name

    for node in graph.graph.nodes:
        if node.target in ir.ADD:
            joined = [argument for argument in node.args[:2] if isinstance(argument, fx.Node)]
        elif node.target in ir.CONCAT:
            joined = list(node.args[0])
        else:
            continue
        names = [name for name in map(_source, joined) if name is not None]
        for name in names[1:]:
            leader[find(name)] = find(names[0])
    sizes: dict[str, int] = {}
    for name in list(leader):
        sizes[find(name)] = sizes.get(find(name), 0) + 1
    return {name: find(name) for name in leader if sizes[find(name)] > 1}


def _source(node: fx.Node) -> str | None:
    """The layer whose output ``node`` is, looking through activations and moves."""
    while node.op == "call_function" and node.target in ir.FUSED_ACTIVATIONS + ir.MOVES + ir.BATCH_NORM:
        node = node.args[0]
    known = node.op == "call_function" and node.target in ir.WEIGHTED and node.args[1].op == "get_attr"
    return ir.layer_name(node) if known else None
