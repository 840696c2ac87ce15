"""What calibration saw of the channels that layers read, in two halves: one to choose by, one to judge by."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import fx

from edge_mpq import graph as ir
from edge_mpq.calibration import inputs_of
from edge_mpq.partial import PartialRun
from edge_mpq.progress import Progress
from edge_mpq.transforms._sites import Site

# What an error is measured on: so many tokens, or places of so many pictures.
_ROWS, _PICTURES = 1024, 8


class Seen(NamedTuple):
    """What was seen of a tensor: least and greatest of each channel [C], and some of its values."""

    low: torch.Tensor
    high: torch.Tensor
    values: torch.Tensor


Channels = dict[fx.Node, Seen]


class Reach(NamedTuple):
    """Of each of a source's channels [C]: least and greatest value, and the greatest weight that meets it."""

    low: torch.Tensor
    high: torch.Tensor
    weight: torch.Tensor


def halves(batches: list) -> tuple[list, list]:
    """Two lists of batches that share no picture, unless there is only one."""
    if len(batches) > 1:
        return batches[::2], batches[1::2]
    values = inputs_of(batches[0])
    middle = max(len(values) // 2, 1)
    return [values[:middle]], [values[middle:] if len(values) > 1 else values]


@torch.no_grad()
def seen(graph: fx.GraphModule, tensors: Iterable[fx.Node], batches: list, progress: Progress) -> Channels:
    """Each of ``tensors`` over ``batches``; its channels are those of the layers that read it."""
    run, tensors = PartialRun(graph), set(tensors)
    low: dict[fx.Node, torch.Tensor] = {}
    high: dict[fx.Node, torch.Tensor] = {}
    kept: dict[fx.Node, list[torch.Tensor]] = {tensor: [] for tensor in tensors}
    for batch in progress(batches, "looking at channels"):
        run.run(inputs_of(batch))
        for tensor in tensors:
            value = run.values[tensor]
            convolved = any(user.target in ir.CONV for user in tensor.users)
            rows = value.movedim(1 if convolved else -1, -1).flatten(0, -2)
            low[tensor] = torch.minimum(low.get(tensor, rows[0]), rows.amin(0))
            high[tensor] = torch.maximum(high.get(tensor, rows[0]), rows.amax(0))
            share = -(-(_PICTURES if convolved else _ROWS) // len(batches))
            kept[tensor].append(value[:share] if convolved else rows[:: -(-len(rows) // share)])
    return {tensor: Seen(low[tensor], high[tensor], torch.cat(kept[tensor])) for tensor in tensors}


def reach_of(graph: fx.GraphModule, site: Site, *parts: Channels) -> Reach:
    """The reach of a site's channels over all of its readers and every one of ``parts``; zero where nobody reads."""
    count = len(site.free)
    low, high, weight = torch.full((count,), torch.inf), torch.full((count,), -torch.inf), torch.zeros(count)
    for reader in site.readers:
        for part in parts:
            low = low.scatter_reduce(0, reader.channels, part[reader.node.args[0]].low, "amin")
            high = high.scatter_reduce(0, reader.channels, part[reader.node.args[0]].high, "amax")
        weight = weight.scatter_reduce(0, reader.channels, _widest(graph, reader.node), "amax")
    unread = low > high
    return Reach(low.masked_fill(unread, 0.0), high.masked_fill(unread, 0.0), weight)


def _widest(graph: fx.GraphModule, node: fx.Node) -> torch.Tensor:
    """The greatest weight that meets each input channel of a layer: [C]."""
    weight = ir.tensor_argument(graph, node, 1)
    assert weight is not None
    weight = weight.detach().abs()
    if ir.WEIGHTED[node.target] == "conv_transpose2d":
        return weight.flatten(1).amax(1)
    inputs = node.args[0].meta["val"].shape[1 if node.target in ir.CONV else -1]
    groups = int(inputs) // weight.shape[1]
    return weight.reshape(groups, -1, weight.shape[1], weight[0, 0].numel()).amax((1, 3)).flatten()
