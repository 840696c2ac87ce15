"""What two trit planes cost a small GPT, beside plain block-wise integers.

    python -m benchmarks.trit_planes
    python -m benchmarks.trit_planes --seeds 0 1 2 --block 64

The model is that of benchmarks.language_scores.  Every linear layer is rounded, without data; the rise of the
loss is on text that it was not trained on.  ``clipped`` are integers with the best of 40 clips for each
block.  Bits are what a weight takes in its container, without scales.
"""

import argparse

import torch

from apps.data import text
from benchmarks.language_scores import CONTEXT, trained
from edge_mpq import graph as ir
from edge_mpq import quantizers
from edge_mpq.layers import layers_of
from edge_mpq.quantizers import blocks, trit_planes
from edge_mpq.records import formats
from edge_mpq.simulation import prepared

INTEGERS = ("uint2", "uint3", "int4", "uint4")
CLIPPED = ("uint2", "uint3")
WAYS = (
    *(f"trit planes, {variant}" for variant in trit_planes.VARIANTS),
    *INTEGERS,
    *(f"{form}, clipped" for form in CLIPPED),
)


def rounded(weight: torch.Tensor, way: str, block: int) -> torch.Tensor:
    """A weight [K, C] rounded in one of ``WAYS``."""
    name, _, how = way.partition(", ")
    if name == "trit planes":
        return trit_planes.fitted(weight, block, how)(weight)
    form = formats.get(f"{name}b{block}")
    low, high = blocks.weight_range(weight, block)
    best, least = weight, torch.full(low.shape, torch.inf)
    for share in torch.linspace(1.0, 0.1, 40).tolist() if how else [1.0]:
        candidate = quantizers.get("blocks").quantizer(form, share * low, share * high, True, 0)(weight)
        error = (candidate - weight).square().reshape(*low.shape, block).sum(2)
        better = (error < least).repeat_interleave(block, 1)
        best, least = torch.where(better, candidate, best), torch.minimum(error, least)
    return best


def bits(way: str) -> int:
    """The bits of the container."""
    name = way.partition(", ")[0]
    return 4 if name == "trit planes" else formats.get(f"{name}b64").container_bits


@torch.no_grad()
def loss_of(model: torch.nn.Module, source: text.Text) -> float:
    """Mean cross entropy in nats a character on 256 windows never trained on."""
    windows = text.apart(source.validation, CONTEXT, 16, 256)
    found = [torch.nn.functional.cross_entropy(model(tokens), labels) for tokens, labels in windows]
    return float(torch.stack(found).mean())


def main() -> None:
    """Print a Markdown table: one row a way, means over the seeds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--depth", type=int, default=2)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--block", type=int, default=64)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    args = parser.parse_args()
    torch.set_num_threads(1)
    source = text.open_text()
    rises: dict[str, list[float]] = {way: [] for way in WAYS}
    errors: dict[str, list[float]] = {way: [] for way in WAYS}
    floats = []
    for seed in args.seeds:
        graph = prepared(trained(source, args.depth, args.steps, seed), source.train[:CONTEXT][None])
        floats.append(loss_of(graph, source))
        for way in WAYS:
            model, power, wrong = ir.copied(graph), 0.0, 0.0
            for layer in layers_of(graph):
                path = layer.name + ".weight"
                weight = ir.attribute(graph, path).detach()
                moved = rounded(weight, way, args.block)
                power, wrong = power + float(weight.square().sum()), wrong + float((moved - weight).square().sum())
                ir.set_parameter(model, path, moved)
            rises[way].append(loss_of(model, source) - floats[-1])
            errors[way].append((wrong / power) ** 0.5)
    print(f"float loss {', '.join(f'{loss:.4f}' for loss in floats)}; blocks of {args.block}\n")
    print("| way | bits | relative error of weights | rise of the loss | of each seed |\n|---|---|---|---|---|")
    for way in sorted(WAYS, key=lambda way: sum(rises[way])):
        mean = sum(rises[way]) / len(rises[way])
        error = sum(errors[way]) / len(errors[way])
        print(f"| {way} | {bits(way)} | {error:.4f} | {mean:.4f} | {' '.join(f'{rise:.4f}' for rise in rises[way])} |")


if __name__ == "__main__":
    main()
