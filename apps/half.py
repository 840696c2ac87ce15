"""The layers of a torch graph that half precision would harm on a board: calibrators/fp16.py asked before planning.

Engines let what is too large become infinite, where the simulation saturates, so no score
shows it.
"""

from collections.abc import Iterable, Iterator

from torch import fx

from calibrators import fp16
from edge_mpq import graph as ir
from edge_mpq.calibration import ranges_of
from edge_mpq.progress import Progress, silent
from edge_mpq.records.target import Target


def harmed(graph: fx.GraphModule, target: Target, calibration: Iterable, progress: Progress = silent) -> dict[str, str]:
    """layer -> why it stays in fp32; {} for a target without fp16.

    calibration: batches of inputs; the whole range of each tensor counts, so nothing is cut
    off.  Raises CalibrationError as calibration does.
    """
    if "fp16" not in target.activation_formats:
        return {}
    layers = {name: [seen for node in nodes for seen in _tensors(node)] for name, nodes in ir.weighted(graph).items()}
    weights = {name: _summary(graph, nodes[0]) for name, nodes in ir.weighted(graph).items()}
    tensors = dict.fromkeys(name for names in layers.values() for name in names)
    ranges = ranges_of(graph, tensors, calibration, "minmax", True, progress)
    return {found.layer: found.why for found in fp16.harmed(layers, ranges, weights)}


def _tensors(node: fx.Node) -> Iterator[str]:
    """What a layer reads and writes, and the sums it goes into, which run in its type."""
    written = ir.tail(node)
    yield node.args[0].name
    yield written.name
    for reader in written.users:
        if reader.target in ir.ADD:
            yield ir.tail(reader).name


def _summary(graph: fx.GraphModule, node: fx.Node) -> fp16.Weights:
    weight = ir.weight_of(node)
    assert weight is not None  # or it would be no layer
    return fp16.summary(ir.attribute(graph, str(weight.target)).detach().numpy())
