"""Tokens that are the same in every sample pass linear layers by: their answer is computed once, in float.

Text encoders write one vector for the beginning of every prompt, and it may be fifty times as great as
any word; whoever rounds both on one grid has little of it left for the words.  In
Zhao et al., MixDQ: Memory-Efficient Few-Step Text-to-Image Diffusion Models with Metric-Decoupled
Mixed Precision Quantization, ECCV 2024, arXiv 2405.17873, the keys and values of that token are
precomputed and concatenated to those of the others, which alone are calibrated and rounded::

    W [x_0, X] + b  ->  [W x_0 + b, W X + b]        x_0 constant

Here any position of what a linear reads may be such a token (class and register tokens, learned queries):
alike in all samples, and ``LEAST_RATIO`` times as great as all that varies.  The function stays
for inputs that keep what calibration saw to be constant.

Axis letters: N samples, T tokens, C channels.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import fx

from edge_mpq import graph as ir
from edge_mpq.calibration import inputs_of
from edge_mpq.errors import CalibrationError
from edge_mpq.partial import PartialRun
from edge_mpq.progress import Progress, silent
from edge_mpq.records.target import Target

# What counts as the same, as a share of the token's greatest value, and as great.
TOLERANCE, LEAST_RATIO = 1e-6, 5.0


@torch.no_grad()
def apply(
    graph: fx.GraphModule, batches: Iterable = (), target: Target | None = None, progress: Progress = silent
) -> fx.GraphModule:
    """``graph`` whose linears see no constant token; changed in place and returned.

    Raises CalibrationError without batches.  One sample alone tells nothing of what is constant: nothing
    is changed then.
    """
    batches = list(batches)
    if not batches:
        raise CalibrationError("constant tokens are found by what layers read", "give batches of inputs")
    readers: dict[fx.Node, list[fx.Node]] = {}
    for node in (node for nodes in ir.weighted(graph).values() for node in nodes):
        if ir.WEIGHTED[node.target] == "linear" and node.args[0].meta["val"].dim() == 3:
            readers.setdefault(node.args[0], []).append(node)
    found = constant_positions(graph, readers, batches, progress)
    run = PartialRun(graph)
    run.run(inputs_of(batches[0])[:1])
    written = {node: run.values[node] for tensor in found for node in readers[tensor]}
    for tensor, places in found.items():
        rest = _without(graph, tensor, readers[tensor][0], places)
        for node in readers[tensor]:
            _bypass(graph, node, rest, places, written[node])
    graph.graph.lint()
    graph.recompile()
    return graph


@torch.no_grad()
def constant_positions(
    graph: fx.GraphModule, tensors: Iterable[fx.Node], batches: Iterable, progress: Progress = silent
) -> dict[fx.Node, list[int]]:
    """Of each tensor [N, T, C] that has any, the positions that are constant and far greater than the rest."""
    tensors, run = list(tensors), PartialRun(graph)
    first: dict[fx.Node, torch.Tensor] = {}
    moved: dict[fx.Node, torch.Tensor] = {}  # [T]
    most: dict[fx.Node, torch.Tensor] = {}  # [T]
    seen = 0
    for batch in progress(batches, "looking for constant tokens"):
        run.run(inputs_of(batch))
        seen += len(inputs_of(batch))
        for tensor in tensors:
            value = run.values[tensor]
            origin = first.setdefault(tensor, value[0].clone())
            away, reach = (value - origin).abs().amax((0, 2)), value.abs().amax((0, 2))
            moved[tensor] = torch.maximum(moved.get(tensor, away), away)
            most[tensor] = torch.maximum(most.get(tensor, reach), reach)
    found = {}
    for tensor in tensors if seen > 1 else ():
        constant = moved[tensor] <= TOLERANCE * most[tensor]
        rest = most[tensor][~constant]
        great = constant & (most[tensor] > LEAST_RATIO * (rest.max() if len(rest) else torch.inf))
        if great.any():
            found[tensor] = torch.nonzero(great).flatten().tolist()
    return found


def _runs(places: Sequence[int], count: int) -> list[tuple[int, int, bool]]:
    """The tokens 0 to ``count`` as runs (start, end, whether constant), in order."""
    flags = [place in set(places) for place in range(count)]
    ends = [place for place in range(1, count) if flags[place] != flags[place - 1]] + [count]
    return [(start, end, flags[start]) for start, end in zip([0, *ends], ends, strict=False)]


def _without(graph: fx.GraphModule, tensor: fx.Node, before: fx.Node, places: Sequence[int]) -> fx.Node:
    """The tensor [N, T - P, C] without its P constant tokens, made ahead of ``before``."""
    runs = _runs(places, tensor.meta["val"].shape[1])
    with graph.graph.inserting_before(before):
        return _joined(graph, [_slice(graph, tensor, start, end) for start, end, same in runs if not same])


def _bypass(graph: fx.GraphModule, node: fx.Node, rest: fx.Node, places: Sequence[int], written: torch.Tensor) -> None:
    """Let a linear read ``rest``, and put what it ``written`` for constant tokens between what it writes now."""
    whole, users = node.meta["val"], list(node.users)
    runs = _runs(places, whole.shape[1])
    node.replace_input_with(node.args[0], rest)
    node.meta["val"] = whole[:, len(places) :]
    parts, taken = [], 0
    with graph.graph.inserting_before(node.next):
        samples = graph.graph.call_function(ir.aten.sym_size.int, (rest, 0))
        samples.meta["val"] = whole.shape[0]
        for start, end, same in runs:
            if same:
                parts.append(_constant(graph, f"{node.name}_constant_{start}", written[:1, start:end], samples))
            elif sum(not other for *_, other in runs) == 1:
                parts.append(node)
            else:
                parts.append(_slice(graph, node, taken, taken + end - start))
                taken += end - start
        joined = _joined(graph, parts)
    for user in users:
        user.replace_input_with(node, joined)


def _constant(graph: fx.GraphModule, path: str, value: torch.Tensor, samples: fx.Node) -> fx.Node:
    """The parameter ``value`` [1, T, C] for every sample."""
    ir.set_parameter(graph, path, value)
    held = graph.graph.get_attr(path)
    held.meta["val"] = ir.attribute(graph, path)
    made = graph.graph.call_function(ir.aten.expand.default, (held, [samples, -1, -1]))
    return _known(made, samples.args[0].meta["val"].new_empty(samples.meta["val"], *value.shape[1:]))


def _slice(graph: fx.GraphModule, tensor: fx.Node, start: int, end: int) -> fx.Node:
    made = graph.graph.call_function(ir.aten.slice.Tensor, (tensor, 1, start, end))
    return _known(made, tensor.meta["val"][:, start:end])


def _joined(graph: fx.GraphModule, parts: list[fx.Node]) -> fx.Node:
    if len(parts) == 1:
        return parts[0]
    made = graph.graph.call_function(ir.aten.cat.default, (parts, 1))
    return _known(made, torch.cat([part.meta["val"] for part in parts], 1))


def _known(node: fx.Node, value: torch.Tensor) -> fx.Node:
    """``node`` with what the graph keeps of every node: an example of its value, and its name."""
    node.meta["val"], node.meta["custom"] = value, {ir.NAME: node.name}
    return node
