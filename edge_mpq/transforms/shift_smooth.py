"""SQ-b: shift each channel to its middle, then share its size between activation and weight.

Tai and Wu, MPTQ-ViT: Mixed-Precision Post-Training Quantization for Vision Transformer, arXiv
2401.14895, after SmoothQuant (smooth.py)::

    b = (max x + min x) / 2      s = max|x - b|**a / max|W|**(1 - a)      of each channel
    X' = (X - b) / s             W' = W diag(s)                           bias' = bias + W b

The paper's estimator of b and its a could not be read: the middle of the range and a search are a
reconstruction.  Every layer tries all of a = 0, 0.05, ... 1 with and without b, and leaving
things alone, and takes what errs least in its output when X' and W' are rounded on the target's
8-bit grids, on pictures that did not set those grids.  With its channels in the middle a tensor needs
no zero point, which is what engines without one (TensorRT) gain most from.

b and s move into the normalization, the values of attention or the layer before, where there is one
that can take them (_sites.py).  A linear without one (behind GELU) gets a Sub and a Mul before its
quantizer where they at least halve its error, and is left alone where they do not.
"""

from collections.abc import Iterable, Iterator

import torch
from torch import fx

from edge_mpq import graph as ir
from edge_mpq import observers, quantizers
from edge_mpq.errors import CalibrationError
from edge_mpq.progress import Progress, silent
from edge_mpq.records import formats
from edge_mpq.records.target import Target
from edge_mpq.simulation import weight_axis
from edge_mpq.transforms._channels import Channels, Reach, Seen, halves, reach_of, seen
from edge_mpq.transforms._fold import fold, insert, scaled_inputs
from edge_mpq.transforms._sites import Reader, Site, sites

ALPHAS = tuple(step / 20 for step in range(21))
# A Sub and Mul of their own must leave at most this share of a layer's error to be worth running.
WORTH = 0.5
# Scales stay within a factor of this around their mean, so that a channel that calibration
# saw almost still cannot blow up on other pictures.
_SPREAD = 1e3


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
    tensors |= {layers[0].args[0] for layers in bare}
    known, fresh = (seen(graph, tensors, half, progress) for half in halves(batches))
    for site in progress(found, "smoothing channels"):
        shift, scale, _ = searched(graph, site, known, fresh, symmetric, shifts)
        fold(graph, site, shift, scale)
    for layers in progress(bare, "smoothing behind activations"):
        site = insert(graph, layers)
        before = site.source.args[0].args[0]
        one, other = ({site.source: half[before]} for half in (known, fresh))
        shift, scale, share = searched(graph, site, one, other, symmetric, shifts)
        if share <= WORTH:
            fold(graph, site, shift, scale)
        else:
            _remove(graph, site)
    graph.graph.lint()
    graph.recompile()
    return graph


@torch.no_grad()
def searched(
    graph: fx.GraphModule, site: Site, known: Channels, fresh: Channels, symmetric: bool, shifts: bool
) -> tuple[torch.Tensor, torch.Tensor, float]:
    """(shift [C], scale [C], share of the error left) that err least at the readers' outputs.

    The error is that of int8 weights and activations, the latter ``symmetric`` or with a zero point,
    on grids that span what is ``known``, of values that are ``fresh``: channels that all fill
    their grid to the brim spill over on other pictures.  Candidates are held against each other with
    nothing clipped; the best has to beat leaving things alone with the ranges that quantizing takes, too.
    """
    seen_first, seen_all = reach_of(graph, site, known), reach_of(graph, site, known, fresh)
    still, alone = torch.zeros(len(site.free)), torch.ones(len(site.free))

    def error(moved: tuple[torch.Tensor, torch.Tensor], rule: str) -> float:
        tensors = [(reader, reader.node.args[0]) for reader in site.readers]
        return sum(_error(graph, reader, known[at], fresh[at], *moved, symmetric, rule) for reader, at in tensors)

    def moved(reach: Reach, alpha: float, centred: bool) -> tuple[torch.Tensor, torch.Tensor]:
        shift = torch.where(site.free, (reach.low + reach.high) / 2, still) if centred else still
        most = torch.maximum((reach.high - shift).abs(), (reach.low - shift).abs())
        return shift, torch.where(site.free, scales(most, reach.weight, alpha), alone)

    ways = [(alpha, centred) for centred in (False, True)[: 1 + (shifts and site.shifts)] for alpha in ALPHAS]
    best = min(ways, key=lambda way: error(moved(seen_first, *way), "minmax"))
    rules = ("minmax", "mse")
    before, after = ([error(way, rule) for rule in rules] for way in ((still, alone), moved(seen_first, *best)))
    if not all(left < whole for left, whole in zip(after, before, strict=True)):
        return still, alone, 1.0
    return *moved(seen_all, *best), max(left / whole for left, whole in zip(after, before, strict=True))


def scales(reach: torch.Tensor, widest: torch.Tensor, alpha: float) -> torch.Tensor:
    """max|x|**alpha / max|W|**(1 - alpha) of each channel [C], around a mean of one; one where either is zero."""
    alive = (reach > 0) & (widest > 0)
    logarithm = alpha * reach.clamp(min=1e-30).log() - (1 - alpha) * widest.clamp(min=1e-30).log()
    middle = logarithm[alive].mean() if alive.any() else 0.0
    scale = (logarithm - middle).exp().clamp(1 / _SPREAD, _SPREAD)
    return torch.where(alive, scale, torch.ones_like(scale))


@torch.no_grad()
def _error(
    graph: fx.GraphModule,
    reader: Reader,
    known: Seen,
    fresh: Seen,
    shift: torch.Tensor,
    scale: torch.Tensor,
    symmetric: bool,
    rule: str,
) -> float:
    """Squared error of a reader's output with (X - shift) / scale and its weights rounded, per value.

    shift, scale: of the source's channels.  rule: the observer that ranges ``known`` values for the
    grid that ``fresh`` ones are rounded on.
    """
    node, form = reader.node, formats.get("int8")
    weight = ir.tensor_argument(graph, node, 1)
    assert weight is not None
    shift, scale = shift[reader.channels], scale[reader.channels]
    along = [-1, *[1] * (fresh.values.dim() - 2)] if node.target in ir.CONV else [-1]
    observer = observers.get(rule).Observer(form.bits, symmetric)
    if rule == "mse":
        observer.see((known.values - shift.view(along)) / scale.view(along))
    else:  # of all pictures, not only of some
        observer.see(torch.stack([known.low - shift, known.high - shift]) / scale)
    low, high = (torch.tensor([end]) for end in observer.range())
    scaled, axis = scaled_inputs(weight, scale, node), weight_axis(ir.WEIGHTED[node.target])
    rounded = quantizers.of_weight(form, scaled, axis)(scaled)
    moved = fresh.values - shift.view(along)
    read = quantizers.for_format(form).quantizer(form, low, high, symmetric, None)(moved / scale.view(along))
    rest = node.args[3:]
    return float((node.target(read, rounded, None, *rest) - node.target(moved, weight, None, *rest)).square().mean())


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
