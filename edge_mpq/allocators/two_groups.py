"""Every limit split between two groups of layers, an exact program for each, and the split chosen by trying.

Zhao et al., MixDQ, ECCV 2024, arXiv 2405.17873: harms of content and quality layers come in metrics that do
not compare, so each group has a program of its own (allocators.milp) within its part of the budget.  A
part is told by K, what a weight of content may cost for one of quality::

    b_quality = b (1 + r) / (K r + 1)      b_content = K b_quality      r = size of content / size of quality

K is swept, and with it a little less than the whole budget; what does not fit is dropped, and of the rest
the plan is taken that really harms least (``loss``).  The first limit is split first (weights),
then the others in their order (activations, by bit operations).

Scores tell their groups (sensitivity.decoupled); of any other scores all layers are one group, and the
answer is milp's.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from edge_mpq.allocators import Limit, Loss, ScoreTable, milp
from edge_mpq.allocators._problem import problem
from edge_mpq.cost import Pair
from edge_mpq.errors import PlanError

# What the paper sweeps below 1, and as far above it: a model's content need not be the hardier group.
RATIOS = tuple(np.geomspace(0.46, 1 / 0.46, 11).tolist())
# Shares of a limit that plans are sought in: the paper takes 0.3 of 5 bits off.
SHARES = (1.0, 0.97, 0.94)

Plan = dict[str, Pair]


def allocate(
    scores: ScoreTable, limits: Sequence[Limit], ties: Sequence[Sequence[str]], loss: Loss | None = None
) -> Plan:
    """The best plan that is tried, within all limits; see the family's contract.  PlanError for three groups too."""
    whole = milp.allocate(scores, limits, ties)
    groups = _grouped(scores, limits, ties)
    if len(groups) < 2 or loss is None:  # the sum of scores has no better plan
        return whole
    known: dict[tuple[Pair, ...], float] = {}

    def harm(plan: Plan) -> float:
        key = tuple(plan.values())
        if key not in known:
            known[key] = loss(plan)
        return known[key]

    found, ratios = [whole], [1.0] * len(limits)
    for index in range(len(limits)):
        best: dict[float, Plan] = {}
        for ratio in RATIOS:
            plans = _plans(scores, limits, ties, groups, [*ratios[:index], ratio, *ratios[index + 1 :]])
            if plans:
                best[ratio] = min(plans, key=harm)
        if best:
            ratios[index] = min(best, key=lambda ratio: harm(best[ratio]))
            found.append(best[ratios[index]])
    return min(found, key=harm)


def split(limit: Limit, one: Sequence[str], other: Sequence[str], ratio: float) -> tuple[float, float]:
    """What of a limit layers ``one`` may spend and what ``other``, if a weight of the one may cost ``ratio`` times."""
    size, rest = (sum(max(limit.costs[name].values()) for name in names) for names in (one, other))
    share = ratio * size / (ratio * size + rest) if size + rest else 0.5
    return share * limit.most, (1 - share) * limit.most


def _plans(
    scores: ScoreTable,
    limits: Sequence[Limit],
    ties: Sequence[Sequence[str]],
    groups: Sequence[Sequence[str]],
    ratios: Sequence[float],
) -> list[Plan]:
    """The plans of one split, for each share of the budget; those that cannot be are left out."""
    plans: list[Plan] = []
    one, other = groups
    for share in SHARES:
        parts = [split(limit, one, other, ratio) for limit, ratio in zip(limits, ratios, strict=True)]
        chosen: Plan = {}
        try:
            for side, names in enumerate(groups):
                mine = [
                    Limit(limit.costs, share * part[side], limit.what)
                    for limit, part in zip(limits, parts, strict=True)
                ]
                inside = [tie for tie in ties if set(tie) & set(names)]
                chosen.update(milp.allocate({name: scores[name] for name in names}, mine, inside))
        except PlanError:
            continue
        plan = {name: chosen[name] for name in scores}
        if plan not in plans and all(limit.holds(plan) for limit in limits):
            plans.append(plan)
    return plans


def _grouped(scores: ScoreTable, limits: Sequence[Limit], ties: Sequence[Sequence[str]]) -> list[list[str]]:
    """The layers of each group; what is tied goes where its first layer is."""
    told: Mapping[str, str] = getattr(scores, "groups", {})
    groups: dict[str, list[str]] = {}
    for unit in problem(scores, limits, ties).units:
        groups.setdefault(told.get(unit[0], ""), []).extend(unit)
    if len(groups) > 2:
        raise PlanError(f"there are {len(groups)} groups of layers: {', '.join(groups)}", "give scores of two")
    return list(groups.values())
