"""What a language model remembers of its past: keys and values as they are, or as integers.

Every token has a scale a head, found when the token is written, so nothing is calibrated and nothing
changes when text grows: codes = round(x / scale), scale = greatest magnitude / (2**(bits - 1) - 1).

Axis letters: N texts, H heads, T tokens, D width of a head.
"""

from collections.abc import Sequence
from typing import Protocol

import torch

# Of a token whose keys or values are all zero.
SMALLEST_SCALE = 1e-12


class Cache(Protocol):
    """How keys or values are kept.  parts: of how many tensors that grow along axis 2."""

    parts: tuple[str, ...]

    def write(self, values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """[N, H, T, D] as it is kept: one tensor [N, H, T, ...] a part."""

    def read(self, kept: Sequence[torch.Tensor]) -> torch.Tensor:
        """What attention is given: float32 [N, H, T, D]."""


class FloatCache:
    """Keys and values as they are: 4 bytes a value."""

    parts: tuple[str, ...] = ("",)

    def write(self, values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Themselves."""
        return (values,)

    def read(self, kept: Sequence[torch.Tensor]) -> torch.Tensor:
        """Themselves."""
        return kept[0]


class IntegerCache:
    """Symmetric integers of 2 to 8 bits, each in an int8: (D + 4) / 4 D of the bytes that floats take."""

    parts: tuple[str, ...] = ("_codes", "_scale")

    def __init__(self, bits: int = 8) -> None:
        if not 2 <= bits <= 8:
            raise ValueError(f"{bits} bits")
        self.most = 2.0 ** (bits - 1) - 1

    def write(self, values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Codes int8 [N, H, T, D] and scales float32 [N, H, T, 1]."""
        scale = values.abs().amax(3, keepdim=True).clamp(min=SMALLEST_SCALE) / self.most
        return torch.round(values / scale).to(torch.int8), scale

    def read(self, kept: Sequence[torch.Tensor]) -> torch.Tensor:
        """The values that the codes stand for."""
        codes, scale = kept
        return codes.float() * scale
