"""A fixed offset N added to every channel of what linear layers read, and taken back in their biases.

f(X) = W (X + N) + (B - W N): the float function stays, and the values meet their grid elsewhere.
Behind a layer normalization, or whatever else can shift what it writes, N costs nothing (_fold.py);
behind GELU it is one subtraction before the quantizer.  Convolutions are left alone: their padding
would need it too.
"""

import functools
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import fx

from edge_mpq import graph as ir
from edge_mpq import observers, quantizers
from edge_mpq.errors import CalibrationError
from edge_mpq.progress import Progress
from edge_mpq.quantizers.affine import AffineQuantizer
from edge_mpq.records import formats
from edge_mpq.records.target import Target
from edge_mpq.transforms._channels import halves, seen
from edge_mpq.transforms._fold import fold, insert
from edge_mpq.transforms._sites import Reader, Site, is_pair, sites

# Where a graph keeps the offsets that its layers read: layer -> N [C].
OFFSETS = "offsets"

# values [T, C] that a layer reads, its weight [K, C], its grid: the offset [C] to add.
Choose = Callable[[torch.Tensor, torch.Tensor, AffineQuantizer], torch.Tensor]
# values -> the grid that errs least on them.
GridOf = Callable[[torch.Tensor], AffineQuantizer]


@torch.no_grad()
def rewritten(
    graph: fx.GraphModule,
    batches: Iterable,
    target: Target | None,
    choose: Choose,
    progress: Progress,
    bits: int = 8,
) -> fx.GraphModule:
    """``graph`` with the offsets of ``choose`` where they lessen the error of layers' outputs on other pictures.

    bits: of the grids that what layers read is rounded on.  Left as it is a second time, and for a target
    without 8-bit integers.  Raises CalibrationError without batches or target.
    """
    batches = list(batches)
    if target is None or not batches:
        raise CalibrationError("offsets are chosen by what layers read", "give batches of pictures and a target")
    if OFFSETS in graph.meta or not target.has_int8:
        return graph
    graph.meta[OFFSETS] = {}
    found = [site for site in sites(graph) if site.shifts and _only_linears(site)]
    covered = {reader.node for site in found for reader in site.readers}
    bare = [nodes[0] for nodes in ir.weighted(graph).values() if _is_bare(nodes, covered)]
    tensors = {reader.node.args[0] for site in found for reader in site.readers} | {node.args[0] for node in bare}
    known, fresh = (seen(graph, tensors, half, progress) for half in halves(batches))
    grid = functools.partial(grid_of, symmetric=target.scheme.activation == "int8", bits=bits)
    for site in progress(found, "choosing offsets"):
        if not torch.equal(site.readers[0].channels, torch.arange(len(site.free))):
            continue
        offset = _judged(graph, site.readers, known, fresh, grid, choose)
        if offset is not None:
            _place(graph, site, torch.where(site.free, offset, torch.zeros_like(offset)))
    for node in progress(bare, "choosing offsets behind activations"):
        extent = node.args[0].meta["val"].shape[-1]
        offset = _judged(graph, [Reader(node, torch.arange(extent))], known, fresh, grid, choose)
        if offset is not None:
            site = insert(graph, [node])
            _place(graph, site, offset)
            _drop_factor(graph, site.source)
    graph.graph.lint()
    graph.recompile()
    return graph


def grid_of(values: torch.Tensor, symmetric: bool, bits: int = 8) -> AffineQuantizer:
    """The grid per tensor that errs least on ``values``."""
    observer = observers.get("mse").Observer(bits, symmetric)
    observer.see(values)
    low, high = (torch.tensor([end]) for end in observer.range())
    form = formats.get(f"int{bits}")
    made = quantizers.for_format(form).quantizer(form, low, high, symmetric, None)
    assert isinstance(made, AffineQuantizer)
    return made


def error(values: torch.Tensor, weight: torch.Tensor, grid: AffineQuantizer, offset: torch.Tensor) -> float:
    """Mean squared error of a layer's output when it reads ``values`` + ``offset`` [C] rounded on ``grid``."""
    moved = grid(values + offset) - offset - values
    return float((moved @ weight.T).square().mean())


def _judged(
    graph: fx.GraphModule, readers: Sequence[Reader], known: dict, fresh: dict, grid: GridOf, choose: Choose
) -> torch.Tensor | None:
    """The offset of what ``readers`` read, None where it does not help all of them together on pictures it was
    not chosen on.  It is chosen on the first one's tensor, for every layer that reads that.
    """
    read = {reader.node.args[0]: reader.channels for reader in readers}
    weights = {tensor: _weights(graph, readers, tensor) for tensor in read}
    first = readers[0].node.args[0]
    offset = choose(known[first].values, weights[first], grid(known[first].values))
    before = after = 0.0
    for tensor, channels in read.items():
        values, others, weight, moved = known[tensor].values, fresh[tensor].values, weights[tensor], offset[channels]
        # The grid is calibrated anew after the offset, so that is what it has to beat.
        before += len(weight) * error(others, weight, grid(values), torch.zeros_like(moved))
        after += len(weight) * error(others, weight, grid(values + moved), moved)
    return offset if after < before else None


def _weights(graph: fx.GraphModule, readers: Sequence[Reader], tensor: fx.Node) -> torch.Tensor:
    """The weights of the layers that read ``tensor``, one below the other [K, C]."""
    found = [ir.tensor_argument(graph, reader.node, 1) for reader in readers if reader.node.args[0] is tensor]
    return torch.cat([weight for weight in found if weight is not None])


def _place(graph: fx.GraphModule, site: Site, offset: torch.Tensor) -> None:
    fold(graph, site, -offset, torch.ones_like(offset))
    for reader in site.readers:
        graph.meta[OFFSETS][ir.layer_name(reader.node)] = offset[reader.channels]


def _only_linears(site: Site) -> bool:
    return not is_pair(site.source) and all(ir.WEIGHTED[reader.node.target] == "linear" for reader in site.readers)


def _is_bare(nodes: list[fx.Node], covered: set[fx.Node]) -> bool:
    return len(nodes) == 1 and ir.WEIGHTED[nodes[0].target] == "linear" and nodes[0] not in covered


def _drop_factor(graph: fx.GraphModule, product: fx.Node) -> None:
    """Take out the multiplication by ones that an inserted pair ends with."""
    product.replace_all_uses_with(product.args[0])
    graph.graph.eliminate_dead_code()
    graph.recompile()
