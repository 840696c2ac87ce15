"""decoder + its graph -> ONNX that writes text token by token, its keys and values remembered outside.

Inputs: ``tokens`` int64 [N, T] and of every block ``past_key_values.0.key``, ``.value``: float32
[N, heads, P, D / heads].  Outputs: ``logits`` float32 [N, V] of the last token, and ``present.0.key``,
``.value``, the past of what comes next.  N, T and P are free; P is 0 before the first token.  An integer
cache has two tensors for each of these, ``.key_codes`` int8 and ``.key_scale`` float32 [N, heads, P, 1],
and rounds and scales within the model.  Layers are called as in the plan.
"""

from collections.abc import Iterator
from typing import cast

import onnx
import torch
from torch import fx, nn

from edge_mpq import graph as ir
from edge_mpq import simulation
from edge_mpq.decoder import FLOAT, Decoder, rounded
from edge_mpq.errors import ExportError
from edge_mpq.kv_cache import Cache
from edge_mpq.records.target import Target
from export import bundle_from_torch
from export.bundle_from_torch import Quantized
from export.onnx_from_torch import named, rename, translating

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
        names = {nodes[0].name: name for name, nodes in ir.weighted(graph).items()}
        sources = {name: source for source, name in names.items()}
        for node in program.graph.nodes:
            node.meta["custom"] = {ir.NAME: node.name}
            if node.target == LINEAR and node.args[1].name in parameters:  # it comes from where the graph's layer does
                layer = parameters[node.args[1].name].removesuffix(".weight")
                node.meta["custom"] = {ir.NAME: sources[layer]}
        written = named(program, names, ["tokens", *_names("past_key_values", len(past), cache)])
    outputs = ["logits", *_names("present", len(past), cache)]
    rename(written, {item.name: name for item, name in zip(written.graph.output, outputs, strict=True)})
    onnx.checker.check_model(written)
    return written


def quantized_onnx(
    float_onnx: onnx.ModelProto, graph: fx.GraphModule, quantized: Quantized, target: Target
) -> onnx.ModelProto:
    """The ONNX of :func:`onnx_from_decoder` with the weights, grids and biases of a quantized form of ``graph``.

    Raises ExportError for rounded activations, parameters beside the layers that differ, and weights that
    no way out of export.bundle_from_torch can write.
    """
    faults = []
    activations = len(list(quantized.model.get_submodule(simulation.ACTIVATIONS).children()))
    if activations:
        faults.append(f"{activations} activations are rounded")
    layers = {f"{name}.{role}" for name in ir.weighted(quantized.model) for role in ("weight", "bias")}
    known = dict(graph.named_parameters())
    for path, value in quantized.model.named_parameters():
        if path not in layers and not torch.equal(value, known[path]):
            faults.append(f"{path!r} differs from the float model's")
    if faults:
        raise ExportError("no decoder can be written: " + "; ".join(faults[:8]), "round weights alone: w8b32, w4b32")
    return bundle_from_torch.quantized_onnx(float_onnx, graph, quantized, target)


def _names(prefix: str, blocks: int, cache: Cache) -> Iterator[str]:
    """The tensors of a past, in their order."""
    for block in range(blocks):
        for role in ("key", "value"):
            for part in cache.parts:
                yield f"{prefix}.{block}.{role}{part}"
