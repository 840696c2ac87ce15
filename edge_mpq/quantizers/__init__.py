"""Quantizers: one file per number grid.

A method is one file with ``quantizer(form, low, high, symmetric, axis) -> nn.Module``
whose forward returns its input rounded to the grid (fake quantization) and passes
gradients straight through inside the range.
"""

import functools
import sys
from typing import Protocol

import torch
from torch import nn

from edge_mpq import door
from edge_mpq.quantizers import affine, blocks
from edge_mpq.records.formats import Format


class Quantizer(Protocol):
    """What a file of this folder offers."""

    def quantizer(
        self, form: Format, low: torch.Tensor, high: torch.Tensor, symmetric: bool, axis: int | None
    ) -> nn.Module:
        """A module that rounds to ``form`` on [low, high]; ``axis`` is the channel axis, None per tensor."""


def names() -> list[str]:
    """Every quantizer there is a file for."""
    return door.names(sys.modules[__name__])


def get(name: str) -> Quantizer:
    """The module of quantizer ``name``."""
    return door.get(sys.modules[__name__], name)


@functools.cache
def for_format(form: Format) -> Quantizer:
    """The grid that a number format means by itself."""
    return get("floating" if form.is_float else "blocks" if form.block else "affine")


def of_weight(form: Format, weight: torch.Tensor, axis: int) -> nn.Module:
    """The grid of ``form`` over the least and greatest of a weight, by block or by channel of ``axis``."""
    method = for_format(form)
    if form.block:
        return method.quantizer(form, *blocks.weight_range(weight, form.block), True, axis)
    return method.quantizer(form, *affine.weight_range(weight, axis), True, axis)
