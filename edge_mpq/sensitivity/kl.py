"""KL divergence of the model's answer when one layer is rounded.

harm = mean over pictures of KL(softmax(float) || softmax(rounded)), in nats; over
pixels too where the output is a map; of Bernoulli answers where there is one class.
"""

from collections.abc import Iterable

import torch
from torch import fx
from torch.nn import functional

from edge_mpq.allocators import ScoreTable
from edge_mpq.cost import Menu
from edge_mpq.likelihood import classes
from edge_mpq.progress import Progress, silent
from edge_mpq.records.ranges import RangeTable
from edge_mpq.records.target import Target
from edge_mpq.sensitivity._one_at_a_time import measure


def scores(
    graph: fx.GraphModule,
    menu: Menu,
    calibration: Iterable,
    ranges: RangeTable,
    target: Target,
    progress: Progress = silent,
) -> ScoreTable:
    """layer -> pair -> KL divergence in nats a picture."""
    return measure(graph, menu, calibration, ranges, target, progress, divergence, "sensitivity (kl)")


def divergence(reference: torch.Tensor, moved: torch.Tensor) -> float:
    """KL of two batches of logits [N, K, ...], mean over pictures and places."""
    known, new = functional.log_softmax(classes(reference), 1), functional.log_softmax(classes(moved), 1)
    return max(0.0, (known.exp() * (known - new)).sum(1).mean().item())
