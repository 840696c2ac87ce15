"""Latency budgets on this machine's engine: is the foretold time the measured one, and is the plan worth it?

    python -m benchmarks.latency_budget --models mobilenet_v2 resnet50

Random weights and noise for pictures: only times are told.  Each model gets as its budget the
time of the faster of uniform int8 and fp32, then one tenth more; engines are timed in turns, batch 1.
"""

import argparse
import functools

import torch

from apps import engine_times, latency_loop, measure
from apps.engine_times import EngineBench
from apps.planned import uniform_plans
from apps.terminal import bar
from edge_mpq import budget as budgets
from edge_mpq import menu as menus
from edge_mpq import planning, sensitivity
from edge_mpq.calibration import ranges_of
from edge_mpq.layers import layers_of
from edge_mpq.loading import load_model
from edge_mpq.placement import every_tensor
from edge_mpq.records import target as targets
from edge_mpq.simulation import prepared

FORMATS = ["fp32", "w8a8"]


def main() -> None:
    """Print a Markdown table: one row a model and budget."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=["mobilenet_v2", "resnet50"])
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    print(measure.machine(args.threads))
    print("| model | budget ms | foretold | measured | off | rounds | layers in fp32 | fp32 ms | int8 ms |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name in args.models:
        for row in _rows(name, args.size, args.threads):
            print("| " + " | ".join(row) + " |", flush=True)


def _plan(graph, pictures, target, budget, ranges, scores, timing):
    return planning.plan(
        graph, pictures[0], pictures, target, budget, formats=FORMATS, timing=timing, ranges=ranges, scores=scores
    )


def _rows(name: str, size: int, threads: int):
    torch.manual_seed(0)
    target = targets.get("cpu-x86-vnni")
    pictures = [torch.randn(4, 3, size, size)]
    graph = prepared(load_model(name, None), pictures[0][:1])
    layers = layers_of(graph)
    ranges = ranges_of(graph, every_tensor(graph), pictures)
    menu = menus.menu_of(layers, target, FORMATS)
    scores = sensitivity.get("sqnr").scores(graph, menu, pictures, ranges, target, bar)
    with EngineBench(graph, target, ranges, threads) as bench:
        timing = engine_times.with_changes(bench, engine_times.layer_times(bench), bar)
        best = min(bench.opened_ms.values())
        for share in (1.0, 1.1):
            budget = f"latency<={best * share:.5f}ms"

            made = functools.partial(_plan, graph, pictures, target, budget, ranges, scores)
            uniform = uniform_plans(graph, target, budgets.parse(budget), menu, scores, timing)
            rounds = latency_loop.settle(made, uniform, bench, timing, best * share, bar)
            chosen = rounds[-1]
            floats = sum(choice.activation == "fp32" for choice in chosen.plan.choices.values())
            yield [
                name,
                f"{best * share:.2f}",
                f"{chosen.planned_ms:.2f}",
                f"{chosen.measured_ms:.2f}",
                f"{chosen.off:.1%}",
                str(len(rounds)),
                f"{floats} of {len(layers)}",
                f"{bench.opened_ms['fp32']:.2f}",
                f"{bench.opened_ms['int8']:.2f}",
            ]


if __name__ == "__main__":
    main()
