"""How well each score ranks the layers of a small GPT by what few bits really cost them.

    python -m benchmarks.language_scores
    python -m benchmarks.language_scores --seeds 0 1 2 --format u3b32

The model is trained on Python's own help, character by character (apps/data/text.py).  What a layer costs is
the rise of the loss on text that it was not trained on, with that layer alone in the format; a score is
judged by its rank correlation with that (Spearman).  *alone* are scores as CPTQuant has them, of no
width; *first correlation* is canonical_correlation with the first in place of the mean of all.  Scores that
have no rule for an operation of the model are told and left out.
"""

import argparse
import time

import torch
from scipy.stats import spearmanr
from torch import fx

from apps.data import text
from apps.models.gpt import GPT
from edge_mpq import menu as menus
from edge_mpq import sensitivity
from edge_mpq.errors import ModelError
from edge_mpq.evaluator import Evaluator
from edge_mpq.layers import layers_of
from edge_mpq.progress import silent
from edge_mpq.records import target as targets
from edge_mpq.records.ranges import RangeTable
from edge_mpq.sensitivity import canonical_correlation, noise, pruning
from edge_mpq.simulation import prepared
from edge_mpq.training.loop import fit

BOARD = targets.get("simulation")
CONTEXT = 64


def trained(source: text.Text, depth: int, steps: int, seed: int) -> GPT:
    """A GPT of width 64 after ``steps`` steps of 16 windows."""
    torch.manual_seed(seed)
    model = GPT(len(source.vocabulary), CONTEXT, depth=depth)
    fit(model, lambda epoch: text.drawn(source.train, CONTEXT, 16, steps, epoch), 1, 1e-2, precision="fp32")
    return model


def first_correlation(graph: fx.GraphModule, names: menus.Menu, batches: list[torch.Tensor]) -> dict[str, float]:
    """layer -> 1 less its mean first canonical correlation with each other layer."""
    written = canonical_correlation.written(graph, names, batches)
    kept = {name: canonical_correlation.whitened(values) for name, values in written.items()}
    return {
        name: -sum(float(canonical_correlation.correlations(mine, its)[0]) for its in kept.values())
        for name, mine in kept.items()
    }


def measured(graph: fx.GraphModule, source: text.Text, form: str) -> tuple[float, dict[str, float]]:
    """The float loss, and layer -> rise of it with that layer alone in ``form``."""
    judge = Evaluator(graph, BOARD, RangeTable({}, "none", 0, ""), text.apart(source.validation, CONTEXT, 16, 256))
    floats = {layer.name: menus.FLOAT for layer in layers_of(graph)}
    base = judge.of(graph).loss
    assert base is not None
    return base, {name: (judge({**floats, name: menus.parse(form)}).loss or 0.0) - base for name in floats}


def scored(graph: fx.GraphModule, source: text.Text, form: str) -> dict[str, tuple[dict[str, float], float]]:
    """Score -> (layer -> harm in ``form``, seconds of one core)."""
    batches = [tokens for tokens, _ in text.drawn(source.train, CONTEXT, 16, 8, 1000)]
    menu = menus.menu_of(layers_of(graph), BOARD, ["fp32", form])
    found = {}
    for name in sensitivity.names():
        start = time.process_time()
        try:
            table = sensitivity.get(name).scores(graph, menu, batches, RangeTable({}, "none", 0, ""), BOARD, silent)
        except ModelError as error:
            print(f"{name} cannot be asked: {error}")
            continue
        found[name] = {layer: row[menus.parse(form)] for layer, row in table.items()}, time.process_time() - start
    for score in (canonical_correlation, pruning, noise):
        start = time.process_time()
        alone = score.alone(graph, menu, batches)
        found[score.__name__.rpartition(".")[2] + ", alone"] = alone, time.process_time() - start
    start = time.process_time()
    found["first correlation"] = first_correlation(graph, menu, batches), time.process_time() - start
    return found


def main() -> None:
    """Print a Markdown table: one row a score, the best first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--depth", type=int, default=2)
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--format", default="u2b32")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    args = parser.parse_args()
    source, agreements, seconds = text.open_text(), {}, {}
    for seed in args.seeds:
        start = time.process_time()
        graph = prepared(trained(source, args.depth, args.steps, seed), source.train[:CONTEXT][None])
        base, rises = measured(graph, source, args.format)
        spent = time.process_time() - start
        most = max(rises, key=lambda name: rises[name])
        print(
            f"seed {seed}: loss {base:.3f}, {len(rises)} layers, rises {min(rises.values()):.4f} to "
            f"{rises[most]:.4f} ({most}), {spent:.0f} s of one core to train and measure",
            flush=True,
        )
        for name, (table, took) in scored(graph, source, args.format).items():
            rank = spearmanr([table[layer] for layer in rises], list(rises.values())).statistic
            agreements.setdefault(name, []).append(float(rank))
            seconds.setdefault(name, []).append(took)
    print("\n| score | rank correlation with the loss, each seed | s of one core |\n|---|---|---|")
    for name in sorted(agreements, key=lambda name: -sum(agreements[name])):
        shown = ", ".join(f"{rank:.2f}" for rank in agreements[name])
        print(f"| {name} | {shown} | {sum(seconds[name]) / len(args.seeds):.1f} |")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
