"""Measure the engines of a bundle against each other: accuracy, agreement, and speed in one interleaved run."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from apps.board_bench import nominal_weights
from apps.stream.engine_from_bundle import ROLES, open_engine
from apps.terminal import bar, say
from apps.wildfire import metrics
from edge_mpq.engines.base import Engine
from edge_mpq.engines.onnxruntime import device
from edge_mpq.records import plan as plan_record
from edge_mpq.records.bundle import Bundle
from edge_mpq.records.plan import PrecisionPlan
from edge_mpq.records.report import LayerRow, RunReport, Variant

# Report name of each role of a bundle, in the order of the report.
VARIANTS = dict(ROLES)
MIB = 2.0**20
# A 99th percentile of so many medians is not the engine's doing.
BUSY = 4
# How much slower than usual an engine may be in a round that counts.
NOISE = 0.05


class Speed(NamedTuple):
    """Latency of one engine.  calls_ms: [rounds, calls]; quiet: [rounds], in which nothing disturbed any engine."""

    calls_ms: np.ndarray
    quiet: np.ndarray

    @property
    def p50_ms(self) -> float:
        """Of the quiet rounds: of all, load that comes midway could be in one engine's median and not in another's."""
        return float(np.percentile(self.calls_ms[self.quiet], 50))

    @property
    def p99_ms(self) -> float:
        """Of all calls, whatever disturbed them."""
        return float(np.percentile(self.calls_ms, 99))


def open_all(folder: str, bundle: Bundle, backend: str | None, threads: int) -> dict[str, Engine]:
    """Every engine of a bundle, built where there is none: role -> engine."""
    return {role: open_engine(folder, bundle, role, backend, threads, say) for role in VARIANTS if role in bundle.files}


def outputs_of(engines: dict[str, Engine], pictures: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """role -> what its engine answers to batches of inputs, joined [N, ...]."""
    return {role: answers(engine, pictures, f"answers of {role}") for role, engine in engines.items()}


def answers(engine: Engine, batches: Sequence[np.ndarray], what: str) -> np.ndarray:
    """The first output of an engine over batches, joined [N, ...]."""
    return np.concatenate([part for batch in bar(batches, what) for part in _parts(engine, batch)])


def _parts(engine: Engine, batch: np.ndarray) -> Iterator[np.ndarray]:
    """The answers to a batch [N, C, H, W], as many at once as an engine of a fixed batch takes."""
    count = engine.inputs[0].shape[0] or len(batch)
    for first in range(0, len(batch), count):
        part = batch[first : first + count]
        filled = np.concatenate([part, np.repeat(part[:1], count - len(part), axis=0)])
        yield engine.infer(filled)[0][: len(part)]


def top1(scores: np.ndarray) -> np.ndarray:
    """The answer to each picture [N, ...]: the best of K scores, or the sign of a single one."""
    return (scores[:, 0] > 0).astype(np.int64) if scores.shape[1] == 1 else scores.argmax(1)


def accuracy(said: np.ndarray, labels: np.ndarray) -> tuple[str, float]:
    """How right answers are, and the name of that: ``top1`` of classes [N], ``mean_iou`` of maps [N, H, W].

    Maps that were answered at another size are compared at the size of the true ones.
    """
    if labels.ndim == 1:
        return "top1", float((said == labels).mean())
    sizes = zip(labels.shape[1:], said.shape[1:], strict=True)
    rows, columns = (np.arange(size) * answered // size for size, answered in sizes)
    counts = metrics.confusion(said[:, rows][:, :, columns], labels, 1 + max(1, int(said.max()), int(labels.max())))
    return "mean_iou", metrics.mean_iou(counts)


def interleaved(
    engines: dict[str, Engine],
    batch: np.ndarray,
    rounds: int,
    calls: int = 25,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Speed]:
    """Time engines in rounds of ``calls`` each, so that what slows the machine slows all of them alike.

    Half the calls of a round are made in the order of ``engines`` and half in the reverse, so that what
    grows or fades within a round falls on all alike too.
    """
    taken: dict[str, list[list[float]]] = {role: [] for role in engines}
    for engine in engines.values():
        for _ in range(10):
            engine.infer(batch)
    for _ in bar(range(rounds), f"timing, batch {len(batch)}"):
        row: dict[str, list[float]] = {role: [] for role in engines}
        for order, count in ((list(engines), calls // 2), (list(engines)[::-1], calls - calls // 2)):
            for role in order:
                for _ in range(count):
                    started = clock()
                    engines[role].infer(batch)
                    row[role].append((clock() - started) * 1000)
        for role, times in row.items():
            taken[role].append(times)
    found = {role: np.array(times) for role, times in taken.items()}
    quiet = quiet_rounds(np.array([np.median(times, 1) for times in found.values()]))
    return {role: Speed(times, quiet) for role, times in found.items()}


def quiet_rounds(medians: np.ndarray) -> np.ndarray:
    """Which rounds [rounds] no engine was disturbed in; medians: [engines, rounds].

    Those in which every engine was within ``NOISE`` of what its fastest quarter of rounds took; at
    least a quarter of all rounds, the least disturbed, and never fewer than three.
    """
    few = max(3, medians.shape[1] // 4)
    usual = np.sort(medians, 1)[:, :few][:, -1:]
    slowed = (medians / usual).max(0)
    quiet = slowed <= 1 + NOISE
    quiet[np.argsort(slowed, kind="stable")[:few]] = True
    return quiet


def speedup(reference: Speed, other: Speed) -> float:
    """How many times faster than ``reference``: the ratio of the medians that a report shows."""
    return reference.p50_ms / other.p50_ms


def variants(
    folder: str,
    bundle: Bundle,
    engines: dict[str, Engine],
    example: np.ndarray,
    outputs: dict[str, np.ndarray],
    labels: np.ndarray | None,
    rows: dict[str, list[LayerRow]],
    simulated: dict[str, np.ndarray] | None = None,
    rounds: int = 20,
) -> list[Variant]:
    """One Variant an engine.

    example: one input [1, ...], which is timed.  outputs: role -> its answers to N pictures.  labels: [N] of
    them, or maps [N, H, W], None where unknown.  rows: role -> layer rows with what is planned; what is
    measured is filled in.  simulated: role -> answers of the fake-quantized torch model to the same pictures.
    """
    said = {role: top1(found) for role, found in outputs.items()}
    speeds = interleaved(engines, example, rounds)
    plan = plan_record.load(os.path.join(folder, bundle.files["plan"])) if "plan" in bundle.files else None
    made = []
    for role, engine in engines.items():
        plan_rows = rows.get(role, [])
        profile = {item.layer: item.ms for item in engine.profile(example)}
        size = os.path.getsize(os.path.join(folder, bundle.files[role]))
        weight_mib, bits = _weights(role, plan_rows, plan, size)
        agreed = simulated.get(role) if simulated else None
        made.append(
            Variant(
                name=VARIANTS[role],
                file_mib=size / MIB,
                weight_mib=weight_mib,
                weight_bits=bits,
                p50_ms=speeds[role].p50_ms,
                p99_ms=speeds[role].p99_ms,
                fps=1000 / speeds[role].p50_ms,
                speedup=speedup(speeds["fp32"], speeds[role]),
                agreement=float((said[role] == said["fp32"]).mean()),
                simulated_agreement=None if agreed is None else float((said[role] == top1(agreed)).mean()),
                layers=[
                    row._replace(
                        got=engine.card.got.get(row.layer, "unknown") if engine.card else "unknown",
                        measured_ms=profile.get(row.layer),
                    )
                    for row in plan_rows
                ],
                **(dict([accuracy(said[role], labels)]) if labels is not None else {}),
            )
        )
    if any(variant.p99_ms > BUSY * variant.p50_ms for variant in made):
        say("something else kept this machine busy while it was timed: measure again before you quote a speed")
    return made


def summaries(report: RunReport) -> dict[str, dict]:
    """The figures of each variant, without its layers, for ``--json``."""
    return {
        variant.name: {key: value for key, value in variant._asdict().items() if key not in ("name", "layers")}
        for variant in report.variants
    }


def _weights(role: str, rows: Sequence[LayerRow], plan: PrecisionPlan | None, file_bytes: int) -> tuple[float, float]:
    """(MiB, mean bits) of a role's weights at their nominal width; by the plan where the rows do not count them."""
    count = sum(row.weights for row in rows)
    if not count:
        return nominal_weights(role, plan, file_bytes)
    bits = sum(row.weights * _bits(row.asked) for row in rows) / count
    return count * bits / 8 / MIB, bits


def _bits(short: str) -> int:
    """Weight bits of a short format name."""
    from edge_mpq import menu
    from edge_mpq.records import formats

    return formats.get(menu.parse(short)[0]).bits


def machine(threads: int) -> dict[str, str]:
    """What a report says of the machine that measured."""
    import platform

    import onnxruntime

    return {
        "processor": device(),
        "cores": str(os.cpu_count()),
        "threads": str(threads),
        "python": platform.python_version(),
        "onnxruntime": onnxruntime.__version__,
    }
