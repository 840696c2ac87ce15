"""What a tradeoff tells of engines: the facts of each plan, and its times at several settings, taken in turns."""

import os
import time
from typing import NamedTuple

import numpy as np

from apps import board_bench, board_timing
from apps.stream.engine_from_bundle import ROLES
from edge_mpq.engines.base import Engine
from edge_mpq.errors import EngineError
from edge_mpq.records import plan as plans
from edge_mpq.records.tradeoff import PlanFacts, Point

# On a machine without a power sensor a turn may be shorter: more of them see more of its moods.
SHORT_TURN_S, SHORT_TURN_CALLS = 0.1, 5


class Setting(NamedTuple):
    """One plan at one setting; width, height and power mode are those of its group."""

    plan: str
    threads: int
    batch: int


class Group(NamedTuple):
    """What is timed in the same turns.  power_mode: '' where the machine has none."""

    width: int
    height: int
    power_mode: str


class AtBatch(Engine):
    """An engine that is always asked for the same batch [N, C, H, W], whatever it is given."""

    def __init__(self, engine, batch):
        self.engine, self.batch = engine, batch

    def infer(self, batch):
        return self.engine.infer(self.batch)


def settings(plans, threads, batches, reference, one=1):
    """Every Setting of ``plans``, that of ``reference`` on the fewest threads first; one: the batch it answers.

    That is 1, or where its batch is not free the one it takes.
    """
    first = Setting(reference, min(threads), one)
    rest = [Setting(plan, count, batch) for plan in plans for count in threads for batch in batches]
    return [first] + [one for one in rest if one != first]


def refuse_batches(engines, batches):
    """Raise EngineError where an engine of ``engines`` (name -> Engine) cannot take one of ``batches`` at once."""
    fixed = {name: engine.inputs[0].shape[0] for name, engine in engines.items()}
    tied = {name: count for name, count in fixed.items() if count is not None and set(batches) != {count}}
    if tied:
        told = ", ".join("{} takes {}".format(name, count) for name, count in tied.items())
        asked = ", ".join(map(str, sorted(set(batches))))
        raise EngineError("batches of {} were asked, the batch is not free: {}".format(asked, told),
                          "ask for that batch alone, or make the bundle of a model with a free one")  # fmt: skip


def timed(wanted, opened, picture, turns, warm_s, sampler, clock=time.perf_counter, progress=board_timing.untold):
    """Setting -> Timed, of all ``wanted`` in turns.

    opened: (plan, threads) -> Engine.  picture: [1, C, H, W], repeated to each batch.
    """
    bound = {one: AtBatch(opened[one.plan, one.threads], np.repeat(picture, one.batch, axis=0)) for one in wanted}
    long_enough = (board_timing.TURN_S, board_timing.TURN_CALLS) if sampler.reads_power else ()
    turn_s, turn_calls = long_enough or (SHORT_TURN_S, SHORT_TURN_CALLS)
    return board_timing.interleaved(
        bound, picture, turns, warm_s, sampler, clock, turn_s=turn_s, turn_calls=turn_calls, progress=progress
    )


def points(group, taken, reference):
    """[Point] of the turns ``taken`` (Setting -> Timed), without accuracy and memory; reference: a Setting of them."""
    base = np.median(taken[reference].calls_ms, 1) / reference.batch
    made = []
    for one, timed_ in taken.items():
        medians = np.median(timed_.calls_ms, 1)
        p50, ratio = _quartiles(medians), _quartiles(base / (medians / one.batch))
        spent = [power.energy_j for power in timed_.powers]
        calls = timed_.calls_ms.shape[1]
        energy = _quartiles(np.array(spent) / (calls * one.batch)) if spent and None not in spent else (None,) * 3
        made.append(
            Point(
                plan=one.plan,
                threads=one.threads,
                batch=one.batch,
                width=group.width,
                height=group.height,
                power_mode=group.power_mode,
                turns=len(medians),
                calls=int(timed_.calls_ms.size),
                p50_low_ms=p50[0],
                p50_ms=p50[1],
                p50_high_ms=p50[2],
                p99_ms=float(np.percentile(timed_.calls_ms, 99)),
                fps=1e3 * one.batch / p50[1],
                speedup_low=ratio[0],
                speedup=ratio[1],
                speedup_high=ratio[2],
                picture_low_j=energy[0],
                picture_j=energy[1],
                picture_high_j=energy[2],
            )
        )
    return made


def facts_of(folder, bundle, role, name, engine, example):
    """The PlanFacts of the plan of ``role`` in the bundle at ``folder``, called ``name``.

    example: one input [1, C, H, W], on which the layers of ``engine`` are timed.
    """
    usual = dict(ROLES)[role]
    plan = plans.load(os.path.join(folder, bundle.files["plan"])) if "plan" in bundle.files else None
    size = os.path.getsize(os.path.join(folder, bundle.files[role]))
    weights, rows = board_bench.known_of(role, board_bench.before(folder).get(usual), plan, size)
    times = {item.layer: item.ms for item in engine.profile(board_timing.filled(engine, example))} if rows else {}
    got = engine.card.got if engine.card else {}
    return PlanFacts(
        name=name,
        role=usual,
        title=bundle.title,
        model=plan.model if plan else "",
        target=bundle.target,
        backend=engine.card.backend if engine.card else "",
        budget=plan.budget if plan and role == "model" else "",
        weight_mib=weights[0],
        weight_bits=weights[1],
        file_mib=size / board_bench.MIB,
        layers=[row._replace(got=got.get(row.layer, "unknown"), measured_ms=times.get(row.layer)) for row in rows],
    )


def _quartiles(values):
    return tuple(float(np.percentile(values, rank)) for rank in (25, 50, 75))
