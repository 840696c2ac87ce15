"""Rolling figures against figures worked out the plain way."""

import math

from hypothesis import given
from hypothesis import strategies as st

from apps.stream.timing import Rate, Rolling


@given(st.lists(st.floats(0, 1e6), max_size=200), st.integers(1, 50), st.integers(1, 100))
def test_percentiles_are_of_the_last_values(values, size, percent):
    rolling = Rolling(size)
    for value in values:
        rolling.add(value)
    last = sorted(values[-size:])
    expected = last[math.ceil(len(last) * percent / 100) - 1] if last else 0.0
    assert rolling.percentile(percent) == expected


def test_memory_does_not_grow():
    rolling = Rolling(10)
    for value in range(1000):
        rolling.add(value)
    assert len(rolling._sorted) == len(rolling._arrived) == 10


def test_rate():
    rate = Rate(4)
    assert rate.per_second() == 0.0
    for time_s in (0.0, 10.0, 10.5, 11.0, 11.5):
        rate.add(time_s)
    assert rate.per_second() == 2.0
    same = Rate()
    same.add(1.0)
    same.add(1.0)
    assert same.per_second() == 0.0
