"""Batch normalization in quantization-aware training: what is rounded is what will be deployed.

Deployed, a normalization is part of the weight before it.  So while training the weight is
scaled by gamma / sigma of the *running* statistics, rounded, and scaled back, and the layer's
output is normalized with the statistics of the batch; late in training the running statistics
take the batch's place, and the layer computes exactly its folded form.  Krishnamoorthi,
Quantizing deep convolutional networks for efficient inference, arXiv 1806.08342, section 3.2.2,
after Jacob et al., arXiv 1712.05877; scaling the weight back in place of the output is ours.

Axis letters: N pictures, C channels, K output channels.
"""

from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional

from edge_mpq import graph as ir
from edge_mpq.transforms.batchnorm_fold import factor_of, folded_bias, groups_of, scaled_channels

# torch's own, for models that average over all batches (momentum None), which is 0 in a traced graph.
MOMENTUM = 0.1
# A channel that the normalization mutes cannot be scaled back, and is left at its own size.
LEAST_FACTOR = 1e-12


class Normalization(nn.Module):
    """A normalization that folds into no layer: by the batch while training, else by running statistics."""

    def __init__(self, node: fx.Node):
        super().__init__()
        self.momentum, self.eps = node.args[6] or MOMENTUM, node.args[7]

    def forward(
        self,
        values: torch.Tensor,
        gain: torch.Tensor | None,
        shift: torch.Tensor | None,
        mean: torch.Tensor,
        variance: torch.Tensor,
    ) -> torch.Tensor:
        """values: [N, K, ...]; the rest [K].  ``mean`` and ``variance`` are moved while training."""
        return functional.batch_norm(values, mean, variance, gain, shift, self.training, self.momentum, self.eps)


class NormalizedLayer(nn.Module):
    """A convolution or linear with the normalization that folds into it, its weight rounded by ``grid``.

    Without a grid the layer trains as in any float model, and is never frozen: the control
    that quantization-aware training of nothing is plain training.
    """

    def __init__(self, layer: fx.Node, norm: fx.Node, grid: nn.Module | None):
        super().__init__()
        self.operation: Any = layer.target
        self.kind, self.groups, self.rest = ir.WEIGHTED[layer.target], groups_of(layer), tuple(layer.args[3:])
        self.norm, self.grid = Normalization(norm), grid
        self.frozen = False

    def forward(
        self,
        values: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        gain: torch.Tensor | None,
        shift: torch.Tensor | None,
        mean: torch.Tensor,
        variance: torch.Tensor,
    ) -> torch.Tensor:
        """values: the layer's input; the rest as in the float model."""
        if self.training and not (self.frozen and self.grid is not None):
            if self.grid is not None:
                weight = self._rounded(weight, gain, variance)
            return self.norm(self.operation(values, weight, bias, *self.rest), gain, shift, mean, variance)
        factor = factor_of(gain, variance, self.norm.eps)
        weight = scaled_channels(weight, factor, self.kind, self.groups)
        if self.grid is not None:
            weight = self.grid(weight)
        return self.operation(values, weight, folded_bias(bias, factor, shift, mean), *self.rest)

    def _rounded(self, weight: torch.Tensor, gain: torch.Tensor | None, variance: torch.Tensor) -> torch.Tensor:
        """The weight on the grid of its folded form, at its own size."""
        assert self.grid is not None
        factor = factor_of(gain, variance, self.norm.eps).detach()
        factor = torch.where(factor.abs() > LEAST_FACTOR, factor, torch.ones_like(factor))
        there = self.grid(scaled_channels(weight, factor, self.kind, self.groups))
        return scaled_channels(there, 1 / factor, self.kind, self.groups)


def place(model: fx.GraphModule, folded: fx.GraphModule, grids: dict[str, nn.Module]) -> set[str]:
    """Make every normalization of a traced ``model`` trainable, in place; the layers that now hold theirs.

    folded: the same graph with its normalizations folded, whose node names ``model`` keeps.
    grids: layer name -> what rounds its weight.
    """
    kept = {node.name for node in folded.graph.nodes}
    norms = [node for node in model.graph.nodes if node.op == "call_function" and node.target in ir.BATCH_NORM]
    names = {node: name for name, nodes in ir.weighted(model).items() for node in nodes}
    holder = nn.Module()
    model.add_module("normalized", holder)
    done = set()
    for norm in norms:
        if norm.args[5]:  # without running statistics it is by the batch always
            continue
        if norm.name in kept:
            _become(norm, f"normalized.{norm.name}", norm.args[:5])
            holder.add_module(norm.name, Normalization(norm))
            continue
        layer = norm.args[0]
        name = names[layer]
        made = NormalizedLayer(layer, norm, grids.get(name))
        bias = layer.args[2] if len(layer.args) > 2 else None
        holder.add_module(layer.name, made)
        with model.graph.inserting_before(layer):  # which reads them earlier than the normalization did
            statistics = [None if value is None else model.graph.get_attr(value.target) for value in norm.args[1:5]]
        _become(layer, f"normalized.{layer.name}", (*layer.args[:2], bias, *statistics))
        norm.replace_all_uses_with(layer)
        model.graph.erase_node(norm)
        done.add(name)
    return done


def _become(node: fx.Node, target: str, arguments: tuple) -> None:
    """Turn a node into a call of a module under its old name, by which plans and ranges know its tensor."""
    node.op, node.target, node.args, node.kwargs = "call_module", target, arguments, {}
