"""decoder + its graph -> ONNX that writes text token by token, its keys and values remembered outside.

Inputs: ``tokens`` int64 [N, T] and of every block ``past_key_values.0.key``, ``.value``: float32
[N, heads, P, D / heads].  Outputs: ``logits`` float32 [N, V] of the last token, and ``present.0.key``,
``.value``, the past of what comes next.  N, T and P are free; P is 0 before the first token.  An integer
cache has two tensors for each of these, ``.key_codes`` int8 and ``.key_scale`` float32 [N, heads, P, 1],
and rounds and scales within the model.  Layers are called as in the plan.
"""

from collections.abc import Iterator, Mapping
from typing import cast

import onnx
import torch
from torch import fx, nn

from edge_mpq import graph as ir
from edge_mpq import simulation
from edge_mpq.decoder import FLOAT, Decoder, rounded
from edge_mpq.errors import ExportError
from edge_mpq.kv_cache import Cache
from edge_mpq.quantizers.blocks import BlockQuantizer
from export import blocks_into_onnx, newer_opset_of_onnx
from export.lint.editing import store, tidy
from export.onnx_from_torch import WEIGHTED_OPS, named, rename, translating

LINEAR = ir.aten.linear.default
# Texts, tokens and past tokens of the example: none of them equal, or they would count as one.
EXAMPLE = (2, 3, 4)


class _Step(nn.Module):
    """The step of a decoder as a function of tensors alone; its parameters keep their names."""

    def __init__(self, model: nn.Module, cache: Cache) -> None:
        super().__init__()
        self._modules.update(model._modules)
        self._parameters.update(model._parameters)
        self._buffers.update(model._buffers)
        self.step, self.cache = cast(Decoder, model).step, cache

    def forward(
        self, tokens: torch.Tensor, past: list[tuple[torch.Tensor, ...]]
    ) -> tuple[torch.Tensor, list[tuple[torch.Tensor, ...]]]:
        logits, present = self.step(tokens, past, self.cache, last=True)
        return logits.squeeze(2), present


def onnx_from_decoder(model: nn.Module, graph: fx.GraphModule, cache: Cache = FLOAT) -> onnx.ModelProto:
    """The float ONNX of ``model``, an edge_mpq.decoder.Decoder, with the parameters of a graph traced from it.

    Raises ModelError where the graph is no mere re-weighting of the model (edge_mpq.decoder.rounded),
    ExportError where torch cannot translate the step.
    """
    step = _Step(rounded(model, graph), cache)
    texts, tokens, before = EXAMPLE
    past = [
        tuple(part.new_ones(texts, part.shape[1], before, part.shape[3]) for part in block)
        for block in cast(Decoder, model).nothing(texts, cache)
    ]
    free = torch.export.Dim.DYNAMIC
    extents = ({0: free, 1: free}, [tuple({0: free, 2: free} for _ in block) for block in past])
    with translating():
        example = torch.zeros(texts, tokens, dtype=torch.int64), past
        program = torch.export.export(step, example, dynamic_shapes=extents)
        parameters = program.graph_signature.inputs_to_parameters
        layers = {}
        for node in program.graph.nodes:
            node.meta["custom"] = {ir.NAME: node.name}
            if node.target == LINEAR and node.args[1].name in parameters:
                layers[node.name] = parameters[node.args[1].name].removesuffix(".weight")
        written = named(program, layers, ["tokens", *_names("past_key_values", len(past), cache)])
    outputs = ["logits", *_names("present", len(past), cache)]
    rename(written, {item.name: name for item, name in zip(written.graph.output, outputs, strict=True)})
    onnx.checker.check_model(written)
    return written


def quantized_onnx(float_onnx: onnx.ModelProto, graph: fx.GraphModule, quantized: fx.GraphModule) -> onnx.ModelProto:
    """The ONNX of :func:`onnx_from_decoder` with the weights, grids and biases of a simulation of ``graph``.

    Block-wise weights become DequantizeLinear -> MatMul (export.blocks_into_onnx).  Raises ExportError for
    weights on any other grid, rounded activations, or parameters beside the layers that differ.
    """
    layers = {name: nodes[0] for name, nodes in ir.weighted(quantized).items()}
    grids = {name: simulation.weight_quantizer(quantized, name) for name in layers}
    _refuse(graph, quantized, grids)
    blocked = {name: grid for name, grid in grids.items() if isinstance(grid, BlockQuantizer)}
    model = onnx.ModelProto()
    model.CopyFrom(float_onnx)
    if blocked:
        narrow = any(blocks_into_onnx.container(grid) == 2 for grid in blocked.values())
        model = newer_opset_of_onnx.raised(model, blocks_into_onnx.TWO_BITS if narrow else blocks_into_onnx.BLOCKED)
    written = set()
    for node in list(model.graph.node):
        if node.name not in layers or node.op_type not in WEIGHTED_OPS:
            continue
        source, bias = ir.weight_of(layers[node.name]), ir.tensor_argument(quantized, layers[node.name], 2)
        if node.name in blocked and source is not None:
            weight = ir.attribute(quantized, str(source.target)).detach()
            blocks_into_onnx.write(model, node, blocked[node.name], weight)
        if bias is not None:
            _place_bias(model, node, bias)
        written.add(node.name)
    assert written == set(layers), set(layers) - written
    tidy(model)
    onnx.checker.check_model(model)
    return model


def _refuse(graph: fx.GraphModule, quantized: fx.GraphModule, grids: Mapping[str, nn.Module | None]) -> None:
    """Raise ExportError with every fault of a simulation that this ONNX cannot express."""
    faults = [
        f"layer {name!r} has weights on a {type(grid).__name__}"
        for name, grid in grids.items()
        if grid is not None and not isinstance(grid, BlockQuantizer)
    ]
    activations = len(list(quantized.get_submodule(simulation.ACTIVATIONS).children()))
    if activations:
        faults.append(f"{activations} activations are rounded")
    written = {path for name in grids for path in (name + ".weight", name + ".bias")}
    floats = {name for name, grid in grids.items() if grid is None}
    known = dict(graph.named_parameters())
    for path, value in quantized.named_parameters():
        expressed = path in written and path.removesuffix(".weight") not in floats
        if not expressed and not torch.equal(value, known[path]):
            faults.append(f"{path!r} differs from the float model's")
    if faults:
        raise ExportError(
            "a decoder cannot be written so: " + "; ".join(faults[:8]), "plan it with fp32 and blocks such as w8b32"
        )


def _place_bias(model: onnx.ModelProto, node: onnx.NodeProto, bias: torch.Tensor) -> None:
    """Store the bias [K] that is added to what ``node`` writes."""
    constants = {item.name for item in model.graph.initializer}
    adder = next(other for other in model.graph.node if other.op_type == "Add" and node.output[0] in other.input)
    place = next(index for index, name in enumerate(adder.input) if name in constants)
    adder.input[place] = store(model, node.name + ".bias", bias.detach().numpy())


def _names(prefix: str, blocks: int, cache: Cache) -> Iterator[str]:
    """The tensors of a past, in their order."""
    for block in range(blocks):
        for role in ("key", "value"):
            for part in cache.parts:
                yield f"{prefix}.{block}.{role}{part}"
