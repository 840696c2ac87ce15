"""Laws that every observer keeps, present and future, and what is peculiar to each."""

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edge_mpq import observers
from edge_mpq.errors import CalibrationError, UsageError
from edge_mpq.observers import _histogram, mse, percentile

FLOATS = st.floats(-(2.0**100), 2.0**100, width=32)
every_rule = pytest.mark.parametrize("rule", observers.names())
every_grid = pytest.mark.parametrize(("bits", "symmetric"), [(8, False), (8, True), (4, False), (2, True)])


def observed(rule, batches, bits=8, symmetric=False):
    watcher = observers.get(rule).Observer(bits, symmetric)
    for batch in batches:
        watcher.see(batch)
    return watcher.range()


def drawn(shape="normal", size=100_000, seed=0):
    generator = torch.Generator().manual_seed(seed)
    if shape == "normal":
        return torch.randn(size, generator=generator)
    if shape == "relu":
        return torch.randn(size, generator=generator).relu()
    flat = torch.rand(size, generator=generator) * 2 - 1
    if shape == "uniform":
        return flat
    if shape == "skewed":
        return torch.where(flat < 0, flat, -4 * torch.log1p(-flat))
    assert shape == "laplace"
    return -flat.sign() * torch.log1p(-flat.abs())


def squared_error(values, ends, bits, symmetric):
    """Mean squared error of fake-quantizing ``values`` on the grid that spans ``ends``."""
    low, high = ends
    if symmetric:
        least, steps = -(2 ** (bits - 1) - 1), 2**bits - 2
    else:
        steps = 2**bits - 1
        least = round(low / ((high - low) / steps))
    step = (high - low) / steps
    return ((values / step).round().clamp(least, least + steps) * step - values).square().mean().item()


def test_the_door_lists_the_rules_and_hides_what_they_share():
    assert {"minmax", "percentile", "entropy", "mse"} <= set(observers.names())
    assert "_histogram" not in observers.names()
    with pytest.raises(UsageError, match="choose one of .*minmax"):
        observers.get("median")


@every_rule
@every_grid
@settings(max_examples=25, deadline=None)
@given(values=arrays.arrays(np.float32, st.integers(1, 300), elements=FLOATS))
def test_a_range_holds_zero_and_stays_inside_the_data(rule, bits, symmetric, values):
    low, high = observed(rule, [torch.from_numpy(values)], bits, symmetric)
    assert low <= 0 <= high and low < high
    assert all(type(end) is float for end in (low, high))
    least, most = min(values.min(), 0), max(values.max(), 0)
    if symmetric:
        assert low == -high
        most = max(-least, most)
        least = -most
    if most - least > 1e-20:
        assert least * (1 + 1e-6) <= low and high <= most * (1 + 1e-6)


@every_rule
@every_grid
@pytest.mark.parametrize("shape", ["normal", "relu", "laplace"])
def test_wider_data_never_gives_a_narrower_range(rule, bits, symmetric, shape):
    values = drawn(shape)
    spans = [np.ptp(observed(rule, [values * factor], bits, symmetric)) for factor in (0.7, 1, 1.5, 2, 3, 20)]
    assert spans == sorted(spans)


@every_rule
@every_grid
def test_scaling_the_data_scales_the_range(rule, bits, symmetric):
    values = drawn("laplace")
    plain = np.array(observed(rule, [values], bits, symmetric))
    for exponent in (-20, -1, 1, 30):
        scaled = observed(rule, [values * 2.0**exponent], bits, symmetric)
        assert np.array_equal(scaled, plain * 2.0**exponent)
    for factor in (0.3, 1.7):
        # Bins fall elsewhere on the data, and the divergence is flat around its minimum.
        assert np.array(observed(rule, [values * factor], bits, symmetric)) == pytest.approx(plain * factor, rel=0.25)


@every_rule
@every_grid
def test_order_and_size_of_batches_leave_no_trace(rule, bits, symmetric):
    values = drawn("laplace").sort().values * torch.linspace(0.1, 3, 100_000)
    batches = list(values.split(1111))
    once = observed(rule, [values], bits, symmetric)
    assert observed(rule, batches, bits, symmetric) == once
    assert observed(rule, batches[::-1], bits, symmetric) == once
    assert observed(rule, [values.reshape(10, 10, 1000).transpose(0, 2)], bits, symmetric) == once


@every_rule
def test_memory_does_not_grow_with_the_pictures(rule):
    watcher = observers.get(rule).Observer()
    for seed in range(40):
        watcher.see(drawn(size=5000, seed=seed) * (1 + seed))
    assert len(pickle.dumps(watcher)) < 20_000


@every_rule
@pytest.mark.parametrize("symmetric", [False, True])
def test_constant_tensors_have_ranges(rule, symmetric):
    for constant in (5.0, -0.25, 3e-38, 0.0, -0.0, 1e-44, -3e38):
        low, high = observed(rule, [torch.full((2, 3, 4), constant)] * 2, symmetric=symmetric)
        assert low <= 0 <= high and low < high
        if abs(constant) > 1e-20:
            assert low * (1 + 1e-6) <= constant <= high * (1 + 1e-6)


@every_rule
@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64, torch.int32])
def test_every_number_type_is_seen(rule, kind):
    low, high = observed(rule, [torch.tensor([-3, 0, 7, 1], dtype=kind), torch.tensor(7, dtype=kind)])
    assert (low, high) == pytest.approx((-3, 7), rel=0.01)


@every_rule
def test_tensors_that_require_gradients_are_seen(rule):
    assert observed(rule, [torch.tensor([1.0, 2.0], requires_grad=True)]) == pytest.approx((0, 2), rel=0.01)


def test_of_equally_good_windows_entropy_takes_the_widest():
    assert observed("entropy", [torch.tensor([1.0, 2.0, 1e3])]) == pytest.approx((0, 1000))


@every_rule
def test_a_range_before_any_value_is_an_error(rule):
    with pytest.raises(CalibrationError, match="no value .* was seen; calibrate with"):
        observed(rule, [])
    with pytest.raises(CalibrationError, match="no value"):
        observed(rule, [torch.empty(0, 3)])


@every_rule
def test_values_that_are_not_finite_are_counted_refused_and_forgotten(rule):
    watcher = observers.get(rule).Observer()
    watcher.see(drawn())
    before = watcher.range()
    bad = torch.ones(4, 5)
    bad[0, :2], bad[1, 0], bad[2, 3] = float("nan"), float("inf"), float("-inf")
    with pytest.raises(CalibrationError, match="2 NaN and 2 infinite among 20 values"):
        watcher.see(bad)
    with pytest.raises(CalibrationError, match="0 NaN and 1 infinite"):
        watcher.see(torch.tensor([1e300, 0.0], dtype=torch.float64))
    assert watcher.range() == before


# What each rule was invented for, and where it has nothing to win.


@pytest.mark.parametrize("rule", ["percentile", "entropy", "mse"])
@pytest.mark.parametrize("symmetric", [False, True])
def test_clipping_beats_the_full_range_on_heavy_tails_and_wins_nothing_on_flat_data(rule, symmetric):
    def gain(values):
        full, clipped = (observed(name, [values], symmetric=symmetric) for name in ("minmax", rule))
        return squared_error(values, full, 8, symmetric) / squared_error(values, clipped, 8, symmetric)

    assert gain(drawn("laplace", 1_000_000)) > 1.25
    assert gain(drawn("uniform")) == pytest.approx(1, abs=0.02)


@every_grid
@pytest.mark.parametrize("shape", ["normal", "relu", "laplace", "uniform", "skewed"])
def test_mse_finds_the_best_clip_of_a_search_on_the_data_itself(bits, symmetric, shape):
    values = drawn(shape)
    low, high = observed("minmax", [values], bits, symmetric)
    least = min(
        squared_error(values, (low * one, high * other), bits, symmetric)
        for one in np.linspace(0.1, 1, 19)
        for other in ([one] if symmetric or low == 0 else np.linspace(0.1, 1, 19))
    )
    found = squared_error(values, observed("mse", [values], bits, symmetric), bits, symmetric)
    assert found <= least * 1.01


def test_the_expected_error_is_the_measured_one():
    values = drawn("laplace")
    seen = _histogram.Histogram()
    seen.add(values)
    ends = np.array([[-10.0, 9.0], [-3.0, 5.0], [-0.5, 1.0], [0.0, 2.0]])
    for bits in (8, 4, 2):
        expected = mse.squared_error(seen.counts, seen.edges(), ends, 2**bits - 1) / len(values)
        measured = [squared_error(values, pair, bits, False) for pair in ends]
        assert expected == pytest.approx(measured, rel=0.02)


@pytest.mark.parametrize("shape", ["normal", "relu", "laplace"])
def test_the_percentile_is_that_of_the_non_zero_magnitudes(shape):
    values = drawn(shape)
    exact = np.percentile(values[values != 0].abs().numpy(), 99.99, method="inverted_cdf")
    low, high = observed("percentile", [values])
    assert high == pytest.approx(exact, rel=0.005)
    assert low == (0 if shape == "relu" else pytest.approx(-exact, rel=0.005))
    assert observed("percentile", [values], symmetric=True)[0] == pytest.approx(-exact, rel=0.005)


def test_a_short_negative_tail_is_not_cut():
    values = torch.nn.functional.silu(drawn() * 3)
    for rule in ("percentile", "entropy"):
        assert observed(rule, [values])[0] == pytest.approx(values.min().item())


def test_zeros_of_a_sparse_tensor_do_not_move_the_clip():
    values = drawn("laplace")
    sparse = torch.cat([values, torch.zeros(10 * len(values))])
    for rule in observers.names():
        assert observed(rule, [sparse]) == observed(rule, [values])


def test_more_than_half_of_the_values_must_stay():
    percentile.Observer(percentile=100.0)
    for share in (0.9999, 50, 101):
        with pytest.raises(CalibrationError, match="percentile"):
            percentile.Observer(percentile=share)


def test_a_grid_has_a_sensible_width():
    for bits in (1, 0, 17):
        with pytest.raises(CalibrationError, match=f"{bits} bits"):
            observers.get("mse").Observer(bits)


# Down to where a value divided by the width of a bin is still a normal float32.
_NORMAL = st.just(0.0) | st.floats(2.0**-30, 2.0**60, width=32) | st.floats(-(2.0**60), -(2.0**-30), width=32)


@settings(max_examples=60, deadline=None)
@given(
    values=arrays.arrays(np.float32, st.integers(1, 500), elements=_NORMAL),
    cut=st.integers(1, 500),
)
def test_a_histogram_grown_over_batches_is_that_of_one_pass(values, cut):
    seen = _histogram.Histogram()
    for batch in (values[:cut], values[cut:]):
        if batch.size:
            seen.add(torch.from_numpy(batch))
    assert len(seen.counts) <= _histogram.BINS
    exact = values.astype(np.float64)
    assert (seen.low, seen.high) == (min(exact.min(), 0), max(exact.max(), 0))
    expected, _ = np.histogram(exact[exact != 0], np.append(seen.edges()[:-1], np.inf))
    assert np.array_equal(seen.counts, expected)
    assert seen.zeros == np.count_nonzero(values == 0)
    assert seen.magnitudes().sum() == expected.sum()
