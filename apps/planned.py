"""The plan of a piece of work: by measured times where its engine runs here, by the target's figures elsewhere."""

from collections.abc import Mapping
from typing import NamedTuple

from torch import fx

import edge_mpq
from apps import engine_times, latency_loop
from apps.engine_times import EngineBench
from apps.latency_loop import Round
from apps.terminal import bar, say
from apps.work import Work
from edge_mpq import budget as budgets
from edge_mpq import menu as menus
from edge_mpq import sensitivity, transforms
from edge_mpq.allocators import ScoreTable
from edge_mpq.budget import Budget
from edge_mpq.calibration import few
from edge_mpq.cost import Menu
from edge_mpq.cost.measured import Timing
from edge_mpq.explaining import options_of
from edge_mpq.layers import layers_of
from edge_mpq.planning import cost_tables, predict
from edge_mpq.records import plan as plans
from edge_mpq.records.plan import Choice, PrecisionPlan
from edge_mpq.records.ranges import RangeTable
from edge_mpq.records.report import Option
from edge_mpq.records.target import Target


class Planned(NamedTuple):
    """A plan, the table of times it was made by (None: the target's figures), and the rounds of measuring.

    options: layer -> what it was chosen from.
    """

    plan: PrecisionPlan
    timing: Timing | None
    rounds: list[Round]
    options: dict[str, tuple[Option, ...]]


def planned(
    work: Work,
    graph: fx.GraphModule,
    ranges: RangeTable,
    keep: Mapping[str, str],
    runs_here: bool,
    budget: str | None,
    sensitivity_name: str,
    allocator: str,
    formats: list[str] | None,
    threads: int,
    rounding: str = "feedback",
) -> Planned:
    """The best plan of ``graph`` within ``budget``; a latency is held by what engines on this machine took."""
    layers, target = layers_of(graph), work.target
    menu = menus.menu_of(layers, target, formats, keep)
    wanted = budgets.usual(layers, menu) if budget is None else budgets.parse(budget)
    if budget is None:
        say(f"no --budget: {wanted}, what 8-bit weights come to here")
    scores = sensitivity.get(sensitivity_name).scores(graph, menu, few(work.calibration), ranges, target, bar)
    validation = work.validation() if wanted.drop() is not None else None

    def made(timing: Timing | None) -> PrecisionPlan:
        return edge_mpq.plan(
            graph,
            work.example,
            work.calibration,
            target=target,
            budget=str(wanted),
            sensitivity=sensitivity_name,
            allocator=allocator,
            formats=formats,
            validation=validation,
            timing=timing,
            ranges=ranges,
            scores=scores,
            transforms=graph.meta.get(transforms.APPLIED, ()),
            keep=keep,
            rounding=rounding,
            progress=bar,
        )

    def answer(plan: PrecisionPlan, timing: Timing | None, rounds: list[Round]) -> Planned:
        tables = cost_tables(layers, menu, target, timing.times if timing else None)
        return Planned(plan, timing, rounds, options_of(scores, tables))

    if not runs_here:
        return answer(made(None), None, [])
    with EngineBench(graph, target, ranges, threads) as bench:
        timing = engine_times.layer_times(bench)
        allowed = latency_loop.allowed_ms(wanted, bench.opened_ms["fp32"])
        if allowed is None:
            return answer(made(timing), timing, [])
        timing = engine_times.with_changes(bench, timing, bar)
        whole = uniform_plans(graph, target, wanted, menu, scores, timing)
        rounds = latency_loop.settle(made, whole, bench, timing, allowed, bar)
    best = rounds[-1]
    say(f"planned {best.planned_ms:.3g} ms, measured {best.measured_ms:.3g} ms, {allowed:.3g} ms allowed")
    return answer(best.plan, timing, rounds)


def uniform_plans(
    graph: fx.GraphModule, target: Target, wanted: Budget, menu: Menu, scores: ScoreTable, timing: Timing
) -> list[PrecisionPlan]:
    """The plans of one format for all layers that keep what the budget says besides latency."""
    layers = layers_of(graph)
    tables = cost_tables(layers, menu, target, timing.times)
    others = Budget(tuple(term for term in wanted.terms if term.quantity != "latency"))
    if others.drop() is not None:
        return []  # how much they lose is not known
    found = []
    for pair in (engine_times.FLOAT, engine_times.INTEGER):
        if any(pair not in row for row in menu.values()):
            continue
        if all(limit.holds(dict.fromkeys(menu, pair)) for limit in budgets.limits(others, layers, tables)):
            choices = {
                name: Choice(*pair, why=f"harm {row[pair]:.2g}; no mix is faster") for name, row in scores.items()
            }
            plan = plans.uniform(layers, target, *pair)._replace(
                choices=choices, budget=str(wanted), transforms=tuple(graph.meta.get(transforms.APPLIED, ()))
            )
            found.append(plan._replace(predicted=predict(plan, layers, tables, scores, timing)))
    return found
