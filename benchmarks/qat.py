"""Quantization-aware training against quantization after it, on ResNet-20 and CIFAR-10 with real weights.

    python -m benchmarks.qat --weights resnet20_cifar10.pt --data cifar10.npz --plans w4a8 w2a8

All start from the same float model and plan.  Nearest and after training: ranges of least squared error on
512 pictures, rounding to nearest or with error feedback, bias correction.  Aware: a few epochs over the
training pictures, shifted and mirrored, by the float model's answers.  A seed draws calibration
pictures, order and shifts.
Accuracy is of the engine on every test picture; where no engine runs the plan, of the simulation.
"""

import argparse
import tempfile
import time
from typing import NamedTuple

import numpy as np
import torch
from torch import fx, nn

import edge_mpq
from apps import measure
from apps.data.augmentation import Augmentation, Shuffled, picking
from apps.data.batches import batches
from apps.data.calibration import Calibration
from apps.data.opening import open_data
from apps.terminal import bar
from edge_mpq.engines import onnxruntime
from edge_mpq.engines.inputs import Recipe
from edge_mpq.layers import layers_of
from edge_mpq.loading import load_model
from edge_mpq.quantizing import answers
from edge_mpq.records import plan as plans
from edge_mpq.records import target as targets
from edge_mpq.records.plan import PrecisionPlan
from edge_mpq.training import qat
from export import onnx_from_torch
from export.bundle_from_torch import Quantized, opset_of, quantized_onnx

MOVED = Augmentation(shift=4, contrast=0.0)
COLUMNS = (
    "plan", "seed", "fp32 %", "nearest %", "after training %", "aware %", "gain, points",
    "agrees %", "s after", "s aware",
)  # fmt: skip


class Measured(NamedTuple):
    """One seed: accuracies and agreement in %, seconds of either way.

    agreement: of the engine with the simulated model, in top-1 answers; NaN without an engine.
    """

    fp32: float
    nearest: float
    after: float
    aware: float
    agreement: float
    after_s: float
    aware_s: float


def main() -> None:
    """Print a Markdown table: one row a plan and seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--plans", nargs="+", default=["w4a8"], help="w4a8, w4a4, ... or a budget such as size<=5bits")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--rate", type=float, default=1e-4, help="peak learning rate")
    parser.add_argument("--distillation", type=float, default=1.0, help="weight of the float model's answers")
    parser.add_argument("--frozen", type=float, default=1.0, help="last share of epochs on running statistics")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rule", default="lsq")
    args = parser.parse_args()
    data, recipe = open_data(args.data), Recipe(32, 32)
    test = [(torch.from_numpy(x), torch.from_numpy(y)) for x, y in batches(data.test, recipe, 100)]
    pick = picking(data.train, recipe, range(len(data.train)), bar)
    print("| " + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|", flush=True)
    for wanted in args.plans:
        for seed in range(args.seeds):
            calibration = Calibration(data.train, recipe, 512, seed=seed)
            found = one(args, wanted, calibration, Shuffled(pick, len(data.train), args.batch, MOVED, seed), test)
            gain = found.aware - found.after
            numbers = (found.fp32, found.nearest, found.after, found.aware, gain, found.agreement)
            shown = " | ".join(f"{number:.2f}" for number in numbers)
            print(f"| {wanted} | {seed} | {shown} | {found.after_s:.0f} | {found.aware_s:.0f} |", flush=True)


def one(args: argparse.Namespace, wanted: str, calibration: Calibration, pictures: Shuffled, test: list) -> Measured:
    """Both ways from the same float model under the same plan."""
    model, example = load_model("cifar_resnet20", args.weights), test[0][0][:1]
    plan = plan_of(wanted, model, example, calibration)
    started = time.perf_counter()
    after, ranges = edge_mpq.quantize(model, plan, calibration)
    after_s = time.perf_counter() - started
    nearest, _ = edge_mpq.quantize(model, plan, calibration, rounding="nearest", ranges=ranges)
    started = time.perf_counter()
    aware = qat.fit(
        model,
        example,
        plan,
        ranges,
        pictures,
        args.epochs,
        args.rate,
        progress=bar,
        rule=args.rule,
        frozen=args.frozen,
        distillation=args.distillation,
    )
    aware_s = time.perf_counter() - started
    graph = edge_mpq.prepared(model, example)
    said = {"fp32": answers(graph, test).numpy(), "sim": answers(aware.model, test).numpy()}
    if plan.target == "simulation":
        said |= {"nearest": answers(nearest, test).numpy(), "after": answers(after, test).numpy(), "aware": said["sim"]}
    else:
        said |= {"nearest": engine_answers(graph, nearest, plan, test)}
        said |= {"after": engine_answers(graph, after, plan, test)}
        said |= {"aware": engine_answers(aware.graph, aware.model, plan, test)}
    labels = torch.cat([label for _, label in test]).numpy()
    right = {name: 100 * float((measure.top1(scores) == labels).mean()) for name, scores in said.items()}
    agreed = 100 * float((measure.top1(said["aware"]) == measure.top1(said["sim"])).mean())
    agreement = float("nan") if plan.target == "simulation" else agreed
    return Measured(*(right[way] for way in ("fp32", "nearest", "after", "aware")), agreement, after_s, aware_s)


def plan_of(wanted: str, model: nn.Module, example: torch.Tensor, calibration: Calibration) -> PrecisionPlan:
    """A uniform plan (w4a8), on the board that runs it if one does, or the planner's for a budget."""
    if "<" in wanted:
        return edge_mpq.plan(model, example, calibration, budget=wanted, formats=["w8a8", "w4a8"])
    weight, activation = wanted[1:].split("a")
    target = targets.get("cpu-x86-vnni" if activation == "8" else "simulation")
    return plans.uniform(layers_of(edge_mpq.prepared(model, example)), target, f"int{weight}", f"int{activation}")


def engine_answers(graph: fx.GraphModule, quantized: fx.GraphModule, plan: PrecisionPlan, test: list) -> np.ndarray:
    """Scores [N, 10] of the engine built from the exported ONNX."""
    target = targets.get(plan.target)
    written = onnx_from_torch.onnx_from_graph(graph, opset_of(target))
    model = quantized_onnx(written, graph, Quantized(plan, quantized), target)
    with tempfile.TemporaryDirectory() as folder:
        path = folder + "/model.onnx"
        with open(path, "wb") as stream:
            stream.write(model.SerializeToString())
        onnxruntime.build(path, folder + "/model.engine", target, plan)
        engine = onnxruntime.open(folder + "/model.engine")
        return measure.answers(engine, [values.numpy() for values, _ in test], "engine")


if __name__ == "__main__":
    main()
