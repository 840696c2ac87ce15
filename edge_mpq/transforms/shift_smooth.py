"""SQ-b: shift each channel to its middle, then share its size between activation and weight.

Tai and Wu, MPTQ-ViT: Mixed-Precision Post-Training Quantization for Vision Transformer, arXiv
2401.14895, after SmoothQuant (smooth.py)::

    b = (max x + min x) / 2      s = max|x - b|**a / max|W|**(1 - a)      of each channel
    X' = (X - b) / s             W' = W diag(s)                           bias' = bias + W b

The paper's estimator of b and its a could not be read: the middle of the range and a search are a
reconstruction.  Every layer tries all of a = 0, 0.05, ... 1 with and without b, and leaving
things alone, and takes what errs least in its output when X' and W' are rounded on the target's
8-bit grids.  With its channels in the middle a tensor needs no zero point, which is what engines
without one (TensorRT) gain most from.

b and s move into the normalization, the values of attention or the layer before, where there is one
that can take them (_sites.py).  A linear without one (behind GELU) gets a Sub and a Mul before its
quantizer where they at least halve its error, and is left alone where they do not.
"""

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import fx

from edge_mpq import graph as ir
from edge_mpq import observers, quantizers
from edge_mpq.calibration import inputs_of
from edge_mpq.errors import CalibrationError
from edge_mpq.partial import PartialRun
from edge_mpq.progress import Progress, silent
from edge_mpq.quantizers.affine import weight_range
from edge_mpq.records import formats
from edge_mpq.records.target import Target
from edge_mpq.simulation import weight_axis
from edge_mpq.transforms._fold import fold, insert, scaled_inputs
from edge_mpq.transforms._sites import Site, sites

ALPHAS = tuple(step / 20 for step in range(21))
# A Sub and Mul of their own must leave at most this share of a layer's error to be worth running.
WORTH = 0.5
# What every layer's error is measured on: so many tokens, or places of so many pictures.
_ROWS, _PICTURES = 1024, 8
# Scales stay within a factor of this around their mean, so that a channel that calibration
# saw almost still cannot blow up on other pictures.
_SPREAD = 1e3


class Seen(NamedTuple):
    """What calibration saw of a tensor: least and greatest of each channel [C], and some of its values."""

    low: torch.Tensor
    high: torch.Tensor
    values: torch.Tensor


def apply(
    graph: fx.GraphModule, batches: Iterable = (), target: Target | None = None, progress: Progress = silent
) -> fx.GraphModule:
    """``graph`` with its channels shifted and smoothed; changed in place and returned.

    Left as it is for a target without 8-bit integers.  Raises CalibrationError without
    batches or target.
    """
    return rewritten(graph, batches, target, progress)


@torch.no_grad()
def rewritten(
    graph: fx.GraphModule,
    batches: Iterable,
    target: Target | None,
    progress: Progress = silent,
    shifts: bool = True,
    inserts: bool = True,
) -> fx.GraphModule:
    """:func:`apply`; without ``shifts`` by scales alone, without ``inserts`` with nothing added to the graph."""
    batches = list(batches)
    if target is None or not batches:
        raise CalibrationError("smoothing looks at what layers read", "give it batches of pictures and a target")
    if not target.has_int8:
        return graph
    symmetric = target.scheme.activation == "int8"
    found = sites(graph)
    bare = list(_bare(graph, found)) if inserts else []
    tensors = {reader.node.args[0] for site in found for reader in site.readers}
    seen = _seen(graph, tensors | {layers[0].args[0] for layers in bare}, batches, progress)
    for site in progress(found, "smoothing channels"):
        shift, scale, _ = searched(graph, site, seen, symmetric, shifts)
        fold(graph, site, shift, scale)
    for layers in progress(bare, "smoothing behind activations"):
        site = insert(graph, layers)
        known = {site.source: seen[site.source.args[0].args[0]]}
        shift, scale, share = searched(graph, site, known, symmetric, shifts)
        if share <= WORTH:
            fold(graph, site, shift, scale)
        else:
            _remove(graph, site)
    graph.graph.lint()
    graph.recompile()
    return graph


def searched(
    graph: fx.GraphModule, site: Site, seen: dict[fx.Node, Seen], symmetric: bool, shifts: bool
) -> tuple[torch.Tensor, torch.Tensor, float]:
    """(shift [C], scale [C], share of the error left) that err least at the readers' outputs.

    The error is that of int8 weights and activations, the latter ``symmetric`` or with a zero point.
    Candidates are held against each other with nothing clipped; the best then has to beat
    leaving things alone with the ranges that quantizing takes.
    """
    low, high, widest = _statistics(graph, site, seen)
    still, alone = torch.zeros_like(low), torch.ones_like(low)
    best, least = (still, alone), math.inf
    for shift in [still, (low + high) / 2] if shifts and site.shifts else [still]:
        shift = torch.where(site.free, shift, still)
        reach = torch.maximum((high - shift).abs(), (low - shift).abs())
        for alpha in ALPHAS:
            scale = torch.where(site.free, scales(reach, widest, alpha), alone)
            error = _error(graph, site, seen, shift, scale, symmetric, "minmax")
            if error < least:
                best, least = (shift, scale), error
    before, after = (_error(graph, site, seen, *moved, symmetric, "mse") for moved in ((still, alone), best))
    return (*best, after / before) if after < before else (still, alone, 1.0)


def scales(reach: torch.Tensor, widest: torch.Tensor, alpha: float) -> torch.Tensor:
    """max|x|**alpha / max|W|**(1 - alpha) of each channel [C], around a mean of one; one where either is zero."""
    alive = (reach > 0) & (widest > 0)
    logarithm = alpha * reach.clamp(min=1e-30).log() - (1 - alpha) * widest.clamp(min=1e-30).log()
    middle = logarithm[alive].mean() if alive.any() else 0.0
    scale = (logarithm - middle).exp().clamp(1 / _SPREAD, _SPREAD)
    return torch.where(alive, scale, torch.ones_like(scale))


def _statistics(
    graph: fx.GraphModule, site: Site, seen: dict[fx.Node, Seen]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Least and greatest value, and greatest weight over all readers, of each of the source's channels [C]."""
    count = len(site.free)
    low, high, widest = torch.full((count,), torch.inf), torch.full((count,), -torch.inf), torch.zeros(count)
    for reader in site.readers:
        known, weight = seen[reader.node.args[0]], ir.tensor_argument(graph, reader.node, 1)
        assert weight is not None
        low = low.scatter_reduce(0, reader.channels, known.low, "amin")
        high = high.scatter_reduce(0, reader.channels, known.high, "amax")
        widest = widest.scatter_reduce(0, reader.channels, _widest(weight, reader.node), "amax")
    unread = low > high
    return low.masked_fill(unread, 0.0), high.masked_fill(unread, 0.0), widest


def _widest(weight: torch.Tensor, node: fx.Node) -> torch.Tensor:
    """The greatest weight that meets each input channel of a layer: [C]."""
    if ir.WEIGHTED[node.target] == "conv_transpose2d":
        return weight.abs().flatten(1).amax(1)
    inputs = node.args[0].meta["val"].shape[1 if node.target in ir.CONV else -1]
    groups = int(inputs) // weight.shape[1]
    return weight.abs().reshape(groups, -1, weight.shape[1], weight[0, 0].numel()).amax((1, 3)).flatten()


@torch.no_grad()
def _error(
    graph: fx.GraphModule,
    site: Site,
    seen: dict[fx.Node, Seen],
    shift: torch.Tensor,
    scale: torch.Tensor,
    symmetric: bool,
    rule: str,
) -> float:
    """Squared error of the readers' outputs, per value, with (X - shift) / scale and its weights rounded.

    rule: the observer that ranges the activations.
    """
    total, form = 0.0, formats.get("int8")
    for reader in site.readers:
        node, values = reader.node, seen[reader.node.args[0]].values
        weight = ir.tensor_argument(graph, node, 1)
        assert weight is not None
        along = [-1, *[1] * (values.dim() - 2)] if node.target in ir.CONV else [-1]
        moved = values - shift[reader.channels].view(along)
        smooth = moved / scale[reader.channels].view(along)
        observer = observers.get(rule).Observer(form.bits, symmetric)
        observer.see(smooth)
        low, high = (torch.tensor([end]) for end in observer.range())
        scaled, axis = scaled_inputs(weight, scale[reader.channels], node), weight_axis(ir.WEIGHTED[node.target])
        rounded = quantizers.for_format(form).quantizer(form, *weight_range(scaled, axis), True, axis)(scaled)
        read = quantizers.for_format(form).quantizer(form, low, high, symmetric, None)(smooth)
        rest = node.args[3:]
        total += (node.target(read, rounded, None, *rest) - node.target(moved, weight, None, *rest)).square().mean()
    return float(total)


def _seen(graph: fx.GraphModule, tensors: set[fx.Node], batches: list, progress: Progress) -> dict[fx.Node, Seen]:
    run = PartialRun(graph)
    low: dict[fx.Node, torch.Tensor] = {}
    high: dict[fx.Node, torch.Tensor] = {}
    kept: dict[fx.Node, list[torch.Tensor]] = {}
    for batch in progress(batches, "looking at channels"):
        run.run(inputs_of(batch))
        for tensor in tensors:
            value = run.values[tensor]
            convolved = any(user.target in ir.CONV for user in tensor.users)
            rows = value.movedim(1 if convolved else -1, -1).flatten(0, -2)
            low[tensor] = torch.minimum(low.get(tensor, rows[0]), rows.amin(0))
            high[tensor] = torch.maximum(high.get(tensor, rows[0]), rows.amax(0))
            share = -(-(_PICTURES if convolved else _ROWS) // len(batches))
            kept.setdefault(tensor, []).append(value[:share] if convolved else rows[:: -(-len(rows) // share)])
    return {tensor: Seen(low[tensor], high[tensor], torch.cat(kept[tensor])) for tensor in tensors}


def _bare(graph: fx.GraphModule, found: list[Site]) -> Iterator[list[fx.Node]]:
    """Linears by the tensor they read, where no site covers it."""
    covered = {reader.node for site in found for reader in site.readers}
    reading: dict[fx.Node, list[fx.Node]] = {}
    for nodes in ir.weighted(graph).values():
        if len(nodes) == 1 and ir.WEIGHTED[nodes[0].target] == "linear" and nodes[0] not in covered:
            reading.setdefault(nodes[0].args[0], []).append(nodes[0])
    yield from reading.values()


def _remove(graph: fx.GraphModule, site: Site) -> None:
    """Take an inserted pair out again."""
    site.source.replace_all_uses_with(site.source.args[0].args[0])
    graph.graph.eliminate_dead_code()
    graph.recompile()
