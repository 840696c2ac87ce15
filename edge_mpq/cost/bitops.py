"""Bit operations: multiply-adds times weight bits times activation bits, in 1e9 (GBOPs).

The hardware-free yardstick of the literature (Baskin et al. 2018, arXiv 1804.10969; Uhlich
et al. 2020, arXiv 1905.11452).  It orders silicon area and energy, not an engine's time.
"""

from collections.abc import Sequence
from typing import Any

from edge_mpq.cost import CostTable, Menu
from edge_mpq.records import formats
from edge_mpq.records.layer import LayerSpec
from edge_mpq.records.target import Target

UNIT = "GBOPs"


def table(layers: Sequence[LayerSpec], menu: Menu, target: Target, **facts: Any) -> CostTable:
    """GBOPs of one picture."""
    return {
        layer.name: {
            (weight, activation): layer.macs * formats.get(weight).bits * formats.get(activation).bits / 1e9
            for weight, activation in menu[layer.name]
        }
        for layer in layers
    }
