"""ResNet-20 on CIFAR-10 with real weights: accuracy, search time and speed of the default recipe over seeds.

    python -m benchmarks.resnet20 --weights resnet20_cifar10.pt --data cifar10.npz
    python -m benchmarks.resnet20 ... --rounding learned --formats w8a8 w4a8 --budgets 'size<=4bits'

Each seed draws other calibration pictures.  Accuracy is of the engine on every test picture;
speed is the ratio of medians over the quiet rounds of an interleaved run, batch 1, one thread.
"""

import argparse
import tempfile

import numpy as np
import torch

from apps import measure
from apps.chosen import Options
from apps.data.batches import batches
from apps.data.calibration import Calibration
from apps.data.opening import open_data
from apps.whole_path import quantize_into
from apps.work import Work
from edge_mpq.engines.inputs import Recipe
from edge_mpq.loading import load_model
from edge_mpq.records import bundle as bundles
from edge_mpq.records import target as targets

FORMATS = ["w8a8", "w6a8", "w5a8", "w4a8", "w3a8"]
BUDGETS = ("size<=8bits", "size<=5bits", "size<=4.3bits", "size<=4bits")


def main() -> None:
    """Print a Markdown table: one row a budget, mean and spread over the seeds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--budgets", nargs="+", default=BUDGETS)
    parser.add_argument("--formats", nargs="+", default=FORMATS)
    parser.add_argument("--rounding", default="feedback")
    args = parser.parse_args()
    data, recipe = open_data(args.data), Recipe(32, 32)
    pairs = list(batches(data.test, recipe, 100))
    pictures, labels = [values for values, _ in pairs], np.concatenate([labels for _, labels in pairs])
    rows = []
    for budget in args.budgets:
        found = [_one(args, data, recipe, budget, seed, pictures, labels) for seed in range(args.seeds)]
        rows.append((budget, np.array(found)))
    print("| budget | bits | fp32 top-1 % | drop, points (each seed) | search and quantize s | speed-up batch 1 |")
    print("|---|---|---|---|---|---|")
    for budget, table in rows:
        drops = ", ".join(f"{drop:.2f}" for drop in table[:, 1])
        seconds, speed = table[:, 3].mean(), np.median(table[:, 4])
        print(f"| {budget} | {table[0, 0]:.2f} | {table[0, 2]:.2f} | {drops} | {seconds:.1f} | {speed:.2f}x |")


def _one(args, data, recipe, budget, seed, pictures, labels) -> tuple[float, float, float, float, float]:
    """(average bits, drop in points, fp32 top-1 %, seconds, speed-up) of one seed."""
    model = load_model("cifar_resnet20", args.weights)
    calibration = Calibration(data.train, recipe, 512, seed=seed)
    example = torch.from_numpy(pictures[0][:1])
    work = Work("resnet20", model, data, recipe, example, calibration, targets.get("cpu-x86-vnni"))
    with tempfile.TemporaryDirectory() as folder:
        options = Options(budget, formats=args.formats, rounding=args.rounding)
        report = quantize_into(folder + "/bundle", work, options, [])
        opened = measure.open_all(folder + "/bundle", bundles.open_folder(folder + "/bundle"), None, 1)
        right = {
            role: 100 * float((measure.top1(measure.answers(engine, pictures, role)) == labels).mean())
            for role, engine in opened.items()
        }
        speeds = measure.interleaved(opened, pictures[0][:1], rounds=40)
    seconds = sum(report.facts[name] for name in ("trace_s", "calibrate_s", "plan_s", "quantize_s"))
    ratio = measure.speedup(speeds["fp32"], speeds["model"])
    return report.facts["planned_weight_bits"], right["fp32"] - right["model"], right["fp32"], seconds, ratio


if __name__ == "__main__":
    main()
