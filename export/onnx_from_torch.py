"""torch graph -> float ONNX whose tensors and nodes carry the graph's names.

A weighted layer's node is called like the layer (``layer1.0.conv1``), every other node
like the tensor it writes, and tensors are called as in the torch graph, so that plans,
ranges and engine profiles speak of the same things.  The source text, file paths and
stack traces that the exporter leaves in a model are taken out.
"""

import contextlib
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence

import onnx
import torch
from torch import fx

from edge_mpq import graph as ir
from edge_mpq.errors import ExportError
from export import older_opset_of_onnx

NEWEST_OPSET = 18
WEIGHTED_OPS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
ORIGIN = "pkg.torch.onnx.fx_node"
SOURCE = "edge_mpq.source"


def onnx_from_graph(graph: fx.GraphModule, opset: int) -> onnx.ModelProto:
    """A traced graph (edge_mpq.graph.trace) as ONNX of at most ``opset``, batch axis free.

    Each node's metadata ``edge_mpq.source`` names the graph node it came from.  Raises
    ExportError when the exporter cannot translate an operation, or when ``opset`` is older
    than an operation of the model.
    """
    example = ir.inputs(graph).meta["val"]
    pair = torch.zeros(2, *ir.shape(ir.inputs(graph)), dtype=example.dtype)
    layers = {node.name: name for name, nodes in ir.weighted(graph).items() for node in nodes}
    with translating():
        program = torch.export.export(graph, (pair,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
        model = named(program, layers, [ir.inputs(graph).name])
    if opset < NEWEST_OPSET:
        model = older_opset_of_onnx.lower(model, opset)
    onnx.checker.check_model(model)
    return model


@contextlib.contextmanager
def translating() -> Iterator[None]:
    """Quiet and without gradients; what torch raises becomes an ExportError."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it warns of torchvision not being there
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:
        text = str(error).strip().splitlines()
        raise ExportError(
            f"torch cannot write this model as ONNX ({text[0] if text else error})", "see the cause"
        ) from error
    finally:
        logger.setLevel(level)


def named(exported: torch.export.ExportedProgram, layers: Mapping[str, str], inputs: Sequence[str]) -> onnx.ModelProto:
    """The ONNX of a program whose nodes say where they come from (edge_mpq.graph.NAME), named after that.

    layers: node that applies a weight -> the layer it is.  inputs: their names, in order.
    """
    program = torch.onnx.export(exported, dynamo=True, opset_version=NEWEST_OPSET, optimize=True, verbose=False)
    assert program is not None and program.exported_program is not None
    model: onnx.ModelProto = program.model_proto
    origins = _origins(program.exported_program)
    _name_nodes(model, layers, origins)
    rename(model, {item.name: name for item, name in zip(model.graph.input, inputs, strict=True)})
    _rename_values(model, {name: original for original, name in _results(origins).items()})
    _forget_origins(model)
    return model


def _origins(program: torch.export.ExportedProgram) -> dict[str, str]:
    """decomposed node -> node of the traced graph, in order.

    The exporter decomposes operations and numbers them anew; edge_mpq.graph.trace left
    every node its own name in a field that survives this.
    """
    return {
        node.name: node.meta["custom"][ir.NAME]
        for node in program.graph.nodes
        if node.op == "call_function" and ir.NAME in node.meta.get("custom", {})
    }


def _results(origins: dict[str, str]) -> dict[str, str]:
    """traced node -> the last node it was decomposed into, which is its result."""
    return {original: name for name, original in origins.items()}


def rename(model: onnx.ModelProto, names: Mapping[str, str]) -> None:
    """Call tensors otherwise: the exporter calls inputs like the arguments, which may be Python names."""
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for item in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        item.name = names.get(item.name, item.name)


def _rename_values(model: onnx.ModelProto, names: dict[str, str]) -> None:
    written = {output for node in model.graph.node for output in node.output}
    taken = {names[name] for name in written if name in names}
    kept = {item.name for item in (*model.graph.initializer, *model.graph.input)}

    def renamed(name: str) -> str:
        if name in names and name in written:
            return names[name] if names[name] not in kept else name
        return name + "_inner" if name in written and name in taken else name

    for node in model.graph.node:
        node.input[:] = [renamed(name) for name in node.input]
        node.output[:] = [renamed(name) for name in node.output]
    for item in (*model.graph.output, *model.graph.value_info):
        item.name = renamed(item.name)


def _name_nodes(model: onnx.ModelProto, layers: Mapping[str, str], origins: Mapping[str, str]) -> None:
    # A tensor may be called like a layer (``self.linear``): the layer's name is its own.
    reserved, taken = set(layers.values()), set[str]()
    for node in model.graph.node:
        text = next((item.value for item in node.metadata_props if item.key == ORIGIN), "")
        decomposed = text[1:].split(" ", 1)[0]
        source = origins.get(node.output[0], origins.get(decomposed, ""))
        weighted = source in layers and node.op_type in WEIGHTED_OPS
        base = layers[source] if weighted else source or node.output[0]
        name, count = base, len(taken)
        while name in taken or (name in reserved and not (weighted and name == base)):
            name, count = f"{base}_{count}", count + 1
        node.name = name
        taken.add(name)
        del node.metadata_props[:]
        node.metadata_props.add(key=SOURCE, value=source)


def _forget_origins(model: onnx.ModelProto) -> None:
    """Drop stack traces and paths of the machine that exported."""
    del model.metadata_props[:], model.graph.metadata_props[:]
    model.doc_string = model.graph.doc_string = ""
    model.producer_name, model.producer_version = "edge-mpq", ""
    for item in (*model.graph.input, *model.graph.output, *model.graph.value_info, *model.graph.initializer):
        del item.metadata_props[:]
        item.doc_string = ""
    for node in model.graph.node:
        node.doc_string = ""
    model.graph.name = "edge-mpq"


def source_of(node: onnx.NodeProto) -> str:
    """The graph node an ONNX node came from, '' where the exporter invented it."""
    return next((item.value for item in node.metadata_props if item.key == SOURCE), "")
