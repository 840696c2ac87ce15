"""Measure the range of every tensor of a graph on calibration pictures, streaming.

Memory is that of one batch and one observer a tensor, however many pictures there are.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Protocol

import torch
from torch import fx

from edge_mpq import observers
from edge_mpq.errors import CalibrationError
from edge_mpq.placement import points_of
from edge_mpq.progress import Progress, silent
from edge_mpq.records import formats
from edge_mpq.records.plan import PrecisionPlan
from edge_mpq.records.ranges import RangeTable
from edge_mpq.records.target import Scheme, Target

Batches = Iterable  # of float32 tensors [N, ...], or of (inputs, labels) pairs
# What tensors are measured for before there is a plan, and all that engines have.
USUAL_BITS = 8


class Sees(Protocol):
    """Whoever is shown the values of a tensor."""

    def see(self, values: torch.Tensor) -> None:
        """Take in those of one batch."""


def inputs_of(batch: object) -> torch.Tensor:
    """The input tensor of a batch that may carry labels beside it."""
    values = batch[0] if isinstance(batch, tuple | list) else batch
    return torch.as_tensor(values)


def labels_of(batch: object) -> torch.Tensor | None:
    """The labels of a batch [N], or None."""
    return torch.as_tensor(batch[1]) if isinstance(batch, tuple | list) and len(batch) > 1 else None


def few(batches: Batches, pictures: int = 128) -> list:
    """The first batches that hold ``pictures`` between them: enough to rank layers or to estimate a mean."""
    chosen: list = []
    seen = 0
    for batch in batches:
        chosen.append(batch)
        seen += len(inputs_of(batch))
        if seen >= pictures:
            break
    return chosen


class Watch(fx.Interpreter):
    """Runs a graph and shows chosen tensors, by the names of their nodes, to those who watch them."""

    def __init__(self, graph: fx.GraphModule, watchers: Mapping[str, Sees]):
        super().__init__(graph)
        self.watchers = watchers

    def run_node(self, node: fx.Node) -> object:
        value = super().run_node(node)
        watcher = self.watchers.get(node.name)
        if watcher is not None:
            watcher.see(value)
        return value


def ranges_of(
    graph: fx.GraphModule,
    tensors: Iterable[str],
    batches: Batches,
    rule: str = "minmax",
    symmetric: bool = False,
    progress: Progress = silent,
    bits: Mapping[str, int] = {},
) -> RangeTable:
    """The range of each named tensor over ``batches`` by observer ``rule``.

    bits: tensor -> bits of the grid that its range is for, 8 where it does not say (:func:`bits_of` a plan).
    Raises CalibrationError when there is no batch, or a tensor holds NaN or infinity.
    """
    observer = observers.get(rule).Observer
    watchers = {name: observer(bits=bits.get(name, USUAL_BITS), symmetric=symmetric) for name in tensors}
    run, seen, state = Watch(graph, watchers), 0, hashlib.sha256()
    with torch.no_grad():
        for batch in progress(batches, f"calibrating ({rule})"):
            values = inputs_of(batch)
            if not torch.isfinite(values).all():
                raise CalibrationError("a calibration batch holds NaN or infinity", "check the pictures and the recipe")
            run.run(values)
            seen += len(values)
            state.update(values.numpy().tobytes())
    if not seen:
        raise CalibrationError("there is no calibration picture", "give --data a folder with pictures")
    table = {name: watcher.range() for name, watcher in watchers.items()}
    return RangeTable(table, rule, seen, state.hexdigest()[:16])


def bits_of(graph: fx.GraphModule, plan: PrecisionPlan, scheme: Scheme) -> dict[str, int]:
    """Tensor -> bits of the integers that ``plan`` rounds it to; floats are left out."""
    forms = {point.tensor: formats.get(point.form) for point in points_of(graph, plan, scheme)}
    return {name: form.bits for name, form in forms.items() if not form.is_float}


def fitted(
    ranges: RangeTable,
    graph: fx.GraphModule,
    plan: PrecisionPlan,
    target: Target,
    batches: Batches,
    progress: Progress = silent,
) -> RangeTable:
    """``ranges``, those of tensors that ``plan`` rounds to fewer than 8 bits measured again at theirs.

    By the rule that the others were found by.  Nothing is read where there are none, as on every real target.
    """
    narrow = {name: bits for name, bits in bits_of(graph, plan, target.scheme).items() if bits < USUAL_BITS}
    if not narrow:
        return ranges
    again = ranges_of(graph, narrow, batches, ranges.rule, target.scheme.activation == "int8", progress, narrow)
    return ranges._replace(tensors={**ranges.tensors, **again.tensors})
