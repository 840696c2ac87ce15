"""Mean curvature of a layer times its rounding error, the Hessian's trace estimated by random probes.

harm = 1/2 Tr(H_l)/n_l |d_l|**2 for a layer's weights, and the same for what it reads: n entries, d
their rounding error, H the Hessian of the loss (edge_mpq/sensitivity/_curvature.py).  Traces by
Hutchinson's estimator with random signs at the logits, where they stand for all layers at once:
Tr(J^T A J) = Tr(F^T J J^T F), one backward pass a probe.

Dong et al., HAWQ-V2: Hessian Aware trace-Weighted Quantization of Neural Networks, 2020,
arXiv 1911.03852: there the factor 1/2 is left out and activations are not scored.
"""

import math
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import fx

from edge_mpq import graph as ir
from edge_mpq.allocators import ScoreTable
from edge_mpq.calibration import inputs_of
from edge_mpq.cost import Menu
from edge_mpq.errors import CalibrationError
from edge_mpq.likelihood import classes
from edge_mpq.partial import PartialRun
from edge_mpq.progress import Progress, silent
from edge_mpq.records.ranges import RangeTable
from edge_mpq.records.target import Target
from edge_mpq.sensitivity._curvature import probe
from edge_mpq.sensitivity._one_at_a_time import input_rounder, rounded_weight, widen

# Standard error of a trace as a share of it, at which probing stops; probes of all batches together.
TOLERANCE, MOST = 0.05, 64
LEAST = 8  # what a standard error needs to mean something


def scores(
    graph: fx.GraphModule,
    menu: Menu,
    calibration: Iterable,
    ranges: RangeTable,
    target: Target,
    progress: Progress = silent,
) -> ScoreTable:
    """layer -> pair -> predicted rise of the loss in nats a picture."""
    batches = list(calibration)
    if not batches:
        raise CalibrationError("there is no calibration picture", "give --data a folder with pictures")
    nodes = {name: found for name, found in ir.weighted(graph).items() if name in menu}
    errors = {
        (name, pair[0]): rounded_weight(graph, nodes[name][0], pair[0]) - _weight(graph, nodes[name])
        for name, pairs in menu.items()
        for pair in pairs
    }
    harm = {name: dict.fromkeys(pairs, 0.0) for name, pairs in menu.items()}
    draw = torch.Generator().manual_seed(0)
    # Batches err independently: together they reach the tolerance when each reaches a wider one.
    tolerance, most = TOLERANCE * math.sqrt(len(batches)), math.ceil(MOST / len(batches))
    for batch in progress(batches, "sensitivity (hessian)"):
        logits, weights, reads, moves = differentiable(graph, nodes, inputs_of(batch))
        found = hutchinson(_probes(logits, [*weights.values(), *moves.values()], draw), tolerance, most)
        traces = dict(zip((*weights, *moves), found.tolist(), strict=True))
        for name, pairs in menu.items():
            for pair in pairs:
                harm[name][pair] += _half(traces[name], errors[name, pair[0]])
                for node in nodes[name]:
                    moved = input_rounder(node, pair[1], ranges, target)(reads[node]) - reads[node]
                    harm[name][pair] += _half(traces[node], moved)
    seen = sum(len(inputs_of(batch)) for batch in batches)
    return {name: widen({pair: value / seen for pair, value in row.items()}) for name, row in harm.items()}


def _weight(graph: fx.GraphModule, nodes: list[fx.Node]) -> torch.Tensor:
    return ir.attribute(graph, str(nodes[0].args[1].target)).detach()


def _half(trace: float, error: torch.Tensor) -> float:
    """What an error does where curvature is its mean in every direction."""
    return 0.5 * trace / error.numel() * error.square().sum().item()


def _probes(
    logits: torch.Tensor, parts: Sequence[torch.Tensor], draw: torch.Generator
) -> Callable[[], Sequence[torch.Tensor]]:
    """J^T F v for random signs v at the logits, by each of ``parts``."""
    return lambda: torch.autograd.grad(logits, parts, probe(logits.detach(), draw), retain_graph=True)


def hutchinson(probes: Callable[[], Sequence[torch.Tensor]], tolerance: float, most: int) -> torch.Tensor:
    """The traces [B] of B matrices H_b = G_b^T G_b.

    probes: G_b^T v of every b for random signs v, new at each call; |G_b^T v|**2 is the trace in the mean.
    They are called for until every standard error is within ``tolerance`` of its trace, or ``most``
    times.  Hutchinson, A Stochastic Estimator of the Trace of the Influence Matrix, 1989.
    """
    drawn: list[torch.Tensor] = []
    while len(drawn) < most:
        drawn.append(torch.stack([part.double().square().sum() for part in probes()]))
        if len(drawn) >= LEAST:
            seen = torch.stack(drawn)
            if (seen.std(0) / math.sqrt(len(drawn)) <= tolerance * seen.mean(0)).all():
                break
    return torch.stack(drawn).mean(0)


@torch.enable_grad()
def differentiable(
    graph: fx.GraphModule, nodes: dict[str, list[fx.Node]], values: torch.Tensor
) -> tuple[torch.Tensor, dict[str, torch.Tensor], dict[fx.Node, torch.Tensor], dict[fx.Node, torch.Tensor]]:
    """The logits of one batch, layer -> its weight, node -> what it reads, node -> zeros added to that.

    The logits can be derived by the weights and by the zeros: a read moves for its own layer alone,
    as rounding moves it.
    """
    run = PartialRun(graph)
    weights = {name: _weight(graph, found).clone().requires_grad_(True) for name, found in nodes.items()}
    of_target = {str(found[0].args[1].target): weights[name] for name, found in nodes.items()}
    layers = {node for found in nodes.values() for node in found}
    reads: dict[fx.Node, torch.Tensor] = {}
    moves: dict[fx.Node, torch.Tensor] = {}
    computed: dict[fx.Node, torch.Tensor] = {ir.inputs(graph): values}
    for node in graph.graph.nodes:
        if node.op in ("placeholder", "output"):
            continue
        if node.op == "get_attr" and str(node.target) in of_target:
            computed[node] = of_target[str(node.target)]
        elif node in layers:
            reads[node] = computed[node.args[0]].detach()
            moves[node] = torch.zeros_like(reads[node]).requires_grad_(True)
            computed[node] = run.compute(node, computed, moves[node].add)
        else:
            computed[node] = run.compute(node, computed)
    return classes(computed[ir.outputs(graph)]), weights, reads, moves
