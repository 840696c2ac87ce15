"""Quantune: calibration, scheme, clipping, granularity and mixed precision, tuned together by boosted trees.

The space is edge_mpq.configurations, the search edge_mpq.tuners.boosted_trees.  Without *mixed* every
layer takes the widest integers that meet the budget; with it the most sensitive layers keep wider
formats, as many as the budget pays for.  The tuned grids are those of the simulated graph, so
whatever wins can be exported.
"""

from collections.abc import Sequence

from torch import fx

from edge_mpq import budget as budgets
from edge_mpq import menu as menus
from edge_mpq.allocators import Limit, milp
from edge_mpq.calibration import few, ranges_of
from edge_mpq.configurations import Configurations
from edge_mpq.cost import Pair
from edge_mpq.drop import share_right
from edge_mpq.errors import PlanError
from edge_mpq.layers import layers_of
from edge_mpq.placement import every_tensor
from edge_mpq.planning import cost_tables, ties_of
from edge_mpq.progress import Progress, silent
from edge_mpq.recipes import Outcome, Task
from edge_mpq.records import formats as forms
from edge_mpq.records.layer import fingerprint
from edge_mpq.records.plan import Choice, PrecisionPlan
from edge_mpq.records.target import Target
from edge_mpq.records.tuning import Configuration, Tuning
from edge_mpq.sensitivity import kl
from edge_mpq.tuners import boosted_trees

PAPER = (
    "Lee, Yu, Kwon, Kim, Quantune: Post-training Quantization of Convolutional Neural Networks using Extreme "
    "Gradient Boosting for Fast Deployment, Future Generation Computer Systems 132, 2022, arXiv 2202.05048"
)
TRIALS = 16
CONFIRMED = 3
# Layers that stay float where the budget says nothing of cost.
SHARE_OF_LAYERS = 0.25


def run(task: Task, progress: Progress = silent, trials: int = TRIALS) -> Outcome:
    """The recipe; see the family's contract.  trials: how many configurations are tried."""
    return tuned(task, progress, trials)[0]


def tuned(
    task: Task, progress: Progress = silent, trials: int = TRIALS, known: Sequence[Tuning] = ()
) -> tuple[Outcome, Tuning]:
    """The outcome after ``trials`` configurations, and what was measured of them.

    known: tunings of other models (edge_mpq.records.tuning keeps them in files), from which the search
    then starts.  It looks at every second validation batch, and ends early at the float model's accuracy;
    its best ``CONFIRMED`` are measured on all of them.  Raises PlanError when no integers meet the
    budget, none of the best keeps its drop on the batches that the search did not see, or batches are too few.
    """
    drop, search, held_out = budgets.parse(task.budget).drop(), task.validation[::2], task.validation[1::2]
    if not search or (drop is not None and not held_out):
        raise PlanError(
            f"{len(task.validation)} validation batches cannot tell configurations apart under {task.budget}",
            "give more, in at least two batches",
        )
    plans = plans_of(task.graph, task.target, task.budget, task.formats, task.calibration, progress)
    configurations = Configurations(task.graph, plans, task.target, task.calibration)

    def accuracy(configuration: Configuration, batches: Sequence = search) -> float:
        return share_right(configurations.quantized(configuration)[0], batches)

    tuning = boosted_trees.search(
        configurations.space, accuracy, trials, task.seed, known, share_right(task.graph, search), progress
    )
    best = sorted(tuning.trials, key=lambda trial: -trial.score)[:CONFIRMED]
    confirmed = {trial.configuration: accuracy(trial.configuration, task.validation) for trial in best}
    if drop is not None:
        least = share_right(task.graph, held_out) - drop
        confirmed = {name: right for name, right in confirmed.items() if accuracy(name, held_out) >= least}
        if not confirmed:
            raise PlanError(
                f"none of {len(best)} configurations stays within a drop of {drop:.2%} on held-out data",
                "allow a larger drop, or add wider --formats",
            )
    chosen = max(confirmed, key=lambda name: confirmed[name])
    quantized, ranges, plan = configurations.quantized(chosen)
    return Outcome(plan, task.graph, quantized, ranges, len(tuning.trials) + len(best)), tuning


def plans_of(
    graph: fx.GraphModule,
    target: Target,
    budget: str,
    formats: Sequence[str] | None,
    calibration: Sequence,
    progress: Progress = silent,
) -> dict[str, PrecisionPlan]:
    """``off``: the widest integers within ``budget``; ``on``, where it leaves room: sensitive layers wider.

    Layers that no integer kernel serves stay float in both.  Raises PlanError where no integers
    meet the budget.
    """
    layers, wanted = layers_of(graph), budgets.parse(budget)
    menu = menus.menu_of(layers, target, formats)
    limits = budgets.limits(wanted, layers, cost_tables(layers, menu, target))
    ties = ties_of(layers)
    base = _base(menu, limits, ties, str(wanted), target)

    def made(chosen: dict[str, Pair], why: dict[str, str]) -> PrecisionPlan:
        choices = {name: Choice(*pair, why=why.get(name, "uniform")) for name, pair in chosen.items()}
        return PrecisionPlan(fingerprint(layers), target.name, choices, str(wanted), "kl", "milp")

    wider = {name: pairs[: pairs.index(base[name]) + 1] for name, pairs in menu.items()}
    symmetric = target.scheme.activation == "int8"
    ranges = ranges_of(graph, every_tensor(graph), calibration, "minmax", symmetric, progress)
    scores = kl.scores(graph, wider, few(calibration), ranges, target, progress)
    if not limits:
        costs = {name: {pair: float(pair != base[name]) for pair in pairs} for name, pairs in wider.items()}
        limits = [Limit(costs, SHARE_OF_LAYERS * len(layers), "layers that stay wider")]
    mixed = milp.allocate(scores, limits, ties)
    plans = {"off": made(base, {})}
    if mixed != base:
        plans["on"] = made(mixed, {name: "sensitive" for name in mixed if mixed[name] != base[name]})
    return plans


def _base(
    menu: dict[str, list[Pair]], limits: Sequence[Limit], ties: Sequence[Sequence[str]], budget: str, target: Target
) -> dict[str, Pair]:
    """The widest one pair of integers within the limits; layers that cannot take it, and those tied to them, float."""
    integers = dict.fromkeys(pair for row in menu.values() for pair in row if not forms.get(pair[1]).is_float)
    for pair in integers:
        harms = {
            name: {other: float(other != pair) for other in row if other == pair or forms.get(other[1]).is_float}
            for name, row in menu.items()
        }
        if not all(harms.values()):
            continue
        try:
            chosen = milp.allocate(harms, limits, ties)
        except PlanError:  # the next narrower pair may do
            continue
        if pair in chosen.values():
            return chosen
    raise PlanError(
        f"no integers of {target.name} meet {budget}", "allow more, add narrower --formats, or take another recipe"
    )
