"""Observers: one file per rule that turns the values of a tensor into its range.

An observer sees a tensor batch by batch and keeps the same few kilobytes however many
pictures pass; then it tells the range that a grid of ``bits`` should span.  Every range
contains 0, because padding and ReLU need an exact zero, and is never empty.
"""

import sys
from typing import Protocol, cast

import torch

from edge_mpq import door


class Watcher(Protocol):
    """One tensor being observed."""

    def see(self, values: torch.Tensor) -> None:
        """Take in one batch, of any shape, float type and device.

        Raises CalibrationError, and forgets the batch, when values are NaN or infinite.
        """

    def range(self) -> tuple[float, float]:
        """(low, high) with low <= 0 <= high and low < high; ``-low == high`` if symmetric.

        Raises CalibrationError before anything was seen.
        """


class Method(Protocol):
    """What every file of this folder holds."""

    def Observer(self, bits: int = 8, symmetric: bool = False) -> Watcher:  # noqa: N802
        """A fresh observer for a grid of 2**bits points, mirrored around 0 if ``symmetric``."""


def names() -> list[str]:
    """Every rule there is a file for."""
    return door.names(sys.modules[__name__])


def get(name: str) -> Method:
    """The module of rule ``name``; UsageError lists what there is."""
    return cast(Method, door.get(sys.modules[__name__], name))
