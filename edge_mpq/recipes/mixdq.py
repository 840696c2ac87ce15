"""MixDQ: constant tokens pass by in float, content and quality layers are judged and budgeted apart.

Three parts (edge_mpq.transforms.constant_tokens, sensitivity.decoupled, allocators.two_groups), with ranges
from least to greatest and rounding to nearest, as published.  The final choice among splits of the
budget is by the divergence of whole plans from the float model.  Where the formats to choose from hold fp32, the 1 % of
layers whose activations bear rounding worst keep it, as far as the budget bears that.
"""

import math
from collections.abc import Mapping

from torch import fx

from edge_mpq import budget as budgets
from edge_mpq import menu as menus
from edge_mpq import transforms
from edge_mpq.calibration import few
from edge_mpq.layers import layers_of
from edge_mpq.planning import cost_tables
from edge_mpq.progress import Progress, silent
from edge_mpq.quantizing import quantize
from edge_mpq.recipes import Outcome, Task
from edge_mpq.recipes._planned import planned, ranged
from edge_mpq.sensitivity import decoupled
from edge_mpq.sensitivity.decoupled import Decoupled, Metrics

PAPER = (
    "T. Zhao, X. Ning, T. Fang, E. Liu, G. Huang, Z. Lin, S. Yan, G. Dai, Y. Wang, MixDQ: Memory-Efficient Few-Step "
    "Text-to-Image Diffusion Models with Metric-Decoupled Mixed Precision Quantization, ECCV 2024, arXiv 2405.17873"
)
REWRITES = ("constant_tokens",)
PROTECTED = 0.01


def run(
    task: Task,
    progress: Progress = silent,
    groups: Mapping[str, str] | None = None,
    metrics: Metrics | None = None,
    decibels: bool = False,
    share: float = PROTECTED,
) -> Outcome:
    """The recipe; see the family's contract.

    groups, metrics: as edge_mpq.sensitivity.decoupled.measured takes them.  decibels: harms as the paper adds
    them up; noise powers, which really add up, otherwise.  share: of the layers, what keeps fp32.
    """
    graph = transforms.apply_all(REWRITES, task.graph, task.calibration, task.target, progress)
    ranges = ranged(task, graph, progress, "minmax")
    layers = layers_of(graph)
    menu = menus.menu_of(layers, task.target, task.formats)
    table = decoupled.measured(
        graph, menu, few(task.calibration), ranges, task.target, progress, groups=groups, metrics=metrics
    )
    keep = protected(task, graph, table, share)
    table = table.restricted(menus.menu_of(layers, task.target, task.formats, keep))
    graph, ranges, made, trials = planned(
        task,
        progress,
        REWRITES,
        graph,
        ranges,
        sensitivity="decoupled",
        allocator="two_groups",
        scores=decoupled.decibels(table) if decibels else table,
        keep=keep,
        rounding="nearest",
    )
    quantized, _ = quantize(graph, made, task.calibration, rounding="nearest", ranges=ranges, progress=progress)
    return Outcome(made, graph, quantized, ranges, trials)


def protected(task: Task, graph: fx.GraphModule, table: Decoupled, share: float) -> dict[str, str]:
    """layer -> why it keeps fp32: of ``share`` of the layers, those whose activations harm most, worst first.

    None where fp32 is not among the task's formats; a layer whose fp32 the budget does not bear is passed over.
    Harms of both groups are ranked together, each as a share of its group's worst.
    """
    layers = layers_of(graph)
    if not any(menus.FLOAT in row for row in table.values()):
        return {}
    harms = {name: max((harm for (weight, _), harm in row.items() if weight == decoupled.FLOAT), default=0.0)
             for name, row in table.parts.items()}  # fmt: skip
    worst: dict[str, float] = {}
    for name, harm in harms.items():
        worst[table.groups[name]] = max(worst.get(table.groups[name], 0.0), harm)
    order = sorted(harms, key=lambda name: harms[name] / (worst[table.groups[name]] or 1.0), reverse=True)
    wanted = budgets.parse(task.budget) if task.budget else None
    keep: dict[str, str] = {}
    for name in order[: math.ceil(share * len(layers))]:
        more = {**keep, name: "its activations bear rounding worst"}
        menu = menus.menu_of(layers, task.target, task.formats, more)
        limits = budgets.limits(wanted, layers, cost_tables(layers, menu, task.target)) if wanted else []
        if all(
            sum(min(limit.costs[row][pair] for pair in menu[row]) for row in menu) <= limit.most for limit in limits
        ):
            keep = more
    return keep
