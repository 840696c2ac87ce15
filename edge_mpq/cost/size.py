"""Size of the weights, in MiB at their nominal bits; biases and scales are not counted.

Nominal bits are what a compressed file takes and what publications quote.  What an
engine really stores is :func:`container_mib`: 3 bits travel in int4, 5 to 7 in int8.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from edge_mpq.cost import CostTable, Menu, Pair
from edge_mpq.quantizers.blocks import FLOAT
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


def container_mib(
    layers: Sequence[LayerSpec],
    chosen: Mapping[str, Pair],
    columns: Mapping[str, Mapping[int, int]] = MappingProxyType({}),
) -> float:
    """MiB that the weights of ``chosen`` (layer -> pair) take in an engine's containers.

    columns: of layers whose inputs have weights of unlike bits, bits -> how many inputs
    (BlockQuantizer.columns); their pair tells the average.
    """
    bits = sum(
        layer.weights
        * (container_bits(columns[layer.name]) if layer.name in columns else _container(chosen[layer.name]))
        for layer in layers
    )
    return bits / _BITS_IN_MIB


def _container(pair: Pair) -> int:
    return formats.get(pair[0]).container_bits


def container_bits(columns: Mapping[int, int]) -> float:
    """Average bits a weight in containers, where ``columns`` (bits -> inputs) differ: 1 bit takes 2, 3 take 4."""
    return _average({bits: formats.container(bits) for bits in columns}, columns)


def nominal_bits(columns: Mapping[int, int]) -> float:
    """Average bits a weight, where ``columns`` (bits -> inputs) differ."""
    return _average({bits: bits for bits in columns}, columns)


def _average(widths: Mapping[int, int], columns: Mapping[int, int]) -> float:
    """Inputs that stay float have codes too, and do not count as inputs again."""
    inputs = sum(count for bits, count in columns.items() if bits != FLOAT)
    return sum(widths[bits] * count for bits, count in columns.items()) / inputs
