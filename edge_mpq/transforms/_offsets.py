"""A fixed offset N added to every channel of what linear layers read, and taken back in their biases.

f(X) = W (X + N) + (B - W N): the float function stays, and the values meet their grid elsewhere.
Behind a layer normalization, or whatever else can shift what it writes, N costs nothing (_fold.py);
behind GELU it is one subtraction before the quantizer.  Convolutions are left alone: their padding
would need it too.
"""

from collections.abc import Callable, Iterable

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
from edge_mpq.transforms._sites import Site, is_pair, sites

# Where a graph keeps the offsets that its layers read: layer -> N [C].
OFFSETS = "offsets"

# values [T, C] that a layer reads, its weight [K, C], its grid: the offset [C] to add.
Choose = Callable[[torch.Tensor, torch.Tensor, AffineQuantizer], torch.Tensor]


@torch.no_grad()
def rewritten(
    graph: fx.GraphModule, batches: Iterable, target: Target | None, choose: Choose, progress: Progress
) -> fx.GraphModule:
    """``graph`` with the offsets of ``choose`` where they lessen the error of a layer's output on other pictures.

    Left as it is a second time, and for a target without 8-bit integers.  Raises CalibrationError
    without batches or target.
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
    symmetric = target.scheme.activation == "int8"
    for site in progress(found, "choosing offsets"):
        first = site.readers[0].node
        offset = _judged(graph, first, known, fresh, symmetric, choose)
        if offset is not None and torch.equal(site.readers[0].channels, torch.arange(len(site.free))):
            _place(graph, site, torch.where(site.free, offset, torch.zeros_like(offset)))
    for node in progress(bare, "choosing offsets behind activations"):
        offset = _judged(graph, node, known, fresh, symmetric, choose)
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
    graph: fx.GraphModule, node: fx.Node, known: dict, fresh: dict, symmetric: bool, choose: Choose
) -> torch.Tensor | None:
    """The offset of one layer, None where it does not help on pictures it was not chosen on."""
    weight = ir.tensor_argument(graph, node, 1)
    assert weight is not None
    values, others = known[node.args[0]].values, fresh[node.args[0]].values
    grid = grid_of(values, symmetric)
    offset = choose(values, weight, grid)
    # The grid is calibrated anew after the offset, so that is what it has to beat.
    before = error(others, weight, grid, torch.zeros_like(offset))
    after = error(others, weight, grid_of(values + offset, symmetric), offset)
    return offset if after < before else None


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
