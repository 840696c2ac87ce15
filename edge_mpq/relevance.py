"""Layer-wise relevance propagation: how much of an answer came through each tensor of a graph.

Relevance starts as one at the answer of each picture and is handed from every operation to
what it read, by share of contribution, so that its sum stays one on any cut through the graph.
Bach et al., On Pixel-Wise Explanations for Non-Linear Classifier Decisions by Layer-Wise
Relevance Propagation, 2015 (its rule alpha=1, beta=0); Chefer et al., Transformer
Interpretability Beyond Attention Visualization, arXiv 2012.09838 (transformers).

Two rules differ from published code.  A convolution divides by one sum over positive and
negative inputs: normalizing the two apart doubles relevance.  Sums and products share by the
magnitude of contributions, not by their signed value: where contributions cancel, signed
shares grow without bound, and the sum of their magnitudes is no share of anything.

The graph is one of edge_mpq.prepared: in eval mode, its normalizations folded.
"""

import operator
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import fx

from edge_mpq import graph as ir
from edge_mpq.calibration import inputs_of
from edge_mpq.errors import CalibrationError, ModelError
from edge_mpq.partial import PartialRun
from edge_mpq.progress import Progress, silent

aten = torch.ops.aten
SUMS = (*ir.ADD, aten.sub.Tensor)
PRODUCTS = (aten.matmul.default, aten.bmm.default, aten.mul.Tensor)
ATTENTION = (aten.scaled_dot_product_attention.default,)
AVERAGES = (*ir.AVERAGES, aten.sum.dim_IntList, aten.upsample_bilinear2d.vec)
# Operations that pass values on as they are: relevance goes back to where they came from.
MOVES = (
    *ir.MOVES,
    *ir.CONCAT,
    aten.select.int,
    aten.index_select.default,
    aten.expand.default,
    aten.squeeze.dims,
    aten.stack.default,
    aten.roll.default,
    aten.amax.default,
)
PIECES = (aten.unbind.int, aten.split.Tensor, aten.split_with_sizes.default, aten.chunk.default)
# Operations whose every value is one input value in another size: relevance stays where it is.
KEEPING = (
    *ir.BATCH_NORM,
    aten.layer_norm.default,
    aten.group_norm.default,
    aten.softmax.int,
    aten.hardswish.default,
    aten.contiguous.default,
    aten.to.dtype,
)
# Added to magnitudes, far below any value: what is all zero shares evenly, and nothing divides by zero.
TINY = 1e-18

# What an operation read -> the relevance handed to it, of its shape.
Shares = dict[fx.Node, torch.Tensor]


@torch.enable_grad()
def relevances(graph: fx.GraphModule, batch: torch.Tensor) -> Shares:
    """Node -> relevance of its value for the answer of each picture of ``batch`` [N, ...]; never negative.

    The answer is the greatest logit, at every place where the output is a map, and the logit
    itself where there is but one.  Biases get nothing; parameters that are added to a tensor
    (position embeddings) get their share.  Raises ModelError for an operation without a rule.
    """
    run, moving = PartialRun(graph), depending(graph)
    with torch.no_grad():
        answer = run.run(batch)
        chosen = torch.zeros_like(answer).scatter_(1, answer.argmax(1, keepdim=True), 1.0)
    found = {run.output: chosen * len(batch) / chosen.sum()}
    for node in reversed(graph.graph.nodes):
        if node in found and node in moving and node.op == "call_function":
            for source, share in split(run, node, found[node], moving).items():
                found[source] = found[source] + share if source in found else share
    return found


def contributions(graph: fx.GraphModule, batches: Iterable, progress: Progress = silent) -> dict[str, float]:
    """Layer -> mean share of an answer's relevance that passes through it: 1 where nothing goes around it.

    A layer applied twice counts twice.  Raises CalibrationError without a picture.
    """
    nodes = ir.weighted(graph)
    passed, seen = dict.fromkeys(nodes, 0.0), 0
    for batch in progress(batches, "relevance"):
        values = inputs_of(batch)
        found = relevances(graph, values)
        for name, places in nodes.items():
            passed[name] += sum(found[node].sum().item() for node in places if node in found)
        seen += len(values)
    if not seen:
        raise CalibrationError("there is no calibration picture", "give --data a folder with pictures")
    return {name: relevance / seen for name, relevance in passed.items()}


def depending(graph: fx.GraphModule) -> set[fx.Node]:
    """The nodes whose value depends on the input."""
    found: set[fx.Node] = set()
    for node in graph.graph.nodes:
        if node.op == "placeholder" or any(source in found for source in node.all_input_nodes):
            found.add(node)
    return found


def split(run: PartialRun, node: fx.Node, relevance: torch.Tensor, moving: set[fx.Node]) -> Shares:
    """The relevance of what ``node`` wrote among what it read.

    run: holds the values of the batch.  moving: the nodes that depend on the input.
    """
    if node.target in ir.WEIGHTED and ir.weight_of(node) is not None:
        return {node.args[0]: _through_layer(run, node, relevance)}
    if node.target is operator.getitem and node.args[0].target in PIECES:
        return _through_move(run, node.args[0], relevance, node.args[1])
    if node.target in MOVES:
        return _through_move(run, node, relevance)
    if node.target in ATTENTION:
        return _through_attention(run, node, relevance)
    read = [source for source in node.all_input_nodes if isinstance(run.values[source], torch.Tensor)]
    moved = [source for source in read if source in moving]
    if node.target in SUMS and len(read) == 2:
        factor = abs(node.kwargs.get("alpha", 1))
        return _shares(read, run, lambda values: values[read[0]] + factor * values[read[1]], relevance)
    if node.target in AVERAGES:
        return _shares(read, run, lambda values: run.compute(node, values), relevance)
    if node.target in PRODUCTS:  # each factor that depends on the input takes an equal part
        shares = _shares(read, run, lambda values: run.compute(node, values), relevance)
        factors = sum(isinstance(factor, fx.Node) and factor in moving for factor in node.args)
        return {source: shares[source] / factors for source in moved}
    alike = len(moved) == 1 and run.values[moved[0]].shape == relevance.shape
    if alike and (node.target in KEEPING or torch.Tag.pointwise in getattr(node.target, "tags", ())):
        return {moved[0]: relevance}
    raise ModelError(f"relevance has no rule for {node.target} ({node.name})", "score by fisher or kl instead")


def _shares(sources: Sequence[fx.Node], run: PartialRun, apply: Callable, relevance: torch.Tensor) -> Shares:
    """Relevance by share of contribution to ``apply``, linear in each source, with magnitudes for values."""
    magnitudes = {source: _leaf(run.values[source].abs() + TINY) for source in sources}
    whole = apply({**run.values, **magnitudes})
    gradients = torch.autograd.grad(whole, list(magnitudes.values()), relevance / whole.detach())
    return {source: magnitudes[source].detach() * slope for source, slope in zip(sources, gradients, strict=True)}


def _leaf(values: torch.Tensor) -> torch.Tensor:
    return values.detach().requires_grad_()


def _through_layer(run: PartialRun, node: fx.Node, relevance: torch.Tensor) -> torch.Tensor:
    """Rule alpha=1: by share of the products of input and weight that are positive."""
    weight = run.values[node.args[1]].detach()
    values = run.values[node.args[0]]
    up, down = _leaf(values.clamp(min=0) + TINY), _leaf(values.clamp(max=0) - TINY)
    rest = node.args[3:]
    positive = node.target(up, weight.clamp(min=0), None, *rest) + node.target(down, weight.clamp(max=0), None, *rest)
    # Only a channel without a weight has no positive product: its value is its bias, which gets nothing.
    per_unit = torch.where(positive > 0, relevance / positive.detach(), 0.0)
    for_up, for_down = torch.autograd.grad(positive, (up, down), per_unit)
    return (up * for_up + down * for_down).detach()


def _through_move(run: PartialRun, node: fx.Node, relevance: torch.Tensor, piece: int | None = None) -> Shares:
    """Back to where each value came from; ``piece``: which of several tensors that ``node`` wrote."""
    leaves = {
        source: _leaf(run.values[source])
        for source in node.all_input_nodes
        if isinstance(run.values[source], torch.Tensor)
    }
    written = run.compute(node, {**run.values, **leaves})
    gradients = torch.autograd.grad(written if piece is None else written[piece], list(leaves.values()), relevance)
    return dict(zip(leaves, gradients, strict=True))


def _through_attention(run: PartialRun, node: fx.Node, relevance: torch.Tensor) -> Shares:
    """softmax(Q K^T) V as two products, each handing half of its relevance to either side."""
    query, key, value = (run.values[source] for source in node.args[:3])
    # Attending to the unit vectors tells the attention itself, whatever the mask and scale.
    places = torch.eye(key.shape[-2], dtype=value.dtype).expand(*value.shape[:-2], -1, -1)
    attention = node.target(query, key, places, *node.args[3:], **node.kwargs)
    for_attention, for_value = _halves(torch.matmul, attention, value, relevance)
    for_query, for_key = _halves(lambda q, k: q @ k.transpose(-1, -2), query, key, for_attention)
    found: Shares = {}
    for source, share in zip(node.args[:3], (for_query, for_key, for_value), strict=True):
        found[source] = found[source] + share if source in found else share  # one tensor may be all three
    return found


def _halves(
    product: Callable, left: torch.Tensor, right: torch.Tensor, relevance: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    left, right = _leaf(left.abs() + TINY), _leaf(right.abs() + TINY)
    whole = product(left, right)
    for_left, for_right = torch.autograd.grad(whole, (left, right), relevance / whole.detach())
    return (left * for_left / 2).detach(), (right * for_right / 2).detach()
