"""Engines of one model under several plans, timed against each other on this machine: what latency budgets want."""

import os
import tempfile
from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from scipy.optimize import nnls
from torch import fx

from apps import measure
from edge_mpq import allocators, engines
from edge_mpq import graph as ir
from edge_mpq.cost import Pair
from edge_mpq.cost.measured import Timing
from edge_mpq.engines.base import Engine
from edge_mpq.engines.onnxruntime import random_batch
from edge_mpq.layers import layers_of
from edge_mpq.neighbours import neighbours
from edge_mpq.progress import Progress, silent
from edge_mpq.records import plan as plans
from edge_mpq.records.layer import LayerSpec
from edge_mpq.records.plan import Choice, PrecisionPlan
from edge_mpq.records.ranges import RangeTable
from edge_mpq.records.target import Target
from edge_mpq.simulation import simulate
from export import bundle_from_torch, onnx_from_torch
from export.bundle_from_torch import Quantized

FLOAT: Pair = ("fp32", "fp32")
INTEGER: Pair = ("int8", "int8")
ROUNDS = 12


class EngineBench:
    """Uniform fp32 and int8 engines of a model, and others beside them.  Use it in a ``with`` block.

    The machine may be slower at one time than at another: every time is taken in turns with the
    fp32 engine's, and told as it would have been when the bench was opened.  Raises EngineError
    where the target's engine cannot be built on this machine.
    """

    def __init__(self, graph: fx.GraphModule, target: Target, ranges: RangeTable, threads: int = 1):
        self.graph, self.target, self.ranges, self.threads = graph, target, ranges, threads
        self.layers = layers_of(graph)
        self._folder = tempfile.TemporaryDirectory(prefix="edge-mpq-")
        self._float_onnx = onnx_from_torch.onnx_from_graph(graph, bundle_from_torch.opset_of(target))
        self._engines: dict[str, Engine] = {}
        try:
            self.add("fp32", None)
            self.add("int8", plans.uniform(self.layers, target, *INTEGER))
            self.opened_ms = self._p50(["fp32", "int8"])
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "EngineBench":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the engines and their files."""
        for engine in self._engines.values():
            engine.close()
        self._engines.clear()
        self._folder.cleanup()

    def add(self, name: str, plan: PrecisionPlan | None) -> None:
        """Build and open the engine of ``plan``, of the float model for None."""
        stem = os.path.join(self._folder.name, name)
        if plan is None:
            model = self._float_onnx
        else:
            form = Quantized(plan, simulate(self.graph, plan, self.target, self.ranges))
            model = bundle_from_torch.quantized_onnx(self._float_onnx, self.graph, form, self.target)
        onnx.save(model, stem + ".onnx")
        backend = engines.get(self.target.backend)
        backend.build(stem + ".onnx", stem + ".engine", self.target, plan, self.threads)
        self._engines[name] = backend.open(stem + ".engine", self.threads)

    def ms(self, name: str) -> float:
        """Median time of a picture by engine ``name``."""
        taken = self._p50(["fp32", name])
        return taken[name] * self.opened_ms["fp32"] / taken["fp32"]

    def layer_ms(self, name: str, total_ms: float) -> dict[str, float]:
        """layer -> its share of ``total_ms``; '' is all other work.  Conversions count to the layer before them."""
        profile = {item.layer: item.ms for item in self._engines[name].profile(random_batch(self._engines[name]))}
        scale = total_ms / sum(profile.values())
        return {layer: ms * scale for layer, ms in profile.items()}

    def _p50(self, names: Sequence[str]) -> dict[str, float]:
        chosen = {name: self._engines[name] for name in names}
        batch = random_batch(self._engines["fp32"])
        # Large models need fewer calls to tell the same.
        calls = 25 if sum(layer.macs for layer in self.layers) < 2e8 else 5
        found = measure.interleaved(chosen, batch, ROUNDS, calls)
        return {name: speed.p50_ms for name, speed in found.items()}


def layer_times(bench: EngineBench) -> Timing:
    """The time of every layer from the uniform engines; changes of format cost nothing yet."""
    times: dict[Pair, dict[str, float]] = {}
    others = []
    for pair, name in ((FLOAT, "fp32"), (INTEGER, "int8")):
        times[pair] = bench.layer_ms(name, bench.opened_ms[name])
        others.append(times[pair].pop("", 0.0))
        for layer in bench.layers:
            times[pair].setdefault(layer.name, 0.0)
    return Timing(times, min(others))


def with_changes(bench: EngineBench, timing: Timing, progress: Progress = silent) -> Timing:
    """``timing`` with what changes of format cost, from engines whose layers alternate.

    The cost of a change is taken to be proportional to the values that are converted; both rates
    (to integers and to floats) are fitted to what two alternating plans took beyond their layers.
    """
    between = neighbours(bench.graph)
    values = _values_read(bench.graph, bench.layers)
    rows, extra = [], []
    for first in progress((0, 1), "timing changes of format"):
        plan = _alternating(bench.layers, bench.target, first)
        pairs: dict[str, Pair] = {name: choice[:2] for name, choice in plan.choices.items()}
        name = f"alternating-{first}"
        bench.add(name, plan)
        by_layer = sum(timing.times[pair][layer] for layer, pair in pairs.items())
        extra.append(bench.ms(name) - timing.other_ms - by_layer)
        rows.append([_converted(between, values, pairs, *change) for change in CHANGES])
    rates = nnls(np.array(rows), np.maximum(extra, 0.0))[0]
    changes = {
        edge: {change: float(rate * values[edge[1]]) for change, rate in zip(CHANGES, rates, strict=True)}
        for edge in between
    }
    return timing._replace(changes=changes)


# (activation format of the writer, of the reader)
CHANGES = (("fp32", "int8"), ("int8", "fp32"))


def corrected(timing: Timing, plan: PrecisionPlan, measured: Mapping[str, float]) -> Timing:
    """``timing`` moved so that it foretells of ``plan`` what its engine took: layer -> ms, '' the rest."""
    pairs: dict[str, Pair] = {name: choice[:2] for name, choice in plan.choices.items()}
    times = {pair: dict(row) for pair, row in timing.times.items()}
    for name, pair in pairs.items():
        arithmetic = FLOAT if pair[1] == "fp32" else INTEGER
        after = allocators.change_cost({edge: cost for edge, cost in timing.changes.items() if edge[0] == name}, pairs)
        times[arithmetic][name] = max(0.0, measured.get(name, 0.0) - after)
    return Timing(times, measured.get("", 0.0), timing.changes)


def _values_read(graph: fx.GraphModule, layers: Sequence[LayerSpec]) -> dict[str, int]:
    """layer -> how many values it reads for one picture."""
    nodes = ir.weighted(graph)
    return {layer.name: int(np.prod(ir.shape(nodes[layer.name][0].args[0]))) for layer in layers}


def _converted(
    between: Sequence[tuple[str, str]], values: Mapping[str, int], pairs: Mapping[str, Pair], said: str, heard: str
) -> float:
    """How many values a plan converts from one activation format to another."""
    return float(sum(values[b] for a, b in between if (pairs[a][1], pairs[b][1]) == (said, heard)))


def _alternating(layers: Sequence[LayerSpec], target: Target, first: int) -> PrecisionPlan:
    """Every other unit of tied layers in fp32, the rest in int8."""
    units: dict[str, int] = {}
    for layer in layers:
        units.setdefault(layer.tie or layer.name, len(units))
    made = plans.uniform(layers, target, *INTEGER)
    floats = [layer.name for layer in layers if units[layer.tie or layer.name] % 2 == first]
    return made._replace(choices={**made.choices, **{name: Choice(*FLOAT, why="alternating") for name in floats}})
