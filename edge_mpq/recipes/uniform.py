"""The naive choice every system is held against: one pair for all layers, nearest rounding.

The widest pair of the menu with which every layer meets the budget.
"""

from edge_mpq import budget as budgets
from edge_mpq import menu as menus
from edge_mpq.errors import PlanError
from edge_mpq.layers import layers_of
from edge_mpq.planning import cost_tables
from edge_mpq.progress import Progress, silent
from edge_mpq.quantizing import quantize
from edge_mpq.recipes import Outcome, Task
from edge_mpq.records import plan as plans

PAPER = "none: one format for every layer, rounded to nearest"


def run(task: Task, progress: Progress = silent) -> Outcome:
    """The widest uniform plan within the budget; PlanError when none is, or the budget is of accuracy."""
    layers = layers_of(task.graph)
    menu = menus.menu_of(layers, task.target, task.formats)
    wanted = budgets.of_costs(task.budget, "the uniform recipe")
    limits = budgets.limits(wanted, layers, cost_tables(layers, menu, task.target))
    shared = [pair for pair in menu[layers[0].name] if all(pair in row for row in menu.values())]
    for pair in shared:
        if all(limit.holds({layer.name: pair for layer in layers}) for limit in limits):
            made = plans.uniform(layers, task.target, *pair)._replace(budget=str(wanted))
            quantized, ranges = quantize(
                task.graph, made, task.calibration, observer="minmax", rounding="nearest", progress=progress
            )
            return Outcome(made, task.graph, quantized, ranges)
    raise PlanError(f"no single pair of formats meets {wanted}", "allow more, or add narrower --formats")
