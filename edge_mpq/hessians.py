"""Second moments of what each layer reads, H = E[x x^T]: the Hessian of its output error.

For a layer y = W x with squared error, the loss of moving one row of W by d is d H d^T.
Gathered in one streaming pass for all layers; memory is one [G, C, C] matrix a layer, C the
inputs of one output (channels times kernel), G the groups of a grouped convolution.

A routed expert reads the tokens that its router sends it, which may be few: an H of fewer columns
than twice its rank says more of them than of the expert, and white inputs stand for it, under which
rounding with feedback is rounding to nearest.
"""

from collections.abc import Iterable

import torch
from torch import fx
from torch.nn import functional

from edge_mpq import graph as ir
from edge_mpq import routing
from edge_mpq.calibration import inputs_of
from edge_mpq.partial import PartialRun
from edge_mpq.progress import Progress, silent

# Positions of a feature map are strongly correlated: these many columns a layer and
# batch estimate H as well as all of them.
MOST_COLUMNS = 16384
# Columns that H of a routed expert needs for each of its rows.
LEAST_COLUMNS = 2


def rows_of(weight: torch.Tensor, groups: int) -> torch.Tensor:
    """A weight [K, C/G, ...] as rows by group: [G, K/G, C]."""
    return weight.reshape(groups, weight.shape[0] // groups, -1)


def groups_of(node: fx.Node) -> int:
    """Groups of a convolution node, 1 for a linear."""
    return int(node.args[6]) if node.target in ir.CONV and len(node.args) > 6 else 1


def columns_of(node: fx.Node, values: torch.Tensor) -> torch.Tensor:
    """What each output of a linear or convolution node reads: [G, C, columns]."""
    if ir.WEIGHTED[node.target] == "linear":
        return values.reshape(1, -1, values.shape[-1]).transpose(1, 2)
    kernel = tuple(node.args[1].meta["val"].shape[2:])
    stride, padding, dilation = (
        _pair(node.args[index]) if len(node.args) > index else default
        for index, default in ((3, (1, 1)), (4, (0, 0)), (5, (1, 1)))
    )
    patches = functional.unfold(values, kernel, dilation, padding, stride)  # [N, C*kernel, positions]
    groups = groups_of(node)
    patches = patches.reshape(len(values), groups, -1, patches.shape[-1])
    return patches.permute(1, 2, 0, 3).flatten(2)


def _pair(value: object) -> tuple[int, int]:
    sizes = list(value) if isinstance(value, list | tuple) else [value]
    return (sizes[0], sizes[-1])  # type: ignore[return-value]


@torch.no_grad()
def second_moments(
    graph: fx.GraphModule, layers: Iterable[str], batches: Iterable, progress: Progress = silent
) -> dict[str, torch.Tensor]:
    """layer -> H [G, C, C] over ``batches`` and applications, for linears and two-dimensional convolutions."""
    wanted = set(layers)
    nodes = [(name, node) for name, found in ir.weighted(graph).items() if name in wanted for node in found]
    sums: dict[str, torch.Tensor] = {}
    counts = {name: 0 for name, _ in nodes}
    draw = torch.Generator().manual_seed(0)
    run, experts = PartialRun(graph), routing.sent(graph)
    for batch in progress(batches, "second moments"):
        run.run(inputs_of(batch))
        for name, node in nodes:
            columns = columns_of(node, run.values[node.args[0]])
            if name in experts:
                columns = columns[:, :, experts[name].rows(run.values)]
            if columns.shape[2] > MOST_COLUMNS:
                columns = columns[:, :, torch.randint(columns.shape[2], (MOST_COLUMNS,), generator=draw)]
            sums[name] = sums.get(name, 0) + columns @ columns.transpose(1, 2)
            counts[name] += columns.shape[2]
    return {
        name: _white(total)
        if name in experts and counts[name] < LEAST_COLUMNS * total.shape[1]
        else total / counts[name]
        for name, total in sums.items()
    }


def _white(moment: torch.Tensor) -> torch.Tensor:
    """The second moment of inputs without correlation, in the shape [G, C, C] of ``moment``."""
    return torch.eye(moment.shape[1]).expand_as(moment).clone()
