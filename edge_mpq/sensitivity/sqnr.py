"""Noise-to-signal power of the model's output when one layer is rounded.

harm = sum (rounded - float)**2 / sum float**2, the inverse of SQNR: noise powers of
independent layers add up, decibels do not (methods that sum decibels reward layers that
are already clean).
"""

from collections.abc import Iterable

import torch
from torch import fx

from edge_mpq.allocators import ScoreTable
from edge_mpq.cost import Menu
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
    """layer -> pair -> noise power as a share of the signal's."""
    return measure(graph, menu, calibration, ranges, target, progress, noise, "sensitivity (sqnr)")


def noise(reference: torch.Tensor, moved: torch.Tensor) -> float:
    """Power of the difference as a share of the reference's power."""
    power = reference.square().sum().item()
    return (moved - reference).square().sum().item() / max(power, torch.finfo(torch.float32).tiny)
