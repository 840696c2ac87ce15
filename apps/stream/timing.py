"""Rolling figures of a run, in memory that does not grow with it."""

import bisect
from collections import deque
from typing import Deque, List


class Rolling(object):
    """Percentiles of the last ``size`` values; 0.0 while there is none."""

    def __init__(self, size=1000):
        self._arrived: Deque[float] = deque(maxlen=size)  # oldest first
        self._sorted: List[float] = []

    def add(self, value):
        """Take one value; the oldest goes once ``size`` are held."""
        if len(self._arrived) == self._arrived.maxlen:
            del self._sorted[bisect.bisect_left(self._sorted, self._arrived[0])]
        self._arrived.append(value)
        bisect.insort(self._sorted, value)

    def percentile(self, percent):
        """The value that ``percent`` of those held do not exceed (nearest rank)."""
        if not self._sorted:
            return 0.0
        return self._sorted[max(0, -(-len(self._sorted) * percent // 100) - 1)]


class Rate(object):
    """Events a second over the last ``size`` of them; 0.0 before the second."""

    def __init__(self, size=30):
        self._times: Deque[float] = deque(maxlen=size)

    def add(self, time_s):
        """Note an event."""
        self._times.append(time_s)

    def per_second(self):
        """The rate."""
        elapsed = self._times[-1] - self._times[0] if self._times else 0.0
        return (len(self._times) - 1) / elapsed if elapsed > 0 else 0.0


class Meter(object):
    """The figures of a run, or of one engine's part in it.

    latency: ms from having a frame to having its answer.  work: the same without what the frame
    waited for the engine.  rate: of the answers.  stages: name -> ms, in order; each is written to
    by one thread at a time.  frames: answered.
    """

    def __init__(self, stages=()):
        self.latency, self.work, self.rate = Rolling(), Rolling(), Rate()
        self.stages = {name: Rolling() for name in stages}
        self.frames = 0

    def answered(self, ms, waited_ms, time_s):
        """Note an answer, ``ms`` after its frame, of which the frame waited ``waited_ms``."""
        self.latency.add(ms)
        self.work.add(ms - waited_ms)
        self.rate.add(time_s)
        self.frames += 1

    def took(self, stage, begun_s, ended_s):
        """Note the times in s between which a stage lay."""
        self.stages[stage].add(1e3 * (ended_s - begun_s))

    def stages_p50_ms(self):
        """name -> median ms of each stage."""
        return {name: times.percentile(50) for name, times in self.stages.items()}
