"""Milliseconds that engines really took, layer by layer.

One uniform engine for every pair (all layers w8a8, all layers fp32) gives each layer's
time in that pair.  A pair with no engine of its own borrows from one that computes in the
same arithmetic, the nearest in weight container: on a board without 4-bit kernels, w4a8
runs as fast as w8a8.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from edge_mpq.cost import CostTable, Menu, Pair
from edge_mpq.cost._compute import compute_format
from edge_mpq.errors import PlanError
from edge_mpq.records import formats
from edge_mpq.records.layer import LayerSpec
from edge_mpq.records.target import Target

UNIT = "ms"


class Timing(NamedTuple):
    """What engines of one model took on one machine, in ms a picture.

    times: pair -> layer -> ms, from uniform engines.  other_ms: outside the layers.  changes:
    (writer, reader) -> (activation format of the one, of the other) -> ms of converting.
    """

    times: Mapping[Pair, Mapping[str, float]]
    other_ms: float = 0.0
    changes: Mapping[tuple[str, str], Mapping[tuple[str, str], float]] = {}


def table(
    layers: Sequence[LayerSpec],
    menu: Menu,
    target: Target,
    *,
    times: Mapping[Pair, Mapping[str, float]] | None = None,
    **facts: Any,
) -> CostTable:
    """The measured time of every layer in every pair.

    times: pair -> layer -> ms, from the profiles of uniform engines.  Raises PlanError
    naming every layer without a time, every pair that cannot borrow, every bad time.
    """
    times = times or {}
    pairs = {pair for layer in layers for pair in menu[layer.name]}
    sources = {pair: _source(pair, times, target) for pair in pairs}
    faults = [f"nothing measured computes like {' weights with '.join(pair)} activations on {target.name}"
              for pair in sorted(pairs) if sources[pair] is None]  # fmt: skip
    for source in sorted({source for source in sources.values() if source is not None}):
        for layer in layers:
            ms = times[source].get(layer.name)
            if ms is None:
                faults.append(f"layer {layer.name!r} has no time in the {'/'.join(source)} profile")
            elif not (math.isfinite(ms) and ms >= 0):
                faults.append(f"layer {layer.name!r} took {ms} ms in the {'/'.join(source)} profile")
    if faults:
        shown = faults[:8] + ([f"and {len(faults) - 8} more"] if len(faults) > 8 else [])
        raise PlanError("; ".join(shown), "profile a uniform engine for each pair, or use the roofline cost")
    return {
        layer.name: {pair: float(times[sources[pair]][layer.name]) for pair in menu[layer.name]}  # type: ignore[index]
        for layer in layers
    }


def _source(pair: Pair, times: Mapping[Pair, Mapping[str, float]], target: Target) -> Pair | None:
    """The measured pair that stands for ``pair``: itself, or the nearest of the same arithmetic."""
    if pair in times:
        return pair
    wanted = compute_format(pair, target)
    alike = sorted(other for other in times if compute_format(other, target) == wanted)

    def distance(other: Pair) -> int:
        return sum(
            abs(formats.get(mine).container_bits - formats.get(its).container_bits)
            for mine, its in zip(pair, other, strict=True)
        )

    return min(alike, key=distance, default=None)
