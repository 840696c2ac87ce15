"""A small network that learns from what goes into a residual block how far the block will turn it.

It reads a token and predicts the cosine between that token and what comes out; blocks are ranked by the mean
it predicts.  Li et al., QuantMoE-Bench: Examining Post-Training Quantization for Mixture-of-Experts, 2024,
arXiv 2406.08155: two layers without biases, ReLU between and tanh behind, by AdamW until tokens held
back are predicted no better.  Where the block can be run, edge_mpq.residuals.cosines measures the same.

Axis letters: T tokens of all batches, D channels.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import fx, nn
from torch.nn import functional

from edge_mpq.calibration import inputs_of
from edge_mpq.errors import CalibrationError
from edge_mpq.partial import PartialRun
from edge_mpq.progress import Progress, silent
from edge_mpq.residuals import Residual

HIDDEN, STEP = 1024, 256
HELD_BACK, PATIENCE = 0.1, 5


class Learned(NamedTuple):
    """predictor: [T, D] -> cosines [T, 1].  error: its mean squared error on tokens held back; variance: of theirs."""

    predictor: nn.Module
    error: float
    variance: float


def predicted(
    graph: fx.GraphModule, blocks: Sequence[Residual], batches: Iterable, progress: Progress = silent
) -> list[float]:
    """The mean cosine that is predicted for each block on ``batches``; CalibrationError without a batch."""
    means = []
    for tokens, cosines in ends(graph, blocks, batches):
        found = learn(tokens, cosines, progress=progress)
        with torch.no_grad():
            means.append(found.predictor(tokens).mean().item())
    return means


@torch.no_grad()
def ends(
    graph: fx.GraphModule, blocks: Sequence[Residual], batches: Iterable
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """What goes into each block, [T, D], and the cosines [T] between that and what comes out."""
    found: list[list[tuple[torch.Tensor, torch.Tensor]]] = [[] for _ in blocks]
    run = PartialRun(graph)
    for batch in batches:
        run.run(inputs_of(batch))
        for block, seen in zip(blocks, found, strict=True):
            skip, output = block.ends(run)
            seen.append((skip.clone(), functional.cosine_similarity(skip, output, dim=-1)))
    if not all(found):
        raise CalibrationError("there is no calibration picture", "give --data a folder with pictures")
    return [(torch.cat([tokens for tokens, _ in seen]), torch.cat([cosines for _, cosines in seen])) for seen in found]


@torch.enable_grad()
def learn(
    tokens: torch.Tensor,
    cosines: torch.Tensor,
    learning_rate: float = 1e-4,
    epochs: int = 100,
    seed: int = 0,
    progress: Progress = silent,
) -> Learned:
    """A predictor of ``cosines`` [T] from ``tokens`` [T, D], with the weights that did best on the tokens held back."""
    draw = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(tokens), generator=draw)
    count = max(1, int(HELD_BACK * len(order)))
    held, rest = order[:count], order[count:]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        predictor = nn.Sequential(
            nn.Linear(tokens.shape[1], HIDDEN, bias=False), nn.ReLU(), nn.Linear(HIDDEN, 1, bias=False), nn.Tanh()
        )
    optimizer = torch.optim.AdamW(predictor.parameters(), learning_rate, weight_decay=1e-2)

    def error(some: torch.Tensor) -> torch.Tensor:
        return functional.mse_loss(predictor(tokens[some]).squeeze(1), cosines[some])

    best, state, waited = float("inf"), predictor.state_dict(), 0
    for _ in progress(range(epochs), "learning what a block changes"):
        for some in rest[torch.randperm(len(rest), generator=draw)].split(STEP):
            optimizer.zero_grad()
            error(some).backward()
            optimizer.step()
        with torch.no_grad():
            now = error(held).item()
        if now < best:
            best, state, waited = now, {key: value.clone() for key, value in predictor.state_dict().items()}, 0
        else:
            waited += 1
        if waited == PATIENCE:
            break
    predictor.load_state_dict(state)
    return Learned(predictor.requires_grad_(False), best, cosines[held].var(correction=0).item())
