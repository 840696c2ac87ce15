"""Language models that write token by token, and the weights of a simulated graph in them.

A graph computes all logits of a window at once; an engine that writes text remembers keys and
values instead.  Both are forms of one model (apps/models/gpt.py), with the same parameters.

Axis letters: N texts, T tokens, P tokens before them, V words.
"""

import copy
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import fx, nn

from edge_mpq import graph as ir
from edge_mpq import simulation
from edge_mpq.errors import ModelError
from edge_mpq.kv_cache import Cache, FloatCache

FLOAT = FloatCache()
# What two orders of the same sums may differ by, of the greatest logit.
TOLERANCE = 1e-3


class Decoder(Protocol):
    """A module whose forward takes tokens int64 [N, T] to logits [N, V, T], and that can also go on from a past.

    A past holds for every block the parts of its keys and then of its values, [N, heads, P, ...] each.
    """

    def step(
        self, tokens: torch.Tensor, past: Sequence[Sequence[torch.Tensor]], cache: Cache, last: bool = False
    ) -> tuple[torch.Tensor, list[tuple[torch.Tensor, ...]]]:
        """Logits [N, V, T] of tokens behind ``past`` ([N, V, 1] with ``last``), and the past of what comes next."""

    def nothing(self, texts: int, cache: Cache) -> list[tuple[torch.Tensor, ...]]:
        """The past of ``texts`` texts before their first token."""


@torch.no_grad()
def rounded(model: nn.Module, quantized: fx.GraphModule) -> nn.Module:
    """``model`` with the parameters of a graph traced from it, weights on their grids; both are left alone.

    quantized: simulated (edge_mpq.simulation) or plain.  Only rounded weights are new in memory.
    Raises ModelError where the graph computes what parameters alone do not tell: rounded
    activations, a transform that added operations, or a step that differs from the forward.
    """
    own = copy.deepcopy(model, {id(value): value for value in (*model.parameters(), *model.buffers())})
    simulated = hasattr(quantized, simulation.WEIGHTS)
    if simulated and any(True for _ in quantized.get_submodule(simulation.ACTIVATIONS).children()):
        raise ModelError("the plan rounds activations", "a decoder that writes text takes weights only: w8b32, w4b32")
    known = dict(own.named_parameters(remove_duplicate=False))
    strange = [name for name, _ in quantized.named_parameters() if name not in known]
    if strange:
        raise ModelError(f"the graph has parameters the model lacks ({', '.join(strange[:5])})", "apply no transform")
    for name, value in quantized.named_parameters():
        _place(own, name, value)
    for name, nodes in ir.weighted(quantized).items():
        grid = simulation.weight_quantizer(quantized, name) if simulated else None
        source = ir.weight_of(nodes[0])
        if grid is not None and source is not None:
            _place(own, str(source.target), grid(ir.attribute(quantized, str(source.target))))
    _check(own, quantized)
    return own.eval()


def _place(model: nn.Module, path: str, value: torch.Tensor) -> None:
    place, _, name = path.rpartition(".")
    setattr(model.get_submodule(place), name, nn.Parameter(value.detach(), requires_grad=False))


def _check(model: nn.Module, quantized: fx.GraphModule) -> None:
    """Raise ModelError unless the model's step answers as the graph does."""
    wide = ir.inputs(quantized).meta["val"].shape[1]
    words = ir.shape(ir.outputs(quantized))[0]
    tokens = (torch.arange(2 * wide).view(2, wide) * 7) % words
    decoder: Decoder = model  # type: ignore[assignment]
    said, _ = decoder.step(tokens, decoder.nothing(2, FLOAT), FLOAT)
    known = quantized(tokens)
    if not torch.allclose(said, known, rtol=0, atol=TOLERANCE * known.abs().max().item()):
        raise ModelError("the model's step answers otherwise than its graph", "apply no transform")
