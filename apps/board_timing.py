"""Engines timed against each other in turns, with the power each takes, and their answers compared."""

import time
from typing import Dict, List, NamedTuple

import numpy as np

from apps.stream.power import Power
from edge_mpq.errors import EngineError

# A turn lasts long enough for the sensors, which average over tenths of a second.
TURN_S, TURN_CALLS = 0.5, 25


class Timed(NamedTuple):
    """An engine's turns.  calls_ms: [turns, calls].  powers: a Power each turn."""

    calls_ms: np.ndarray
    powers: List[Power]

    @property
    def mean_w(self):
        """Mean power over all turns in W, None where it could not be read."""
        seconds = sum(power.seconds for power in self.powers)
        known = seconds > 0 and all(power.mean_w is not None for power in self.powers)
        return sum(power.energy_j for power in self.powers) / seconds if known else None

    @property
    def frame_j(self):
        """Energy of a frame in J, of everything the sensors see, or None."""
        if self.mean_w is None:
            return None
        return sum(power.energy_j for power in self.powers) / self.calls_ms.size


def untold(items, what):
    """Yield ``items``, telling nobody how far they are."""
    return iter(items)


def interleaved(
    engines,
    batch,
    turns,
    warm_s,
    sampler,
    clock=time.perf_counter,
    turn_s=TURN_S,
    turn_calls=TURN_CALLS,
    progress=untold,
):
    """role -> Timed.  After ``warm_s`` seconds of each, engines take turns: what slows the board slows all alike.

    turn_s, turn_calls: a turn has so many seconds and calls, or more.
    """
    calls = {}
    for role, engine in progress(list(engines.items()), "warming up"):
        begun, count = clock(), 0
        while count < 10 or clock() - begun < warm_s:
            engine.infer(batch)
            count += 1
        took = (clock() - begun) / count
        calls[role] = max(turn_calls, int(turn_s / took) if took > 0 else 0)
    times: Dict[str, List[List[float]]] = {role: [] for role in engines}
    powers: Dict[str, List[Power]] = {role: [] for role in engines}
    for _ in progress(range(turns), "timing in turns"):
        for role, engine in engines.items():
            row = []
            sampler.start()
            for _ in range(calls[role]):
                started = clock()
                engine.infer(batch)
                row.append(1e3 * (clock() - started))
            powers[role].append(sampler.stop())
            times[role].append(row)
    return {role: Timed(np.array(times[role]), powers[role]) for role in engines}


def speedup(reference, other):
    """Median over turns of the ratio of their medians: a turn is compared with its neighbour."""
    return float(np.median(np.median(reference.calls_ms, 1) / np.median(other.calls_ms, 1)))


def agreement(engine, reference, batches):
    """Share of answers to ``batches`` on which ``engine`` says what ``reference`` does, or None without batches.

    Raises EngineError where an answer is not finite.
    """
    same = []
    for batch in batches:
        mine, theirs = (_answer(one, batch) for one in (engine, reference))
        if not np.isfinite(mine).all():
            what = "output {!r} holds values that are not finite".format(engine.outputs[0].name)
            raise EngineError(what, "plan again with wider formats")
        same.append(np.mean(_winners(mine) == _winners(theirs)))
    return float(np.mean(same)) if same else None


def filled(engine, picture):
    """One ``picture`` [1, ...] as often as an engine of a fixed batch wants it."""
    return np.repeat(picture, engine.inputs[0].shape[0] or 1, axis=0)


def _answer(engine, picture):
    return engine.infer(filled(engine, picture))[0][:1]


def _winners(scores):
    return scores > 0 if scores.shape[1] == 1 else scores.argmax(1)
