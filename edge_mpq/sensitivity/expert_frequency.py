"""How often an expert is used, how much it counts then, and what rounding does to what it computes.

harm = f**alpha w**beta |noise|**2 / |signal|**2: f is the share of tokens that the router sends the expert, w its
mean probability for them, and the quotient that of edge_mpq/sensitivity/relevance.py, on those tokens.
Layers outside routed experts have f = w = 1.

Li et al., QuantMoE-Bench: Examining Post-Training Quantization for Mixture-of-Experts, 2024, arXiv
2406.08155, rank experts by frequency alone; Huang et al., MC-MoE, 2024, arXiv 2410.06270, put it, the
weight and the error into one program.  A reconstruction: errors are taken as shares, so that
those of layers of unlike size can be added.
"""

from collections.abc import Iterable

from torch import fx

from edge_mpq import routing
from edge_mpq.allocators import ScoreTable
from edge_mpq.cost import Menu
from edge_mpq.errors import CalibrationError
from edge_mpq.progress import Progress, silent
from edge_mpq.records.ranges import RangeTable
from edge_mpq.records.target import Target
from edge_mpq.roles import roles_of
from edge_mpq.sensitivity._one_at_a_time import widen
from edge_mpq.sensitivity.relevance import layer_noise


def scores(
    graph: fx.GraphModule,
    menu: Menu,
    calibration: Iterable,
    ranges: RangeTable,
    target: Target,
    progress: Progress = silent,
    alpha: float = 1.0,
    beta: float = 1.0,
) -> ScoreTable:
    """layer -> pair -> use of the layer times noise as a share of its signal."""
    batches = list(calibration)
    if not batches:
        raise CalibrationError("there is no calibration picture", "give --data a folder with pictures")
    roles = roles_of(graph)
    loads = routing.loads(graph, roles, batches, progress)
    noise = layer_noise(graph, menu, batches, ranges, target, progress)
    table: ScoreTable = {}
    for name, pairs in menu.items():
        role, use = roles[name], 1.0
        if role.block is not None and role.expert is not None:
            load = loads[role.block]
            use = float(load.frequency[role.expert] ** alpha * load.weight[role.expert] ** beta)
        table[name] = widen({pair: use * noise[name][pair] for pair in pairs})
    return table
