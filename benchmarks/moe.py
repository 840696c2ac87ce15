"""Which parts of a small mixture of experts deserve 4 bits of a weight where the rest has 2.

    python -m benchmarks.moe
    python -m benchmarks.moe --rounding feedback --seeds 1 2 3

The model is trained on Python's own help, character by character (apps/data/text.py), and judged on
text that it was not trained on; weights have a scale and a zero point for each 32 inputs of an output.
The rise of the loss is in nats a character; with several seeds, each trains another model.
"""

import argparse
import time

import torch

from apps.data import text
from apps.models.moe import MixtureLM
from edge_mpq import menu as menus
from edge_mpq import presets, routing
from edge_mpq import rounding as roundings
from edge_mpq.evaluator import Evaluator
from edge_mpq.layers import layers_of
from edge_mpq.progress import silent
from edge_mpq.records import target as targets
from edge_mpq.records.ranges import RangeTable
from edge_mpq.residuals import cosines, residuals
from edge_mpq.roles import blocks, roles_of
from edge_mpq.simulation import prepared, simulate
from edge_mpq.training.loop import fit

BOARD = targets.get("simulation")
EVERYTHING = 4.0
# Random orders of experts that are tried for one row.
DRAWS = 3


def trained(source: text.Text, context: int, steps: int, seed: int) -> MixtureLM:
    """A mixture after ``steps`` steps of 8 windows."""
    torch.manual_seed(seed)
    model = MixtureLM(len(source.vocabulary), context)
    fit(model, lambda epoch: text.drawn(source.train, context, 8, steps, epoch), 1, 5e-3, precision="fp32")
    return model


class Table:
    """The rows of one model: what each order of groups loses at an average of bits."""

    def __init__(self, model: torch.nn.Module, source: text.Text, context: int, rounding: str):
        self.graph, self.rounding = prepared(model, source.train[:context][None]), rounding
        self.calibration = [tokens for tokens, _ in text.drawn(source.train, context, 16, 8, 1000)]
        self.layers = layers_of(self.graph)
        self.menu = menus.menu_of(self.layers, BOARD, ["u4b32", "u2b32"], keep=["head"])
        self.known = presets.Model(self.graph, roles_of(self.graph), self.calibration)
        judged = text.apart(source.validation, context, 16, 128)
        self.judge = Evaluator(self.graph, BOARD, RangeTable({}, "none", 0, ""), judged)
        self.base = self.judge.of(self.graph).loss

    def row(self, groups: presets.Groups, bits: float = EVERYTHING) -> tuple[float, float]:
        """(rise of the loss, average bits) with groups at 4 bits, one after the other, up to ``bits`` on average."""
        fits = presets.within(bits, self.layers)
        plan = presets.planned(self.known, groups, BOARD, self.menu, fits)
        model = simulate(self.graph, plan, BOARD, self.judge.ranges)
        roundings.get(self.rounding).apply(model, self.graph, self.calibration, silent)
        choices = {name: choice[:2] for name, choice in plan.choices.items()}
        return self.judge.of(model).loss - self.base, presets.average_bits(choices, self.layers)

    def rows(self) -> dict[str, tuple[float, float]]:
        """Every row of the table."""
        known = self.known
        attention, shared = presets.attn4(known), presets.shared4(known)
        loads = routing.loads(self.graph, known.roles, self.calibration)
        rarest = presets.by_rank(known, {block: -load.frequency for block, load in loads.items()})
        draw = torch.Generator().manual_seed(0)
        chances = [
            presets.by_rank(
                known, {block: torch.rand(len(load.frequency), generator=draw) for block, load in loads.items()}
            )
            for _ in range(DRAWS)
        ]
        outliers = presets.outlier_p(known)
        found = {
            "nothing": self.row([]),
            "everything": self.row([[layer.name] for layer in self.layers]),
            "attention": self.row(attention),
            "shared": self.row(shared),
            "one random expert a block": self.mean([chance[: len(loads)] for chance in chances]),
            "attention and shared": self.row(attention + shared),
        }
        for bits in (2.8, 3.2):
            for what, orders in (
                ("frequent experts", [presets.freq_topk(known)]),
                ("random experts", chances),
                ("rare experts", [rarest]),
                ("layers of towering weights", [outliers]),
                ("layers of even weights", [outliers[::-1]]),
            ):
                orders = [attention + shared + order for order in orders]
                found[f"attention, shared and {what}, {bits} bits"] = self.mean(orders, bits)
        for block, names in enumerate(blocks(known.roles)):
            found[f"block {block}"] = self.row([names])
        return found

    def mean(self, orders: list[presets.Groups], bits: float = EVERYTHING) -> tuple[float, float]:
        """The mean row of several orders."""
        rows = [self.row(order, bits) for order in orders]
        return sum(rise for rise, _ in rows) / len(rows), rows[0][1]


def main() -> None:
    """Print a Markdown table: one row a choice of what has 4 bits, one column a seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--context", type=int, default=64)
    parser.add_argument("--rounding", default="nearest")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    args = parser.parse_args()
    source, tables = text.open_text(), []
    for seed in args.seeds:
        start = time.process_time()
        tables.append(Table(trained(source, args.context, args.steps, seed), source, args.context, args.rounding))
        experts = [block for block in residuals(tables[-1].graph) if len(block.layers) > 2]
        turned = cosines(tables[-1].graph, experts, tables[-1].calibration)
        shown = ", ".join(f"{cosine:.2f}" for cosine in turned)
        spent = time.process_time() - start
        print(
            f"seed {seed}: loss {tables[-1].base:.3f}, cosines {shown}, {spent:.0f} s of one core to train", flush=True
        )
    found = [table.rows() for table in tables]
    print("\n| 4 bits for | bits | rise of the loss, each seed |\n|---|---|---|")
    for what, (_, bits) in found[0].items():
        print(f"| {what} | {bits:.2f} | {', '.join(f'{rows[what][0]:.4f}' for rows in found)} |")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
