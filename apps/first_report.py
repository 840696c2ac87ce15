"""What is measured right after a bundle is written: its engines where they run here, else the simulation."""

import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import fx

from apps import disagreements, measure
from apps.data.batches import batches, sample
from apps.data.masks import truth_of
from apps.latency_loop import Round
from apps.planned import Planned
from apps.terminal import bar, say
from apps.work import Work
from edge_mpq.cost import CostTable
from edge_mpq.layers import layers_of
from edge_mpq.quantizing import answers
from edge_mpq.records import plan as plans
from edge_mpq.records import target as targets
from edge_mpq.records.bundle import Bundle
from edge_mpq.records.layer import LayerSpec
from edge_mpq.records.plan import PrecisionPlan
from edge_mpq.records.report import LayerRow, Option, Variant
from export.bundle_from_torch import Quantized

# Test pictures that the first report looks at; `edge-mpq bench` looks at all of them.
GLANCE = 1000


class Written(NamedTuple):
    """A bundle, what it was made of, and how that was chosen.

    latency: layer -> pair -> planned ms.  uniform: None for a target without int8.  given: the float model
    as it came, where a recipe trained or rewrote another.
    """

    bundle: Bundle
    graph: fx.GraphModule
    mixed: Quantized
    uniform: Quantized | None
    chosen_by: Planned
    latency: CostTable
    given: fx.GraphModule | None = None


class Measured(NamedTuple):
    """For a report: variants (none without an engine), facts, and the pictures that the plan answers otherwise."""

    variants: list[Variant]
    facts: dict[str, Any]
    disagreements: list[list[str]]


def measured(folder: str, work: Work, written: Written, runs_here: bool, threads: int) -> Measured:
    """The bundle at ``folder`` by its engines, or where none runs here by its simulation."""
    chosen = sample(work.data.test, min(GLANCE, len(work.data.test)), seed=2)
    # Class labels say nothing of the maps that a segmenter answers with.
    truth = truth_of(work.data.test, work.recipe, written.bundle.task)
    pairs = list(batches(truth or work.data.test, work.recipe, 64, chosen))
    pictures = [values for values, _ in pairs]
    labels = np.concatenate([labels for _, labels in pairs]) if truth is not None else None

    def unlike(fp32: np.ndarray, mixed: np.ndarray) -> list[list[str]]:
        return disagreements.worst(work.data.test, chosen, fp32, mixed, measure.VARIANTS["model"], truth is not None)

    seen = [torch.from_numpy(values) for values in pictures]
    facts: dict[str, Any] = {"test_pictures": len(chosen), **_rounds(written.chosen_by.rounds)}
    if written.given is not None and labels is not None:
        kind, share = measure.accuracy(measure.top1(answers(written.given, seen, bar, "as given").numpy()), labels)
        facts[f"given_{kind}"] = share
    if not runs_here:
        say(f"no engine of {work.target.name} runs here; build it on the board. What follows is simulated:")
        said = {
            name: answers(model, seen, bar, f"simulated {name}").numpy()
            for name, model in (("fp32", written.graph), ("mixed", written.mixed.model))
        }
        return Measured([], facts | _simulated(said, labels), unlike(said["fp32"], said["mixed"]))
    started = time.perf_counter()
    engines = measure.open_all(folder, written.bundle, None, threads)
    facts["build_s"] = time.perf_counter() - started
    simulated = {
        role: answers(form.model, seen, bar, f"simulated {measure.VARIANTS[role]}").numpy()
        for role, form in (("model", written.mixed), ("int8", written.uniform))
        if form is not None
    }
    outputs = measure.outputs_of(engines, pictures)
    made = measure.variants(
        folder, written.bundle, engines, pictures[0][:1], outputs, labels, _rows(written), simulated
    )
    return Measured(made, facts, unlike(outputs["fp32"], outputs["model"]))


def _rounds(rounds: Sequence[Round]) -> dict[str, float]:
    """How planning on measured times went, for a budget of latency."""
    if not rounds:
        return {}
    best = rounds[-1]
    return {"latency_rounds": len(rounds), "foretold_ms": best.planned_ms, "settled_ms": best.measured_ms}


def _simulated(outputs: dict[str, np.ndarray], labels: np.ndarray | None) -> dict[str, float]:
    """What can be said of accuracy without an engine: by the answers of the float and the fake-quantized model."""
    said = {name: measure.top1(found) for name, found in outputs.items()}
    facts = {"simulated_mixed_agreement": float((said["mixed"] == said["fp32"]).mean())}
    if labels is not None:
        for name, top in said.items():
            kind, share = measure.accuracy(top, labels)
            facts[f"simulated_{name}_{kind}"] = share
    for name, share in facts.items():
        say(f"{name.replace('_', ' ')}: {share:.2%}")
    return facts


def _rows(written: Written) -> dict[str, list[LayerRow]]:
    """role -> what is planned of each layer."""
    layers, plan = layers_of(written.graph), written.mixed.plan
    floats = plans.uniform(layers, targets.get(plan.target), "fp32", "fp32")
    rows = {
        "fp32": _planned(layers, floats, written.latency),
        "model": _planned(layers, plan, written.latency, written.chosen_by.options),
    }
    if written.uniform is not None:
        rows["int8"] = _planned(layers, written.uniform.plan, {})
    return rows


def _planned(
    layers: list[LayerSpec],
    plan: PrecisionPlan,
    latency: CostTable,
    options: Mapping[str, tuple[Option, ...]] = MappingProxyType({}),
) -> list[LayerRow]:
    return [
        LayerRow(
            layer=layer.name,
            asked=plans.describe(plan.choices[layer.name]),
            got="unknown",
            weights=layer.weights,
            macs=layer.macs,
            planned_ms=latency.get(layer.name, {}).get(plan.choices[layer.name][:2]),
            harm=_harm(plan.choices[layer.name].why),
            why=plan.choices[layer.name].why,
            options=options.get(layer.name, ()),
        )
        for layer in layers
    ]


def _harm(why: str) -> float | None:
    """The score a plan's reason starts with, None for a plan without scores."""
    words = why.replace(";", "").split()
    return float(words[1]) if words[:1] == ["harm"] else None
