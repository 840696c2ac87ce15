"""Tradeoffs as runs write them: three plans of a ResNet-20 at two counts of threads and two batches."""

import functools

from edge_mpq.records.report import LayerRow
from edge_mpq.records.tradeoff import PlanFacts, Point, Tradeoff
from tests.report import sample

SHARES = {"fp32": 0.8778, "int8": 0.8767, "mixed": 0.8748}
RATES = {"fp32": 1700.0, "int8": 3600.0, "mixed": 3650.0}


def point(
    plan: str, threads: int = 1, batch: int = 1, rate: float | None = None, spread: float = 0.05, **more
) -> Point:
    """A point whose quartiles lie ``spread`` around its rate."""
    rate = rate or RATES[plan] * (0.9 if threads == 2 else 1.0) * (1.1 if batch == 8 else 1.0)
    p50, ratio = 1e3 * batch / rate, rate / RATES["fp32"]
    low, high = 1 - spread, 1 + spread
    made = Point(
        plan, threads, batch, 32, 32, "", 20, 500, p50, p50 * low, p50 * high, 2 * p50, rate,
        ratio, ratio * low, ratio * high, top1=SHARES[plan], agreement=1.0 if plan == "fp32" else 0.99,
        peak_mib=65.0, loaded_mib=60.0,
    )  # fmt: skip
    return made._replace(**more)


@functools.cache
def _layers() -> dict[str, list[LayerRow]]:
    return {variant.name: variant.layers for variant in sample.report().variants}


def tradeoff(**changes) -> Tradeoff:
    """Twelve points, fp32 among them."""
    common = "resnet20", sample.MODEL, "cpu-x86-vnni", "onnxruntime"
    made = Tradeoff(
        title="3 plans of resnet20",
        created="2026-01-02 03:04 UTC",
        task="classify",
        data="cifar10",
        pictures=4000,
        reference="fp32",
        machine={"processor": "a Xeon", "cores": "2"},
        commands=["edge-mpq tradeoff out/ --data cifar10.npz"],
        plans=[
            PlanFacts(name, name, *common, budget, bits, mib, mib, _layers()[name])
            for name, budget, bits, mib in (
                ("fp32", "", 32.0, 1.02), ("int8", "", 8.0, 0.26), ("mixed", "size<=5bits", 4.98, 0.16),
            )
        ],
        points=[point(plan, threads, batch) for plan in SHARES for threads in (1, 2) for batch in (1, 8)],
    )  # fmt: skip
    return made._replace(**changes)
