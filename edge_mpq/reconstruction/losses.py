"""How far a unit's output is from the float one: one function of (batch number, output, target) for each loss."""

from collections.abc import Callable, Sequence

import torch
from torch import fx
from torch.nn import functional

from edge_mpq.likelihood import classes, drawn_loss
from edge_mpq.partial import PartialRun

# (number of the batch, output of the unit, its target) -> summed error.
Loss = Callable[[int, torch.Tensor, torch.Tensor], torch.Tensor]


def loss_of(name: str, graph: fx.GraphModule, output: fx.Node, batches: Sequence[torch.Tensor], seed: int) -> Loss:
    """Loss ``name`` for a unit judged at node ``output`` of the float graph, on ``batches`` of model inputs."""
    if name == "fisher":
        information = _information(graph, output, batches, seed)
        return lambda number, given, wanted: ((given - wanted).square() * information[number]).sum()
    if name == "kl":
        return _divergence(graph, output, batches)
    return lambda number, given, wanted: (given - wanted).square().sum()


@torch.enable_grad()
def _information(
    graph: fx.GraphModule, output: fx.Node, batches: Sequence[torch.Tensor], seed: int
) -> list[torch.Tensor]:
    """Squared gradient of each batch's log-likelihood for the values of ``output``, mean 1 (BRECQ, equation 10)."""
    run, draw, found = PartialRun(graph), torch.Generator().manual_seed(seed), []
    for batch in batches:
        with torch.no_grad():
            run.run(batch)
        value = run.values[output].detach().requires_grad_(True)
        loss = drawn_loss(run.rerun({output: value}), len(batch), draw)
        found.append(torch.autograd.grad(loss, value)[0].square())
    mean = torch.stack([one.mean() for one in found]).mean().clamp(min=torch.finfo(torch.float32).tiny)
    return [one / mean for one in found]


def _divergence(graph: fx.GraphModule, output: fx.Node, batches: Sequence[torch.Tensor]) -> Loss:
    """KL of the float model's answers from those it gives when ``output`` has other values."""
    run = PartialRun(graph)

    def loss(number: int, given: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            known = classes(run.run(batches[number]))
        moved = classes(run.rerun({output: given}))
        return functional.kl_div(moved.log_softmax(1), known.log_softmax(1), reduction="sum", log_target=True)

    return loss
