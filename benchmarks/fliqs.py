"""FLIQS on ResNet-20 and CIFAR-10 with real weights: searched formats against fixed ones trained alike.

    python -m benchmarks.fliqs --weights resnet20_cifar10.pt --data cifar10.npz

One row a menu: of one format, nothing is searched and the same training runs on it; ``after
training`` rows are the uniform and the default recipe on the same pictures.  A menu with widths
is searched jointly: bits are those of the weights that are left, size and bit operations are shares
of the whole model's in fp32.  Accuracy is of the simulation on the first test pictures.  A seed
draws pictures, their order and shifts, and formats.
"""

import argparse
import time
from typing import NamedTuple

import torch

from apps.data.augmentation import Augmentation, Shuffled, picking
from apps.data.batches import sample
from apps.data.calibration import labelled
from apps.data.opening import open_data
from apps.terminal import bar
from edge_mpq import recipes
from edge_mpq.engines.inputs import Recipe
from edge_mpq.layers import layers_of
from edge_mpq.loading import load_model
from edge_mpq.quantizing import answers
from edge_mpq.recipes import Task, fliqs
from edge_mpq.records import formats
from edge_mpq.records import plan as plans
from edge_mpq.records import target as targets
from edge_mpq.simulation import prepared
from edge_mpq.training.policy import Options

# Labelled training pictures that nobody trains on: half of them calibrate.
HELD = 1024
HEAD = "| target | recipe | formats | bits | size, % of fp32 | GBOPs, % of fp32 | top-1 % | layers | seconds |"


class Case(NamedTuple):
    """What is asked: recipe ``fliqs`` trains, others do not."""

    recipe: str
    formats: tuple[str, ...]
    target: str
    budget: str
    widths: tuple[float, ...] = ()


# 1.25 times the bit operations of four bits everywhere: 16 of the 1024 of fp32.
EQUAL = f"bitops<={1.25 * 16 / 1024:.5f}x"
CASES = {
    "integers": [
        Case("uniform", ("w8a8", "w4a8"), "cpu-x86-vnni", "size<=5bits"),
        Case("default", ("w8a8", "w4a8"), "cpu-x86-vnni", "size<=5bits"),
        Case("fliqs", ("w4a8",), "cpu-x86-vnni", "size<=5bits"),
        Case("fliqs", ("w8a8", "w4a8"), "cpu-x86-vnni", "size<=5bits"),
    ],
    "small": [
        Case("uniform", ("fp4",), "simulation", EQUAL),
        Case("fliqs", ("fp4",), "simulation", EQUAL),
        Case("fliqs", ("fp8", "fp4"), "simulation", EQUAL),
        Case("fliqs", ("fp8", "fp7_e3m3", "fp6_e3m2", "fp6_e2m3", "fp5_e2m2", "fp4"), "simulation", EQUAL),
        Case("fliqs", ("w4a4",), "simulation", EQUAL),
        Case("fliqs", ("w8a8", "w4a4"), "simulation", EQUAL),
    ],
    "narrow": [
        Case("fliqs", ("w8a8", "w4a8"), "cpu-x86-vnni", "size<=3bits", (1.0, 0.75, 0.5)),
        Case("fliqs", ("w4a8", "w3a8", "w2a8"), "cpu-x86-vnni", "size<=3bits"),
    ],
}


def main() -> None:
    """Print a Markdown table: one row a case and seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--pictures", type=int, default=10976, help="training pictures")
    parser.add_argument("--test", type=int, default=2000, help="test pictures")
    parser.add_argument("--rate", type=float, default=2e-3, help="peak learning rate, as a share of a weight's size")
    parser.add_argument("--cost-weight", type=float, default=1.0)
    parser.add_argument("--entropy", type=float, default=0.5)
    args = parser.parse_args()
    print(HEAD + "\n" + "|---" * (HEAD.count("|") - 1) + "|")
    for seed in range(args.seeds):
        task, test, labels = _task(args, seed)
        for case in [case for name in args.cases for case in CASES[name]]:
            _row(args, task, case, test, labels)


def _task(args: argparse.Namespace, seed: int) -> tuple[Task, list[torch.Tensor], torch.Tensor]:
    data, recipe = open_data(args.data), Recipe(32, 32)
    order = sample(data.train, min(HELD + args.pictures, len(data.train)), seed=seed)
    held = labelled(data.train, recipe, order[:HELD])
    pick = picking(data.train, recipe, order[HELD:], bar)
    judged = labelled(data.test, recipe, list(range(args.test)), 100)
    example = held[0][0][:1]
    task = Task(
        graph=prepared(load_model("cifar_resnet20", args.weights), example),
        example=example,
        calibration=[inputs for inputs, _ in held[::2]],
        validation=held[1::2],
        training=Shuffled(pick, len(order) - HELD, how=Augmentation(shift=4, contrast=0.0), seed=seed),
        target=targets.get("simulation"),
        budget="",
        seed=seed,
    )
    return task, [inputs for inputs, _ in judged], torch.cat([classes for _, classes in judged])


def _row(args: argparse.Namespace, task: Task, case: Case, test: list[torch.Tensor], labels: torch.Tensor) -> None:
    asked = task._replace(target=targets.get(case.target), budget=case.budget, formats=list(case.formats))
    started = time.perf_counter()
    if case.recipe == "fliqs":
        options = Options(cost_weight=args.cost_weight, entropy=args.entropy)
        outcome = fliqs.run(asked, bar, args.epochs, args.rate, options, case.widths)
    else:
        outcome = recipes.get(case.recipe).run(asked, bar)
    seconds = time.perf_counter() - started
    right = float((answers(outcome.quantized, test).argmax(1) == labels).float().mean())
    layers = layers_of(outcome.graph)
    pairs = {name: choice[:2] for name, choice in outcome.plan.choices.items()}
    whole = layers_of(task.graph)
    spent = sum(layer.macs * _bits(pairs[layer.name]) for layer in layers) / sum(layer.macs * 1024 for layer in whole)
    bits = plans.weight_bits(outcome.plan, layers)
    room = bits * sum(layer.weights for layer in layers)
    shorts = [plans.describe(choice) for choice in outcome.plan.choices.values()]
    counts = ", ".join(f"{shorts.count(short)} {short}" for short in dict.fromkeys(shorts))
    cells = [
        case.target,
        case.recipe,
        " ".join((*case.formats, *map(str, case.widths))),
        f"{bits:.2f}",
        f"{100 * room / sum(32 * layer.weights for layer in whole):.2f}",
        f"{100 * spent:.2f}",
        f"{100 * right:.2f}",
    ]
    print("| " + " | ".join([*cells, counts, f"{seconds:.0f}"]) + " |", flush=True)


def _bits(pair: tuple[str, str]) -> int:
    return formats.get(pair[0]).bits * formats.get(pair[1]).bits


if __name__ == "__main__":
    main()
