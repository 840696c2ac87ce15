"""Which axes of learned rounding matter: ResNet-20 on CIFAR-10, one axis moved at a time, in simulation.

    python -m benchmarks.rounding_axes --weights resnet20_cifar10.pt --data cifar10.npz [--axes grid dof]

Every layer takes weights of one width and float activations, so that rounding is all that is judged.
Prints the loss of accuracy in points against the float model on ``--pictures`` test pictures, each seed
with other calibration pictures and other draws; ``error`` is the share that is left of the squared error
that nearest rounding makes in the model's outputs.
"""

import argparse
from typing import Any

import torch

from apps.data.calibration import Calibration, labelled
from apps.data.opening import open_data
from apps.terminal import bar
from edge_mpq.drop import share_right
from edge_mpq.engines.inputs import Recipe
from edge_mpq.layers import layers_of
from edge_mpq.loading import load_model
from edge_mpq.quantizing import answers, quantize
from edge_mpq.reconstruction import Options
from edge_mpq.records import plan as plans
from edge_mpq.records import target as targets
from edge_mpq.rounding import Rounding
from edge_mpq.rounding.learned import Rule
from edge_mpq.simulation import prepared

RECIPE = Recipe(32, 32)
AXES = ("unit", "loss", "dof", "grid", "variable", "optimizer", "augment", "drop")
# What is moved away from the rule's own choice, one at a time.
MOVED: tuple[dict[str, Any], ...] = (
    {},
    {"unit": "block"},
    {"loss": "fisher"},
    {"loss": "kl"},
    {"dof": ("rounding", "scale")},
    {"dof": ("rounding", "bias")},
    {"grid": "power"},
    {"variable": "softplus"},
    {"variable": "ste"},
    {"optimizer": "adamw"},
    {"optimizer": "adamax"},
    {"optimizer": "sgd"},
    {"augment": "mixup"},
    {"augment": "gauss"},
    {"drop": 0.0},
)


def main() -> None:
    """Print a Markdown table: one row a choice."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--weight", default="int3", help="format of all weights (int3)")
    parser.add_argument("--axes", nargs="+", choices=AXES, default=list(AXES), metavar="A", help="to move (all)")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--iterations", type=int, default=300)
    parser.add_argument("--pictures", type=int, default=2000)
    args = parser.parse_args()
    torch.set_num_threads(1)
    data = open_data(args.data)
    graph = prepared(load_model("cifar_resnet20", args.weights), torch.zeros(1, 3, 32, 32))
    tests = labelled(data.test, RECIPE, list(range(args.pictures)), 100)
    plan = plans.uniform(layers_of(graph), targets.get("simulation"), args.weight, "fp32")
    exact, right = answers(graph, tests), share_right(graph, tests)

    def judged(rule: str | Rounding, seed: int) -> tuple[float, float]:
        """(points lost, squared error of the outputs)."""
        calibration = Calibration(data.train, RECIPE, 256, seed=seed)
        model, _ = quantize(graph, plan, calibration, rounding=rule)
        error = (answers(model, tests) - exact).square().mean().item()
        return 100 * (right - share_right(model, tests)), error

    print("| choice | points lost, each seed | error left |\n|---|---|---|", flush=True)
    nearest = [judged("nearest", seed) for seed in range(args.seeds)]
    told("nearest", nearest, nearest)
    told("error feedback", [judged("feedback", seed) for seed in range(args.seeds)], nearest)
    chosen = [moved for moved in MOVED if set(moved) <= set(args.axes)]
    for moved in bar(chosen, "learning to round, one axis moved"):
        name = ", ".join(f"{axis} {_said(value)}" for axis, value in moved.items()) or "as it is"
        options = Options(iterations=args.iterations)._replace(**moved)
        told(name, [judged(Rule(options._replace(seed=seed)), seed) for seed in range(args.seeds)], nearest)


def told(name: str, found: list[tuple[float, float]], nearest: list[tuple[float, float]]) -> None:
    """Print one row."""
    lost = ", ".join(f"{points:.2f}" for points, _ in found)
    left = sum(error for _, error in found) / sum(error for _, error in nearest)
    print(f"| {name} | {lost} | {left:.2f} |", flush=True)


def _said(value: Any) -> str:
    return " and ".join(value) if isinstance(value, tuple) else str(value)


if __name__ == "__main__":
    main()
