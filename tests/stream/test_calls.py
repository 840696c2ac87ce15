"""How many pictures an engine is given at once, on a clock that an engine moves."""

import numpy as np
import pytest

from apps.stream.calls import TRIALS, Calls
from edge_mpq.engines.base import Engine, TensorSpec
from tests.stream.scripted import Clock


class Costly(Engine):
    """A call takes ``call_s``, and ``picture_s`` for each picture; the first one a second more."""

    def __init__(self, clock, call_s, picture_s, batch=None):
        self.inputs = (TensorSpec("input", (batch, 3, 4, 4), "float32"),)
        self._clock, self._costs, self.calls = clock, (call_s, picture_s), []

    def infer(self, batch):
        self._clock.now += self._costs[0] + self._costs[1] * len(batch) + (not self.calls)
        self.calls.append(len(batch))
        return [batch.sum(axis=(1, 2, 3), keepdims=True)[:, :, 0, 0]]


def _batch(count):
    return np.arange(count, dtype=np.float32).reshape(-1, 1, 1, 1) * np.ones((1, 3, 4, 4), np.float32)


# A call that costs much pays for all at once; one that costs less than nothing, as where a cache overflows, does not.
@pytest.mark.parametrize(("call_s", "kept"), [(0.5, [4]), (-0.05, [1, 1, 1, 1])])
def test_the_faster_way_is_kept(call_s, kept):
    clock = Clock()
    engine, calls = Costly(clock, call_s, 0.1), Calls(clock)
    for _ in range(2 * TRIALS):
        np.testing.assert_array_equal(calls.infer(engine, _batch(4))[0][:, 0], 48 * np.arange(4))
    assert engine.calls == [4, 1, 1, 1, 1] * TRIALS
    engine.calls[:] = [0]
    calls.infer(engine, _batch(4))
    assert engine.calls == [0, *kept]


def test_each_number_of_pictures_and_each_engine_is_learnt_by_itself():
    clock = Clock()
    calls = Calls(clock)
    dear, cheap = Costly(clock, 0.5, 0.1), Costly(clock, -0.05, 0.1)
    for _ in range(2 * TRIALS + 1):
        for engine in (dear, cheap):
            for count in (2, 3):
                calls.infer(engine, _batch(count))
    assert dear.calls[-2:] == [2, 3] and cheap.calls[-5:] == [1] * 5


@pytest.mark.parametrize(("batch", "called"), [(1, [1, 1, 1]), (3, [3])])
def test_a_batch_that_is_not_free_leaves_no_choice(batch, called):
    clock = Clock()
    engine, calls = Costly(clock, 0.5, 0.1, batch), Calls(clock)
    for _ in range(3):
        engine.calls[:] = []
        calls.infer(engine, _batch(3))
        assert engine.calls == called
    one = Costly(clock, 0.5, 0.1)
    calls.infer(one, _batch(1))
    assert one.calls == [1]
