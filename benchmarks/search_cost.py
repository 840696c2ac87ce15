"""What a drop in accuracy costs to search for: whole-model trials of bisection and of one layer at a time.

    python -m benchmarks.search_cost --weights resnet20_cifar10.pt --data cifar10.npz

All look for the smallest ResNet-20 within a drop of top-1, on the same test pictures, with the
same simulation (nearest rounding) and the same tied layers, and are then judged on as many others.
A plan that another search has tried already counts for this one too.
*One at a time* is the automatic search of toolkits such as AIMET: the accuracy with each layer alone
in each format makes a list; down the list, each entry is kept until the accuracy is gone.
*Bisection* goes along the order of edge_mpq/allocators/bisection.py.  *Size* tries nothing: it is the
milp plan of no more bits than one at a time found.
"""

import argparse
import time
from collections.abc import Mapping

import torch

from apps.data.batches import sample
from apps.data.calibration import Calibration, labelled
from apps.data.opening import open_data
from edge_mpq import menu as menus
from edge_mpq import planning, sensitivity
from edge_mpq.allocators import Limit, bisection, milp
from edge_mpq.calibration import few, ranges_of
from edge_mpq.cost import Menu, Pair
from edge_mpq.engines.inputs import Recipe
from edge_mpq.evaluator import Evaluator
from edge_mpq.layers import layers_of
from edge_mpq.loading import load_model
from edge_mpq.placement import every_tensor
from edge_mpq.progress import silent
from edge_mpq.records import formats
from edge_mpq.records import target as targets
from edge_mpq.simulation import prepared

DROPS = (0.01, 0.02, 0.04)
SCORES = ("fisher", "hessian", "hessian_pairs")


def one_at_a_time(menu: Menu, units: list[list[str]], accuracy, least: float) -> dict[str, Pair]:
    """The plan that lowers entries of the list of accuracies, best first, while the whole stays accurate."""
    plan = {name: pairs[0] for name, pairs in menu.items()}
    entries = [(unit, pair) for unit in units for pair in menu[unit[0]][1:]]
    listed = {index: accuracy({**plan, **dict.fromkeys(unit, pair)}) for index, (unit, pair) in enumerate(entries)}
    for index in sorted(listed, key=lambda index: -listed[index]):
        unit, pair = entries[index]
        if menu[unit[0]].index(pair) <= menu[unit[0]].index(plan[unit[0]]):
            continue
        lower = {**plan, **dict.fromkeys(unit, pair)}
        if accuracy(lower) < least:
            break
        plan = lower
    return plan


def main() -> None:
    """Print a Markdown table: one row a drop and a search."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--pictures", type=int, default=1000, help="searched on, and as many to judge on")
    parser.add_argument("--formats", nargs="+", default=["w8a8", "w4a8"])
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    data, recipe, board = open_data(args.data), Recipe(32, 32), targets.get("cpu-x86-vnni")
    calibration = Calibration(data.train, recipe, 512, seed=args.seed)
    graph = prepared(load_model("cifar_resnet20", args.weights), few(calibration, 1)[0])
    ranges = ranges_of(graph, every_tensor(graph), calibration, "mse")
    layers = layers_of(graph)
    menu, ties = menus.menu_of(layers, board, args.formats), planning.ties_of(layers)
    tied = {name for tie in ties for name in tie}
    units = [*ties, *([name] for name in menu if name not in tied)]
    sizes = planning.cost_tables(layers, menu, board)["size"]
    chosen = sample(data.test, 2 * args.pictures, args.seed)
    halves = [labelled(data.test, recipe, chosen[start::2], 100) for start in (0, 1)]
    judge = Evaluator(graph, board, ranges, halves[1])
    weights = {layer.name: layer.weights for layer in layers}

    def bits(plan: Mapping[str, Pair]) -> float:
        spent = sum(weights[name] * formats.get(pair[0]).bits for name, pair in plan.items())
        return spent / sum(weights.values())

    def row(drop: float, what: str, plan: Mapping[str, Pair], trials: int) -> None:
        lost = judge.of(graph).right - judge(plan).right
        print(f"| {drop:.1%} | {what} | {trials} | {bits(plan):.2f} | {100 * lost:.1f} |", flush=True)

    scored = {}
    for name in SCORES:
        start = time.process_time()
        scored[name] = sensitivity.get(name).scores(graph, menu, few(calibration), ranges, board, silent)
        print(f"{name}: {time.process_time() - start:.0f} s of one core")
    print("| drop allowed | search | trials | bits | drop on others, points |\n|---|---|---|---|---|")
    trial = Evaluator(graph, board, ranges, halves[0])
    for drop in DROPS:
        least = trial.of(graph).right - drop
        asked: set[tuple] = set()

        def accuracy(plan: Mapping[str, Pair], asked: set[tuple] = asked) -> float:
            asked.add(tuple(plan.items()))
            return trial(plan).right

        found = one_at_a_time(menu, units, accuracy, least)
        row(drop, "one at a time", found, len(asked))
        for name in SCORES:
            asked.clear()
            plan = bisection.search(scored[name], ties, accuracy, least).kept[-1]
            row(drop, f"bisection, {name}", plan, len(asked))
        most = sum(sizes[name][pair] for name, pair in found.items())
        for name in SCORES:
            row(drop, f"size, {name}", milp.allocate(scored[name], [Limit(sizes, most, "size")], ties), 0)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
