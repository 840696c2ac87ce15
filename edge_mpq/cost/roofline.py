"""Predicted milliseconds: the greater of computing and moving, plus starting a kernel.

Williams, Waterman, Patterson, "Roofline" (CACM 2009).  Bytes are those of the containers,
not of the nominal bits: 5-bit weights are read as int8.  Fusion, caches and the cost of
changing formats between layers are left out, so it predicts the right order of layers,
not the right digit; ``measured`` does better once an engine exists.
"""

from collections.abc import Sequence
from typing import Any

from edge_mpq.cost import CostTable, Menu, Pair
from edge_mpq.cost._compute import compute_format
from edge_mpq.records import formats
from edge_mpq.records.layer import LayerSpec
from edge_mpq.records.target import Target

UNIT = "ms"


def table(layers: Sequence[LayerSpec], menu: Menu, target: Target, **facts: Any) -> CostTable:
    """Milliseconds of each layer alone, batch 1."""
    return {layer.name: {pair: _ms(layer, pair, target) for pair in menu[layer.name]} for layer in layers}


def _ms(layer: LayerSpec, pair: Pair, target: Target) -> float:
    operations = 2 * layer.macs
    compute_s = operations / (target.peak_tops[compute_format(pair, target)] * 1e12 * target.efficiency)
    weight, activation = (formats.get(name).container_bits / 8 for name in pair)
    moving_s = (layer.weights * weight + layer.activations * activation) / (target.bandwidth_gbs * 1e9)
    return max(compute_s, moving_s) * 1e3 + target.launch_us / 1e3
