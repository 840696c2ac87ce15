"""Engines timed against each other on a machine that is disturbed: the ratio holds, and is that of the times shown."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps import measure
from edge_mpq.engines.base import Engine

BATCH = np.zeros((1, 1))
ROUNDS, CALLS = 20, 10


class Machine:
    """A clock, and load that multiplies what engines take between two moments, in shares of a quiet run."""

    def __init__(self, base_s: list[float], load: float, begins: float, ends: float, seed: int = 0) -> None:
        self.now, self.load, self.draw = 0.0, load, np.random.default_rng(seed)
        whole = (ROUNDS * CALLS + 10) * sum(base_s)
        self.begins, self.ends = begins * whole, ends * whole
        self.engines = {f"engine-{index}": Timed(self, base) for index, base in enumerate(base_s)}

    def __call__(self) -> float:
        return self.now

    def ran(self) -> dict[str, measure.Speed]:
        return measure.interleaved(self.engines, BATCH, ROUNDS, CALLS, self)


class Timed(Engine):
    """An engine that takes ``base_s``, give or take 2 %, on a machine without load."""

    def __init__(self, machine: Machine, base_s: float) -> None:
        self.machine, self.base_s = machine, base_s

    def infer(self, batch: np.ndarray) -> list[np.ndarray]:
        machine = self.machine
        loaded = machine.begins <= machine.now < machine.ends
        machine.now += self.base_s * machine.draw.uniform(0.98, 1.02) * (machine.load if loaded else 1.0)
        return [batch]


@settings(max_examples=60, deadline=None)
@given(
    ratios=st.lists(st.floats(0.2, 8.0), min_size=1, max_size=2),
    load=st.floats(1.0, 6.0),
    begins=st.floats(-0.2, 1.2),
    lasts=st.floats(0.0, 6.0),
    seed=st.integers(0, 99),
)
def test_the_ratio_holds_whenever_load_comes_and_goes(ratios, load, begins, lasts, seed):
    base = [1e-3, *(1e-3 / ratio for ratio in ratios)]
    speeds = list(Machine(base, load, begins, begins + lasts, seed).ran().values())
    for ratio, other in zip(ratios, speeds[1:], strict=True):
        found = measure.speedup(speeds[0], other)
        assert found == pytest.approx(ratio, rel=measure.NOISE + 0.01)
        assert found == speeds[0].p50_ms / other.p50_ms


def test_medians_of_all_calls_would_contradict_it():
    """Load that comes in the middle: every engine is half quiet, half loaded, and its median on either side."""
    worst = 0.0
    for begins in np.linspace(0.49, 0.53, 30):
        speeds = list(Machine([1e-3, 0.5e-3], 3.0, begins, 9.0).ran().values())
        medians = [float(np.median(speed.calls_ms)) for speed in speeds]
        worst = max(worst, abs(medians[0] / medians[1] / 2 - 1))
        assert measure.speedup(*speeds) == pytest.approx(2.0, rel=0.04)
    assert worst > 0.3


def test_every_engine_is_called_first_as_often_as_last():
    said = []

    class Told(Engine):
        def __init__(self, name: str) -> None:
            self.name = name

        def infer(self, batch: np.ndarray) -> list[np.ndarray]:
            said.append(self.name)
            return [batch]

    ticks = iter(range(10**6))
    speeds = measure.interleaved({name: Told(name) for name in "ab"}, BATCH, 2, 3, lambda: next(ticks))
    assert "".join(said[20:]) == "abbbaa" * 2
    assert speeds["a"].calls_ms.shape == (2, 3) and speeds["a"].quiet.all()


def test_quiet_rounds_are_those_of_all_engines_at_once():
    medians = np.ones((2, 12))
    medians[0, 3], medians[1, 7] = 1.5, 1.2
    assert np.flatnonzero(~measure.quiet_rounds(medians)).tolist() == [3, 7]
    noisy = np.vstack([np.arange(12) + 1.0] * 2)
    assert np.flatnonzero(measure.quiet_rounds(noisy)).tolist() == [0, 1, 2]
