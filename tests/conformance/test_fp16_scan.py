"""Which layers half precision would harm."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibrators import fp16
from edge_mpq.records.ranges import RangeTable

CALM = fp16.Weights(1.0, 2e-4)


def _scan(ranges: dict, weights: dict | None = None) -> dict[str, str]:
    layers = {"conv1": ("input", "conv1"), "conv2": ("conv1", "conv2")}
    table = RangeTable(ranges, "minmax", 8)
    return {finding.layer: finding.why for finding in fp16.harmed(layers, table, weights or {})}


def test_calm_layers_go_to_half() -> None:
    assert _scan({"input": (-3.0, 3.0), "conv1": (0.0, 900.0)}, {"conv1": CALM, "conv2": CALM}) == {}


def test_a_layer_that_overflows_and_the_one_that_reads_it_stay_in_float() -> None:
    found = _scan({"input": (-1.0, 1.0), "conv1": (-4e4, 10.0), "conv2": (0.0, 1.0)})
    assert list(found) == ["conv1", "conv2"]
    assert "conv1 reaches 4e+04, a half ends at 65504" in found["conv1"]


@pytest.mark.parametrize(("greatest", "harmed"), [(32752.0, False), (32753.0, True), (1e6, True)])
def test_there_is_headroom_for_what_calibration_has_not_seen(greatest: float, harmed: bool) -> None:
    assert bool(_scan({"conv2": (0.0, greatest)})) == harmed


def test_values_where_bits_are_missing_stay_in_float() -> None:
    assert "stays below 0.001" in _scan({"conv2": (-1e-3, 1e-3)})["conv2"]
    # Nothing is lost of a tensor of zeros.
    assert _scan({"conv2": (0.0, 0.0)}) == {}


def test_weights_that_half_cannot_hold_stay_in_float() -> None:
    random = np.random.RandomState(0)
    normal = fp16.summary(random.randn(64, 64))
    assert 1e-4 < normal.error < 3e-4
    tiny, huge = fp16.summary(random.randn(64, 64) * 1e-6), fp16.summary([1e5, 1.0])
    found = _scan({}, {"conv1": tiny, "conv2": huge})
    assert "of their norm in half" in found["conv1"] and "a weight is 1e+05" in found["conv2"]
    assert fp16.summary([]) == fp16.summary([0.0]) == (0.0, 0.0)


@given(st.integers(0, 2**16), st.sampled_from(["normal", "uniform", "laplace"]), st.floats(0.01, 100.0))
def test_ordinary_weights_are_never_blamed(seed: int, law: str, scale: float) -> None:
    values = getattr(np.random.RandomState(seed), law)(size=512) * scale
    found = fp16.summary(values)
    assert found.error < fp16.LARGEST_WEIGHT_ERROR / 3
    assert _scan({}, {"conv1": found}) == {}


@given(st.floats(1e-8, 1e8), st.floats(1e-8, 1e8))
def test_a_wider_range_beyond_the_end_is_never_better(first: float, second: float) -> None:
    narrow, wide = sorted((first, second))
    if narrow > fp16.SMALLEST_NORMAL * fp16.BELOW_GREATEST and _scan({"conv2": (0.0, narrow)}):
        assert _scan({"conv2": (0.0, wide)})
