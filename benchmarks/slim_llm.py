"""What the parts of SliM-LLM do to a small GPT at two bits a weight.

    python -m benchmarks.slim_llm

The GPT has two blocks of width 64 and learns Python's help for 300 steps.  All its linears get ``--format``;
each row is a way to round them, on 8 batches of calibration text by seed, and tells by how much the cross entropy
grows on text that was never trained on (mean over ``--seeds``, and the range), the divergence from the float
model's answers, and how many bits a weight takes in the types that an engine stores.  ``outliers``: four channels
of every layer norm are twelve times as large, the columns that read them as much smaller, and the function is what
it was.  *kept where better* is edge_mpq.rounding.slim as it comes; the rows above leave out its safeguard.
"""

import argparse

import torch

from apps.data import text
from apps.models.gpt import GPT
from edge_mpq import rounding, simulation
from edge_mpq.calibration import ranges_of
from edge_mpq.cost import size
from edge_mpq.evaluator import Evaluator
from edge_mpq.layers import layers_of
from edge_mpq.placement import every_tensor
from edge_mpq.progress import silent
from edge_mpq.records import plan as plans
from edge_mpq.records import target as targets
from edge_mpq.rounding import learned_clipping, slim
from edge_mpq.rounding.slim import Options
from edge_mpq.training.loop import fit

CONTEXT, EACH, WIDTH = 64, 16, 64
# Channels from here on; all in one block, as outliers of large models are in few.
OUTLYING, FACTOR = slice(18, 22), 12.0
WAYS = {
    "nearest": rounding.get("nearest"),
    "feedback (GPTQ)": rounding.get("feedback"),
    "+ ends (SQC)": slim.Rule(Options(allocates=False, guarded=False)),
    "+ bits (SBA)": slim.Rule(Options(clips=False, guarded=False)),
    "+ bits, mean square": slim.Rule(Options(clips=False, metric="mse", guarded=False)),
    "+ ends and bits": slim.Rule(Options(guarded=False)),
    "ends and bits, kept where better": slim.Rule(),
    "learned ends (OmniQuant)": learned_clipping.Rule(10, Options(allocates=False)),
    "learned ends and bits (SliM-LLM+)": learned_clipping.Rule(10),
}


def trained() -> GPT:
    """The GPT, after about twenty seconds."""
    torch.manual_seed(0)
    source = text.open_text()
    model = GPT(len(source.vocabulary), CONTEXT, WIDTH, depth=2, heads=4)
    fit(model, lambda epoch: text.drawn(source.train, CONTEXT, 32, 300, seed=epoch), 1, 1e-2, precision="fp32")
    return model.eval()


def with_outliers(model: GPT) -> GPT:
    """``model``, its function unchanged, with layer norms that write a few channels much larger than the rest."""
    pairs = [(block.ln_1, block.attn.c_attn) for block in model.h] + [(block.ln_2, block.mlp.c_fc) for block in model.h]
    with torch.no_grad():
        for norm, reader in [*pairs, (model.ln_f, model.lm_head)]:
            norm.weight[OUTLYING] *= FACTOR
            norm.bias[OUTLYING] *= FACTOR
            reader.weight[:, OUTLYING] /= FACTOR
    return model


def measured(model: GPT, form: str, seeds: int, count: int) -> None:
    """Print the rows of one model."""
    source, board = text.open_text(), targets.get("simulation")
    graph = simulation.prepared(model, source.train[:CONTEXT][None])
    layers = layers_of(graph)
    plan = plans.uniform(layers, board, form, "fp32")
    held_out = text.apart(source.validation, CONTEXT, EACH, 8 * EACH)
    texts = [
        [tokens for tokens, _ in text.drawn(source.train, CONTEXT, EACH, count, 1000 + seed)] for seed in range(seeds)
    ]
    ranges = ranges_of(graph, every_tensor(graph), texts[0])
    judge = Evaluator(graph, board, ranges, held_out)
    base = judge.of(graph).loss or 0.0
    for name, rule in WAYS.items():
        grown, diverged, stored = [], [], 0.0
        for batches in texts:
            quantized = simulation.simulate(graph, plan, board, ranges)
            rule.apply(quantized, graph, batches, silent)
            found = judge.of(quantized)
            grown.append((found.loss or 0.0) - base)
            diverged.append(found.kl)
            columns = {name: grid.columns() for name, grid in slim.in_blocks(quantized, plan.choices).items()}
            stored += sum(layer.weights * size.container_bits(columns[layer.name]) for layer in layers) / seeds
        mean = sum(grown) / seeds
        print(
            f"| {name} | {mean:.4f} ({min(grown):.4f} to {max(grown):.4f}) | {sum(diverged) / seeds:.4f} "
            f"| {stored / sum(layer.weights for layer in layers):.3f} |",
            flush=True,
        )


def main() -> None:
    """Print a Markdown table, without outliers and with."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--format", default="uint2b16")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--batches", type=int, default=8)
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = trained()
    print("| way | growth of loss, nats | divergence, nats | stored bits |\n|---|---|---|---|")
    measured(model, args.format, args.seeds, args.batches)
    print("| **with outliers** | | | |")
    measured(with_outliers(model), args.format, args.seeds, args.batches)


if __name__ == "__main__":
    main()
