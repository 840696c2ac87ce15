"""Accuracy, time, memory and energy of every plan at every setting: what ``edge-mpq tradeoff`` runs.

What shares an input size and a power mode is timed in the same turns; accuracy is measured once
for a plan and a size.  Each part is kept (apps/tradeoff_parts.py): a run that was cut goes on.
"""

import contextlib
import functools
import tempfile
from datetime import datetime, timezone
from typing import Any, NamedTuple

import numpy as np

from apps import board_power_mode, board_sweep, doctor_facts, measure, peak_memory, tradeoff_plans
from apps.board_sweep import Group
from apps.data import DataSet
from apps.data.batches import batches, sample
from apps.data.masks import truth_of
from apps.stream.power import Sampler
from apps.terminal import bar, say
from apps.tradeoff_parts import kept
from apps.tradeoff_plans import Contender, Size
from edge_mpq.engines import inputs
from edge_mpq.engines.base import Engine
from edge_mpq.engines.inputs import Recipe
from edge_mpq.records import document
from edge_mpq.records.tradeoff import PlanFacts, Point, Tradeoff

BATCH = 64


class Options(NamedTuple):
    """What is measured.  threads, batches: in rising order.  pictures: how many are answered, None for all."""

    data: str
    threads: list[int]
    batches: list[int]
    sizes: list[Size]
    power_modes: list[str]
    pictures: int | None
    turns: int
    warm_s: float
    backend: str | None
    out: str


class Judged(NamedTuple):
    """Accuracy of a plan at a size: shares, as in a Point."""

    top1: float | None = None
    mean_iou: float | None = None
    agreement: float | None = None


class Turns(NamedTuple):
    """Points of one group, as JSON values."""

    points: list


class Sweep(NamedTuple):
    """Contenders at each size, the test pictures they answer, and what is asked of them.

    one: pictures in a call of the reference: 1 where its batch is free.
    """

    there: dict[Size, list[Contender]]
    data: DataSet
    chosen: list[int]
    options: Options
    one: int = 1


def sweep(found: list[Contender], data: DataSet, options: Options, command: str) -> Tradeoff:
    """The Tradeoff of the contenders ``found``, answering the test pictures of ``data``."""
    modes = board_power_mode.asked(options.power_modes)
    with tempfile.TemporaryDirectory(prefix="edge-mpq-") as scratch:
        # All are made and built before any is measured: a graph that is tied to its size or batch is told at once.
        there = {size: [tradeoff_plans.at_size(one, size, scratch) for one in found] for size in options.sizes}
        count = min(options.pictures or len(data.test), len(data.test))
        run = Sweep(there, data, sample(data.test, count, seed=2), options)
        run, facts = _opened(run)
        shares = {(size, one): share for size in there for one, share in _accuracy(run, size).items()}
        points: list[Point] = []
        with board_power_mode.PowerModes() as power:
            for mode in modes or [None]:
                for size in there:
                    points += _timed(run, size, mode, power)
        points = [point._replace(**shares[(point.width, point.height), point.plan]._asdict()) for point in points]
        points = [_with_memory(run, point) for point in bar(points, "memory, each in a process")]
    machine = {name: told for name, told in measure.machine(1).items() if name != "threads"}
    titles = list(dict.fromkeys(one.bundle.title for one in found))
    return Tradeoff(
        title=f"{len(found)} plans of {', '.join(titles)}",
        created=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        task=found[0].bundle.task,
        data=data.name,
        pictures=count,
        reference=found[0].name,
        machine=machine,
        commands=[command],
        plans=facts,
        points=points,
    )


def _of(run: Sweep, one: Contender) -> dict[str, Any]:
    """What any measurement of a contender depends on."""
    return {"onnx": one.sha256, "target": one.bundle.target, "backend": run.options.backend, **measure.machine(1)}


def _engine(run: Sweep, one: Contender, threads: int) -> Engine:
    return tradeoff_plans.opened(one, run.options.backend, threads, run.options.batches)


def _opened(run: Sweep) -> tuple[Sweep, list[PlanFacts]]:
    """Every engine built, opened and asked for its batch; and what the record tells of each plan."""
    found, taken = [], []
    for size, ones in run.there.items():
        for one in bar(ones, "opening {} x {}".format(*size)):
            with _engine(run, one, run.options.threads[0]) as engine:
                board_sweep.refuse_batches({one.name: engine}, run.options.batches)
                taken.append(engine.inputs[0].shape[0] or 1)
                if size == run.options.sizes[0]:
                    found.append(tradeoff_plans.facts_of(one, engine, _example(run, one)))
    return run._replace(one=taken[0]), found


def _example(run: Sweep, one: Contender) -> np.ndarray:
    """The first test picture as an input [1, C, H, W]."""
    return next(batches(run.data.test, inputs.from_json(one.bundle.recipe), 1, run.chosen[:1]))[0]


def _accuracy(run: Sweep, size: Size) -> dict[str, Judged]:
    """Name of a plan -> how right it answers at ``size``, and how often as its fp32 does."""
    named = {one.name: one for one in run.there[size]}

    @functools.cache
    def asked(recipe: Recipe) -> tuple[list[np.ndarray], np.ndarray | None]:
        truth = truth_of(run.data.test, recipe, run.there[size][0].bundle.task)
        pairs = list(batches(truth or run.data.test, recipe, BATCH, run.chosen))
        known = truth is not None and bool(run.data.classes)
        return [values for values, _ in pairs], np.concatenate([one for _, one in pairs]) if known else None

    @functools.cache
    def said(name: str) -> np.ndarray:
        pictures, _ = asked(inputs.from_json(named[name].bundle.recipe))
        with _engine(run, named[name], run.options.threads[0]) as engine:
            return measure.top1(measure.answers(engine, pictures, "{}, {} x {}".format(name, *size)))

    def judged(one: Contender) -> Judged:
        labels = asked(inputs.from_json(one.bundle.recipe))[1]
        right = dict([measure.accuracy(said(one.name), labels)]) if labels is not None else {}
        return Judged(agreement=float((said(one.name) == said(one.base)).mean()), **right)

    answered = {"data": run.options.data, "test": len(run.data.test), "pictures": len(run.chosen)}
    return {
        one.name: kept(
            run.options.out,
            "accuracy",
            {**_of(run, one), "recipe": one.bundle.recipe, "base": named[one.base].sha256, **answered},
            Judged,
            functools.partial(judged, one),
        )
        for one in run.there[size]
    }


def _timed(run: Sweep, size: Size, mode: tuple[int, str] | None, power: board_power_mode.PowerModes) -> list[Point]:
    """Points of every setting at one size in one power mode, timed in turns."""
    ones, options = run.there[size], run.options
    wanted = board_sweep.settings([one.name for one in ones], options.threads, options.batches, ones[0].name, run.one)

    def measured() -> Turns:
        if mode is not None:
            say("power mode {1} ({0})".format(*mode))
            power.take(*mode)
        now = doctor_facts.power_modes()[0] if mode is None else mode[1]
        with contextlib.ExitStack() as stack:
            opened = {
                (one.name, threads): stack.enter_context(_engine(run, one, threads))
                for one in ones
                for threads in options.threads
            }
            example = _example(run, ones[0])
            taken = board_sweep.timed(wanted, opened, example, options.turns, options.warm_s, Sampler(), progress=bar)
        made = board_sweep.points(Group(*size, now), taken, wanted[0])
        return Turns([point._asdict() for point in made])

    depends = {
        "plans": {one.name: _of(run, one) for one in ones},
        "settings": wanted,
        "size": size,
        "turns": options.turns,
        "warm_s": options.warm_s,
        "mode": mode,
    }
    fields = document.Fields({}, f"times below {options.out}/parts")
    rows = kept(options.out, "times", depends, Turns, measured).points
    points = [document.named(Point, row, f"point {index}", fields) for index, row in enumerate(rows)]
    fields.done()
    return points


def _with_memory(run: Sweep, point: Point) -> Point:
    """``point`` with what a process takes that does nothing else."""
    size = point.width, point.height
    one = next(one for one in run.there[size] if one.name == point.plan)
    backend = run.options.backend or tradeoff_plans.backend_of(one)
    asked = one.engine_path, point.threads, point.batch
    depends = {**_of(run, one), "threads": point.threads, "batch": point.batch, "size": size}
    make = functools.partial(peak_memory.of_engine, backend, *asked)
    found = kept(run.options.out, "memory", depends, peak_memory.Memory, make)
    return point._replace(peak_mib=found.peak_mib, loaded_mib=found.loaded_mib)
