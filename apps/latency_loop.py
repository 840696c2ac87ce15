"""Plan, build, measure, correct the table, plan again: until what was foretold is what the engine takes."""

from collections.abc import Callable
from typing import NamedTuple

from apps import engine_times
from apps.engine_times import EngineBench
from edge_mpq.budget import Budget
from edge_mpq.cost.measured import Timing
from edge_mpq.errors import PlanError
from edge_mpq.progress import Progress, silent
from edge_mpq.records.plan import PrecisionPlan

TOLERANCE, ROUNDS = 0.10, 5


class Round(NamedTuple):
    """One plan, what it was foretold to take and what its engine took, ms a picture."""

    plan: PrecisionPlan
    planned_ms: float
    measured_ms: float

    @property
    def off(self) -> float:
        """How far the foretold time was from the measured one, as a share of it."""
        return abs(self.planned_ms - self.measured_ms) / self.measured_ms


def settle(
    make_plan: Callable[[Timing], PrecisionPlan],
    uniform: list[PrecisionPlan],
    bench: EngineBench,
    timing: Timing,
    allowed_ms: float,
    progress: Progress = silent,
) -> list[Round]:
    """Every round, the chosen one last: of the plans measured within ``allowed_ms`` the least harmful.

    make_plan: the best plan by a table of times.  uniform: plans of one format that keep all
    else that was asked; they are measured too, so that no plan is chosen that is slower without
    being better.  Ends when a plan that keeps the limit was foretold within ``TOLERANCE``.
    Raises PlanError where nothing measured keeps the limit.
    """
    rounds: list[Round] = []
    for number in progress(range(ROUNDS), "planning on measured times"):
        try:
            made = make_plan(timing)
        except PlanError:
            break  # by what was measured so far no mix keeps the limit; a plan of one format still may
        if any(_same(made, known.plan) for known in rounds):
            break  # the table already says of this plan what was measured
        bench.add(f"round-{number}", made)
        found = Round(made, made.predicted["latency_ms"], bench.ms(f"round-{number}"))
        rounds.append(found)
        if found.off <= TOLERANCE and found.measured_ms <= allowed_ms:
            break
        timing = engine_times.corrected(timing, made, bench.layer_ms(f"round-{number}", found.measured_ms))
    candidates = list(rounds)
    for plan in uniform:
        name = "fp32" if all(choice.activation == "fp32" for choice in plan.choices.values()) else "int8"
        candidates.append(Round(plan, bench.opened_ms[name], bench.ms(name)))
    within = [found for found in candidates if found.measured_ms <= allowed_ms]
    if not within:
        least = min(found.measured_ms for found in candidates)
        what = f"the fastest of {len(candidates)} plans took {least:.4g} ms, {allowed_ms:.4g} are allowed"
        raise PlanError(what, "allow more")
    best = min(within, key=lambda found: (found.plan.predicted["harm"], found.measured_ms))
    return [*(found for found in rounds if found is not best), best]


def allowed_ms(wanted: Budget, fp32_ms: float) -> float | None:
    """The latency that a budget allows in ms; None where it speaks of none."""
    for term in wanted.terms:
        if term.quantity == "latency":
            return term.most * fp32_ms if term.unit == "x" else term.most
    return None


def _same(one: PrecisionPlan, other: PrecisionPlan) -> bool:
    return all(one.choices[name][:2] == other.choices[name][:2] for name in one.choices)
