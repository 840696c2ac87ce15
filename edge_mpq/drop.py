"""The cheapest plan whose accuracy drop, measured on held-out data, stays within a bound.

The search looks at one half of the validation data, and its answer must hold on the other
half, which the search never saw; where it does not, the next dearer plan is taken.  Allocators
search as they know to, or else it is bisection over the size budget, as the accuracy falls with it.
"""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import fx, nn

from edge_mpq import budget as budgets
from edge_mpq.allocators import Limit
from edge_mpq.calibration import fitted, inputs_of, labels_of
from edge_mpq.cost import CostTable
from edge_mpq.errors import PlanError
from edge_mpq.progress import Progress
from edge_mpq.quantizing import quantize
from edge_mpq.records.plan import PrecisionPlan
from edge_mpq.records.ranges import RangeTable
from edge_mpq.records.target import Target
from edge_mpq.rounding import Rounding

STEPS = 6


@torch.no_grad()
def share_right(model: nn.Module, batches: Sequence) -> float:
    """Share of pictures (or pixels) whose top answer is the label."""
    right = total = 0
    for batch in batches:
        labels = labels_of(batch)
        if labels is None:
            raise PlanError("validation batches carry no labels", "give (inputs, labels) pairs")
        scores = model(inputs_of(batch))
        top = (scores > 0).long().squeeze(1) if scores.shape[1] == 1 else scores.argmax(1)
        right += (top == labels.reshape(top.shape)).sum().item()
        total += labels.numel()
    return right / total


# Accuracy of a plan, and the least it may be -> plans that reach it, each cheaper than the one before.
Candidates = Callable[[Callable[[PrecisionPlan], float], float], list[PrecisionPlan]]


def by_size(planned: Callable[[Sequence[Limit]], PrecisionPlan], sizes: CostTable, progress: Progress) -> Candidates:
    """Bisection over the size budget; ``planned`` makes the best plan under further limits."""
    least = sum(min(row.values()) for row in sizes.values())
    most = sum(max(row.values()) for row in sizes.values())

    def at(position: float) -> PrecisionPlan:
        return planned([Limit(sizes, least + (most - least) * position, f"size within {position:.0%} of its span")])

    def candidates(accuracy: Callable[[PrecisionPlan], float], enough: float) -> list[PrecisionPlan]:
        low, high, passing = 0.0, 1.0, [at(1.0)]
        for _ in progress(range(STEPS), "searching the cheapest plan"):
            middle = (low + high) / 2
            try:
                made = at(middle)
                kept = accuracy(made) >= enough
            except PlanError:  # ties and other limits may leave no plan so small
                kept = False
            if kept:
                high = middle
                passing.append(made)
            else:
                low = middle
        return passing

    return candidates


def cheapest_within(
    drop: float,
    candidates: Candidates,
    graph: fx.GraphModule,
    target: Target,
    ranges: RangeTable,
    calibration: Iterable,
    validation: Iterable,
    rounding: str | Rounding = "feedback",
) -> PrecisionPlan:
    """The cheapest of ``candidates`` that loses at most ``drop`` (a share, 0.005 is half a point) of top-1.

    rounding: the rule that will round it, and by which it is tried.  Its ``predicted`` says how many whole
    models were tried.  Raises PlanError when even the first candidate loses more on the held-out half, or
    the validation data is too small to tell so small a drop.
    """
    batches = list(validation)
    pictures = sum(len(inputs_of(batch)) for batch in batches)
    if len(batches) < 2 or pictures * drop < 1:
        raise PlanError(
            f"{pictures} validation pictures in {len(batches)} batches cannot show a drop of {drop:.2%}",
            "give more, in at least two batches",
        )
    search, held_out = batches[::2], batches[1::2]
    floors = share_right(graph, search) - drop, share_right(graph, held_out) - drop
    trials = 0

    def accuracy(made: PrecisionPlan, on: Sequence = search) -> float:
        nonlocal trials
        trials += 1
        measured = fitted(ranges, graph, made, target, calibration)
        return share_right(quantize(graph, made, calibration, rounding=rounding, ranges=measured)[0], on)

    found = candidates(accuracy, floors[0])
    for made in reversed(found):
        if accuracy(made, held_out) >= floors[1]:
            return made._replace(predicted={**made.predicted, "trials": trials})
    raise _none_within(drop, found[0].budget, target)


def check(model: nn.Module, graph: fx.GraphModule, budget: str, validation: Sequence) -> None:
    """Raise PlanError where ``model``, made of ``graph``, does not keep the drop of ``budget`` on the held-out half.

    For what is done to a model after its plan was chosen.
    """
    drop, held_out = budgets.parse(budget).drop(), validation[1::2]
    if drop is not None and share_right(model, held_out) < share_right(graph, held_out) - drop:
        raise PlanError(
            f"the model that was made by the plan does not stay within a drop of {drop:.2%} on held-out data",
            "allow a larger drop, or add wider --formats",
        )


def _none_within(drop: float, budget: str, target: Target) -> PlanError:
    """Why there is no plan: the drop, and what else the budget holds the plans to."""
    others = [term for term in budgets.parse(budget).terms if term.quantity != "drop"]
    within = f" within {','.join(map(str, others))}" if others else ""
    more = "".join(f", more {term.quantity}" for term in others)
    return PlanError(
        f"no plan for {target.name}{within} stays within a drop of {drop:.2%} on held-out data",
        f"allow a larger drop{more}, or let layers stay fp32 (--formats fp32 w8a8)",
    )
