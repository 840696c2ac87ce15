"""MixDQ's parts, one after the other, on a small conditional generator whose token 0 is 60 times as great as any word.

    python -m benchmarks.mixdq
    python -m benchmarks.mixdq --seeds 0 1 2

The generator is that of the tests (tests/trained_generator.py): 16 x 16 pictures of one shape by a prompt.
Errors are mean squared ones of pictures in [0, 1], on 256 prompts never trained on: against the pictures
asked for, and against those of the float model.  Activations have 8 bits everywhere; ranges are from least to
greatest, rounding is to nearest.  ``noise only`` plans all layers by the noise power of the answer
(sqnr, milp), ``decoupled`` is recipe mixdq.
"""

import argparse

import torch

from edge_mpq.layers import layers_of
from edge_mpq.planning import plan
from edge_mpq.quantizing import quantize
from edge_mpq.recipes import Outcome, Task, mixdq
from edge_mpq.records import plan as plans
from edge_mpq.records import target as targets
from edge_mpq.transforms import apply_all
from tests import trained_generator as toy

BOARD = targets.get("simulation")
FORMATS = ("w8a8", "w4a8", "w2a8")


def uniform(task: Task, weight: str, rewrites: tuple[str, ...]) -> Outcome:
    """Every layer with ``weight`` bits and 8-bit activations."""
    graph = apply_all(rewrites, task.graph, task.calibration, task.target)
    made = plans.uniform(layers_of(graph), task.target, weight, "int8")._replace(transforms=rewrites)
    quantized, ranges = quantize(graph, made, task.calibration, observer="minmax", rounding="nearest")
    return Outcome(made, graph, quantized, ranges)


def noise_only(task: Task) -> Outcome:
    """The bypass, then one program on the noise power of the answer."""
    graph = apply_all(mixdq.REWRITES, task.graph, task.calibration, task.target)
    options = {"sensitivity": "sqnr", "formats": task.formats, "transforms": mixdq.REWRITES, "observer": "minmax"}
    made = plan(graph, task.example, task.calibration, task.target, task.budget, **options)
    quantized, ranges = quantize(graph, made, task.calibration, observer="minmax", rounding="nearest")
    return Outcome(made, graph, quantized, ranges)


WAYS = {
    "w8a8, naive": lambda task: uniform(task, "int8", ()),
    "w8a8, token 0 passes by": lambda task: uniform(task, "int8", mixdq.REWRITES),
    "w4a8, naive": lambda task: uniform(task, "int4", ()),
    "w4a8, token 0 passes by": lambda task: uniform(task, "int4", mixdq.REWRITES),
    "mixed, noise only": noise_only,
    "mixed, decoupled": mixdq.run,
    "mixed, decoupled, decibels": lambda task: mixdq.run(task, decibels=True),
}


@torch.no_grad()
def drift(model: torch.nn.Module, graph: torch.nn.Module) -> float:
    """Mean squared difference of two models' pictures."""
    batches = [toy.labelled(toy.EACH, 90_000 + index)[0] for index in range(8)]
    moved = [(model(inputs).sigmoid() - graph(inputs).sigmoid()).square().mean() for inputs in batches]
    return float(torch.stack(moved).mean())


def main() -> None:
    """Print a Markdown table: one row a way, means over the seeds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--bits", type=float, nargs="+", default=[4.0, 3.0], help="average bits of mixed plans")
    args = parser.parse_args()
    rows: dict[str, list[tuple[float, float, float]]] = {}
    for seed in args.seeds:
        graph = toy.graph(seed=seed)
        rows.setdefault("float", []).append((32.0, toy.error(graph), 0.0))
        for bits in args.bits:
            task = Task(
                graph=graph,
                example=toy.labelled(2, 0)[0],
                calibration=toy.calibration(seed=50_000 + 100 * seed),
                validation=[toy.labelled(16, 70_000 + index) for index in range(2)],
                training=None,
                target=BOARD,
                budget=f"size<={bits}bits",
                formats=FORMATS,
                seed=seed,
            )
            for way, run in WAYS.items():
                title = f"{way}, {bits:g} bits" if way.startswith("mixed") else way
                if len(rows.get(title, ())) > args.seeds.index(seed):
                    continue  # what has no budget was measured with the first
                found = run(task)
                width = plans.weight_bits(found.plan, layers_of(found.graph))
                rows.setdefault(title, []).append((width, toy.error(found.quantized), drift(found.quantized, graph)))
    print("| way | bits | error | from the float model | error of each seed |\n|---|---|---|---|---|")
    for title, found_rows in rows.items():
        means = [sum(column) / len(found_rows) for column in zip(*found_rows, strict=True)]
        each = " ".join(f"{error:.4f}" for _, error, _ in found_rows)
        print(f"| {title} | {means[0]:.2f} | {means[1]:.4f} | {means[2]:.5f} | {each} |")


if __name__ == "__main__":
    main()
