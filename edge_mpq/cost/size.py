"""Size of the weights, in MiB at their nominal bits; biases and scales are not counted.

Nominal bits are what a compressed file takes and what publications quote.  What an
engine really stores is :func:`container_mib`: 3 bits travel in int4, 5 to 7 in int8.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from edge_mpq.cost import CostTable, Menu, Pair
from edge_mpq.records import formats
from edge_mpq.records.layer import LayerSpec
from edge_mpq.records.target import Target

UNIT = "MiB"
_BITS_IN_MIB = 8 * 2**20


def table(layers: Sequence[LayerSpec], menu: Menu, target: Target, **facts: Any) -> CostTable:
    """Weights times nominal bits; activations take no room in a file."""
    return {
        layer.name: {pair: layer.weights * formats.get(pair[0]).bits / _BITS_IN_MIB for pair in menu[layer.name]}
        for layer in layers
    }


def container_mib(layers: Sequence[LayerSpec], chosen: Mapping[str, Pair]) -> float:
    """MiB that the weights of ``chosen`` (layer -> pair) take in an engine's containers."""
    bits = sum(layer.weights * formats.get(chosen[layer.name][0]).container_bits for layer in layers)
    return bits / _BITS_IN_MIB
