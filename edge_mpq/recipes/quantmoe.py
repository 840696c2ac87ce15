"""QuantMoE-Bench: bits for the parts of a mixture of experts by what they do, rounding with error feedback.

By default each layer's harm is that of expert_frequency (of block_cosine, where the model has no experts),
and the plan the one of least harm within the budget.  With ``presets`` the plan is the publication's: all
layers in the narrowest formats, and the groups of its rules of thumb (edge_mpq/presets.py) raised to the
widest one after the other while the budget holds.  Routers stay float.
"""

from collections.abc import Sequence

from edge_mpq import budget as budgets
from edge_mpq import menu as menus
from edge_mpq import presets as rules
from edge_mpq.calibration import few, fitted
from edge_mpq.layers import layers_of
from edge_mpq.planning import cost_tables
from edge_mpq.progress import Progress, silent
from edge_mpq.quantizing import quantize
from edge_mpq.recipes import Outcome, Task
from edge_mpq.recipes._planned import Planned, planned, ranged
from edge_mpq.roles import roles_of

PAPER = (
    "P. Li, X. Jin, Z. Tan, Y. Cheng, T. Chen, QuantMoE-Bench: Examining Post-Training Quantization for "
    "Mixture-of-Experts, arXiv 2406.08155, 2024"
)


def run(task: Task, progress: Progress = silent, presets: Sequence[str] = ()) -> Outcome:
    """Score or rank, plan and round; see the family's contract.

    Raises UsageError for a preset there is not, PlanError for presets under a budget of accuracy.
    """
    roles = roles_of(task.graph)
    routers = {name: "a router stays float" for name, role in roles.items() if role.kind == "router"}
    if presets:
        graph, ranges, made, trials = _by_rule(task, presets, progress)
    else:
        score = "expert_frequency" if routers else "block_cosine"
        graph, ranges, made, trials = planned(task, progress, sensitivity=score, keep=routers)
    quantized, _ = quantize(graph, made, task.calibration, ranges=ranges, progress=progress)
    return Outcome(made, graph, quantized, ranges, trials)


def _by_rule(task: Task, presets: Sequence[str], progress: Progress) -> Planned:
    """The plan of rules of thumb that keeps every term of the budget."""
    wanted = budgets.of_costs(task.budget, "presets")
    graph, layers = task.graph, layers_of(task.graph)
    ranges = ranged(task, graph, progress)
    menu = menus.menu_of(layers, task.target, task.formats)
    limits = budgets.limits(wanted, layers, cost_tables(layers, menu, task.target))
    model = rules.Model(graph, roles_of(graph), few(task.calibration))
    groups = rules.order(presets, model)

    def fits(choices: rules.Choices) -> bool:
        return all(limit.holds(choices) for limit in limits)

    made = rules.planned(model, groups, task.target, menu, fits, ", ".join(presets))
    ranges = fitted(ranges, graph, made, task.target, task.calibration, progress)
    return Planned(graph, ranges, made._replace(budget=task.budget), 0)
