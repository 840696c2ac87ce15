"""The planner: model, target and budget in, PrecisionPlan out."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from edge_mpq import allocators, cost, sensitivity
from edge_mpq import budget as budgets
from edge_mpq import menu as menus
from edge_mpq import transforms as rewrites
from edge_mpq.allocators import ScoreTable, Searching
from edge_mpq.calibration import few, ranges_of
from edge_mpq.cost import CostTable, Pair
from edge_mpq.cost.measured import Timing
from edge_mpq.drop import Candidates, by_size, cheapest_within
from edge_mpq.errors import PlanError
from edge_mpq.evaluator import Evaluator
from edge_mpq.layers import layers_of
from edge_mpq.placement import every_tensor
from edge_mpq.progress import Progress, silent
from edge_mpq.records import plan as plans
from edge_mpq.records import target as targets
from edge_mpq.records.layer import LayerSpec, fingerprint
from edge_mpq.records.plan import Choice, PrecisionPlan
from edge_mpq.records.ranges import RangeTable
from edge_mpq.records.target import Target
from edge_mpq.rounding import Rounding
from edge_mpq.simulation import prepared


def plan(
    model: nn.Module,
    example_inputs: torch.Tensor,
    calibration: Iterable,
    target: str | Target = "cpu-x86-vnni",
    budget: str | None = None,
    sensitivity: str = "fisher",
    allocator: str = "milp",
    formats: Sequence[str] | None = None,
    validation: Iterable | None = None,
    timing: Timing | None = None,
    observer: str = "mse",
    ranges: RangeTable | None = None,
    scores: ScoreTable | None = None,
    transforms: Sequence[str] = (),
    keep: Mapping[str, str] | None = None,
    rounding: str | Rounding = "feedback",
    progress: Progress = silent,
) -> PrecisionPlan:
    """Choose each layer's formats: least predicted harm within ``budget`` on ``target``.

    example_inputs: one batch of inputs.  calibration: batches of inputs, read more than
    once, so a list and not a generator.  budget: ``size<=5bits``, ``latency<=0.6x``,
    ``drop<=0.5%`` or several with commas (edge_mpq.budget); without one, the size that 8-bit
    weights have, which the plan then says in numbers.  formats: short names to choose
    from (``w4a8``), all the target stores by default.  validation: (inputs, labels) batches
    that a drop is measured on.  timing: what engines took on the target; without it latency is
    the roofline's.  observer: the range rule.  ranges, scores: of an earlier calibration or
    sensitivity, which then is not repeated.
    transforms: rewrites of the float model that come first, in order.  keep: layer -> why it
    stays in fp32, whatever that costs.  rounding: the rule the plan will be quantized with, by which a
    drop is measured.

    Raises PlanError when the budget cannot be met, ModelError and CalibrationError as their
    stages do.
    """
    board = targets.get(target) if isinstance(target, str) else target
    graph = rewrites.apply_all(transforms, prepared(model, example_inputs), calibration, board, progress)
    layers = layers_of(graph)
    menu = menus.menu_of(layers, board, formats, keep or {})
    wanted = budgets.usual(layers, menu) if budget is None else budgets.parse(budget)
    ranges = ranges or ranges_of(
        graph, every_tensor(graph), calibration, observer, board.scheme.activation == "int8", progress
    )
    score = scores or _method(sensitivity).scores(graph, menu, few(calibration), ranges, board, progress)
    method = allocators.get(allocator)
    evaluator = Evaluator(graph, board, ranges, few(calibration))
    tables = cost_tables(layers, menu, board, timing.times if timing else None)
    timed = timing or Timing({})
    limits = budgets.limits(wanted, layers, tables, timed.other_ms, timed.changes)
    ties = ties_of(layers)

    def planned(extra: Sequence[allocators.Limit] = ()) -> PrecisionPlan:
        chosen = method.allocate(score, [*limits, *extra], ties, evaluator.harm())
        broken = [limit.what for limit in limits if not limit.holds(chosen)]
        if broken:
            raise PlanError(
                f"the plan of {allocator} breaks {', '.join(broken)} by its changes of format",
                "use the milp allocator, which counts them",
            )
        return made_of(chosen)

    def made_of(chosen: Mapping[str, Pair]) -> PrecisionPlan:
        whys = {name: _why(score[name], pair) for name, pair in chosen.items()} | dict(keep or {})
        choices = {name: Choice(*pair, why=whys[name]) for name, pair in chosen.items()}
        made = PrecisionPlan(
            fingerprint(layers), board.name, choices, str(wanted), sensitivity, allocator, transforms=tuple(transforms)
        )
        return made._replace(predicted=predict(made, layers, tables, score, timed))

    drop = wanted.drop()
    if drop is None:
        return _counted(planned(), evaluator.calls)
    if validation is None:
        raise PlanError(
            f"budget {wanted} speaks of accuracy, and there is no validation data", "give validation batches"
        )
    candidates = by_size(planned, tables["size"], progress)
    if isinstance(method, Searching):
        candidates = _searched(method, score, limits, ties, made_of, progress)
    made = cheapest_within(drop, candidates, graph, board, ranges, calibration, validation, rounding)
    return _counted(made, evaluator.calls)


def _counted(made: PrecisionPlan, calls: int) -> PrecisionPlan:
    """The plan, whose ``predicted`` also tells how many whole models an allocator tried."""
    trials = calls + made.predicted.get("trials", 0)
    return made._replace(predicted={**made.predicted, "trials": trials}) if trials else made


def _searched(
    method: Searching,
    score: ScoreTable,
    limits: Sequence[allocators.Limit],
    ties: Sequence[Sequence[str]],
    made_of: Callable[[Mapping[str, Pair]], PrecisionPlan],
    progress: Progress,
) -> Candidates:
    """The plans an allocator meets in its own search that also keep all ``limits``."""

    def candidates(accuracy: Callable[[PrecisionPlan], float], enough: float) -> list[PrecisionPlan]:
        found = method.search(score, ties, lambda chosen: accuracy(made_of(chosen)), enough, progress)
        kept = [made_of(chosen) for chosen in found.kept if all(limit.holds(chosen) for limit in limits)]
        if not kept:
            asked = ", ".join(limit.what for limit in limits)
            raise PlanError(f"no plan that stays within the drop keeps {asked}", "allow more of either")
        return kept

    return candidates


def _method(name: str) -> sensitivity.Sensitivity:
    return sensitivity.get(name)


def cost_tables(
    layers: Sequence[LayerSpec],
    menu: cost.Menu,
    target: Target,
    times: Mapping[Pair, Mapping[str, float]] | None = None,
) -> dict[str, CostTable]:
    """The cost tables a budget can speak of: size (MiB), bitops (G) and latency (ms).

    fp32 is always among the pairs, since budgets are relative to it.
    """
    whole = {name: pairs if menus.FLOAT in pairs else [menus.FLOAT, *pairs] for name, pairs in menu.items()}
    tables = {name: cost.get(name).table(layers, whole, target) for name in ("size", "bitops")}
    if times is None:
        tables["latency"] = cost.get("roofline").table(layers, whole, target)
    else:
        tables["latency"] = cost.get("measured").table(layers, whole, target, times=times)
    return tables


def predict(
    plan: PrecisionPlan,
    layers: Sequence[LayerSpec],
    tables: Mapping[str, CostTable],
    score: ScoreTable,
    timing: Timing = Timing({}),  # noqa: B008  immutable
) -> dict[str, float]:
    """What the plan should cost and harm, with units in the keys; of latency all that passes in a picture."""
    pairs: dict[str, Any] = {name: choice[:2] for name, choice in plan.choices.items()}
    layers_ms = sum(tables["latency"][name][pair] for name, pair in pairs.items())
    return {
        "weight_bits": plans.weight_bits(plan, layers),
        "size_mib": sum(tables["size"][name][pair] for name, pair in pairs.items()),
        "gbops": sum(tables["bitops"][name][pair] for name, pair in pairs.items()),
        "latency_ms": layers_ms + allocators.change_cost(timing.changes, pairs) + timing.other_ms,
        "harm": sum(score[name][pair] for name, pair in pairs.items()),
    }


def ties_of(layers: Sequence[LayerSpec]) -> list[list[str]]:
    """Groups of layers that take one pair."""
    groups: dict[str, list[str]] = {}
    for layer in layers:
        if layer.tie is not None:
            groups.setdefault(layer.tie, []).append(layer.name)
    return list(groups.values())


def _why(row: Mapping[Pair, float], pair: Pair) -> str:
    """One line: the harm of the choice, and of the next cheaper one."""
    text = f"harm {row[pair]:.2g}"
    cheaper = [other for other in row if row[other] >= row[pair] and list(row).index(other) > list(row).index(pair)]
    if cheaper:
        next_down = min(cheaper, key=lambda other: row[other])
        text += f"; {plans.describe(Choice(*next_down))} would be {row[next_down]:.2g}"
    return text
