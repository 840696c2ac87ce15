"""How many configurations must a search measure until it has a good one?  Tuners on tables of real accuracies.

    python -m benchmarks.quantune --weights resnet20_cifar10.pt --data cifar10.npz --out runs/quantune

Every configuration of edge_mpq.configurations is measured once on three networks: ResNet-20 with real
weights, and a depthwise and a squeezing one trained here in minutes.  The tables stay in ``--out`` and
are not measured again.  Then each tuner searches each table with every seed; what counts is the trials
until one within ``--within`` points of the table's best.  *With transfer*, the trees know the tables of
the other two networks.  A grid knows no seeds; random has its expectation beside it.
"""

import argparse
import statistics
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch
from torch import fx, nn

from apps.data.augmentation import Shuffled, picking
from apps.data.batches import sample
from apps.data.calibration import Calibration, labelled
from apps.data.opening import open_data
from apps.terminal import bar
from edge_mpq.configurations import Configurations
from edge_mpq.drop import share_right
from edge_mpq.engines.inputs import Recipe
from edge_mpq.loading import load_model
from edge_mpq.recipes.quantune import plans_of
from edge_mpq.records import target as targets
from edge_mpq.records import tuning as tunings
from edge_mpq.records.tuning import Configuration, Tuning
from edge_mpq.simulation import prepared
from edge_mpq.training import loop
from edge_mpq.tuners import Tuner, boosted_trees, genetic, grid, random_search

RECIPE, TARGET, EPOCHS = Recipe(32, 32), targets.get("cpu-x86-vnni"), 4


def unit(before: int, after: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution, batch normalization, ReLU."""
    convolution = nn.Conv2d(before, after, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(after), nn.ReLU())


class Fire(nn.Module):
    """Few channels read by a 1x1 and a 3x3 convolution whose outputs are joined (SqueezeNet, Iandola et al. 2016)."""

    def __init__(self, before: int, squeezed: int, after: int) -> None:
        super().__init__()
        self.squeeze = unit(before, squeezed, 1)
        self.left, self.right = unit(squeezed, after // 2, 1), unit(squeezed, after // 2, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, before, H, W] -> [N, after, H, W]"""
        x = self.squeeze(x)
        return torch.cat([self.left(x), self.right(x)], 1)


def depthwise() -> nn.Sequential:
    """Pairs of depthwise and 1x1 convolutions (MobileNet, Howard et al. 2017)."""
    widths, strides = (24, 32, 64, 64, 96), (1, 2, 1, 2)
    pairs = [
        layer
        for before, after, stride in zip(widths, widths[1:], strides, strict=False)
        for layer in (unit(before, before, 3, stride, before), unit(before, after, 1))
    ]
    return nn.Sequential(unit(3, widths[0], 3, 2), *pairs, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(96, 10))


def squeezing() -> nn.Sequential:
    """Fire modules and no linear layer."""
    fires = [Fire(24, 12, 48), nn.MaxPool2d(2), Fire(48, 16, 64), Fire(64, 24, 96)]
    return nn.Sequential(unit(3, 24, 3, 2), *fires, nn.Conv2d(96, 10, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())


SMALL = {"depthwise": depthwise, "squeezing": squeezing}


def graph_of(name: str, args: argparse.Namespace, data) -> fx.GraphModule:
    """The float graph of a network; the small ones are trained on what calibration is drawn from."""
    if name == "resnet20":
        model = load_model("cifar_resnet20", args.weights)
    else:
        torch.manual_seed(0)
        model, kept = SMALL[name](), Path(args.out) / f"{name}.pt"
        if kept.exists():
            model.load_state_dict(torch.load(kept, weights_only=True))
        else:
            count = len(data.train)
            loop.fit(model, Shuffled(picking(data.train, RECIPE, range(count)), count), EPOCHS, 5e-3, progress=bar)
            torch.save(model.state_dict(), kept)
    return prepared(model.eval(), torch.zeros(1, 3, 32, 32))


def table_of(name: str, args: argparse.Namespace, data) -> Tuning:
    """Top-1 accuracy, a share, of every configuration of a network: measured once and kept."""
    kept = Path(args.out) / f"{name}-{'-'.join(args.formats)}-{args.pictures}.json"
    if kept.exists():
        return tunings.load(kept)
    graph = graph_of(name, args, data)
    calibration = list(Calibration(data.train, RECIPE, 512, seed=0))
    plans = plans_of(graph, TARGET, "drop<=100%", args.formats, calibration, bar)
    configurations = Configurations(graph, plans, TARGET, calibration)
    validation = labelled(data.test, RECIPE, sample(data.test, args.pictures, 0), 100)
    print(f"{name}: float {share_right(graph, validation):.1%}", flush=True)

    def accuracy(configuration: Configuration) -> float:
        return share_right(configurations.quantized(configuration)[0], validation)

    made = grid.search(configurations.space, accuracy, len(configurations.space.configurations()), progress=bar)
    tunings.save(kept, made)
    return made


def until_good(tuner: Tuner, table: Tuning, seed: int, enough: float, known: list[Tuning]) -> int:
    """Trials of one search of a table until a score is ``enough``."""
    scores: Mapping[Configuration, float] = dict(table.trials)
    return len(tuner.search(table.space, scores.__getitem__, len(scores), seed, known, enough).trials)


def main() -> None:
    """Print two Markdown tables: one row a network, what was measured of it and the trials of each tuner."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--formats", nargs="+", default=["fp32", "w8a8"], help="the integers, and what may stay wider")
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--within", type=float, default=0.1, help="points of top-1 below the best that are good enough")
    args = parser.parse_args()
    Path(args.out).mkdir(parents=True, exist_ok=True)
    data = open_data(args.data)
    tables = {name: table_of(name, args, data) for name in ("resnet20", *SMALL)}
    print("| network | best % | median % | worst % | the best configuration |\n|---|---|---|---|---|")
    for name, table in tables.items():
        scores = [100 * trial.score for trial in table.trials]
        figures = f"{max(scores):.1f} | {statistics.median(scores):.1f} | {min(scores):.1f}"
        print(f"| {name} | {figures} | {', '.join(table.best.configuration)} |")
    print("| network | good of all | random, expected | random | grid | genetic | trees | trees with transfer |")
    print("|---|---|---|---|---|---|---|---|")
    for name, table in tables.items():
        enough = table.best.score - args.within / 100 - 1e-9
        good = sum(trial.score >= enough for trial in table.trials)
        others = [other for key, other in tables.items() if key != name]
        seeds = range(args.seeds)
        row = [f"{good} of {len(table.trials)}", f"{(len(table.trials) + 1) / (good + 1):.1f}"]
        cold = [(tuner, []) for tuner in (random_search, grid, genetic, boosted_trees)]
        for tuner, known in [*cold, (boosted_trees, others)]:
            search = partial(until_good, tuner, table, enough=enough, known=known)
            row.append(f"{statistics.median(search(seed=seed) for seed in seeds):g}")
        print(f"| {name} | " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
