"""Numbers as they are written, the figures they come from, and where plots put labels."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_mpq.records.report import LayerRow, Variant
from edge_mpq.report import facts, figures, palette, quantities
from edge_mpq.report.scales import Axis, Box, place, rounded_out, rounded_up
from tests.report import sample


@pytest.mark.parametrize(
    ("rule", "value", "shown"),
    [
        (quantities.percent, 0.88361, "88.36 %"),
        (quantities.percent, 1.0, "100.00 %"),
        (quantities.ms, 0.01234, "0.0123 ms"),
        (quantities.ms, 12.345, "12.3 ms"),
        (quantities.ms, 1234.5, "1,230 ms"),
        (quantities.ms, 0, "0 ms"),
        (quantities.ms, 9.999, "10.0 ms"),
        (quantities.mib, 94.31, "94.3 MiB"),
        (quantities.rate, 1918.3, "1,918 FPS"),
        (quantities.rate, 24.71, "24.7 FPS"),
        (quantities.times, 2.3995, "2.40 ×"),
        (quantities.times, 1.5e-5, "1.50e−5 ×"),
        (quantities.count, 1234567, "1,234,567"),
        (quantities.points, -0.0029, "−0.29 points"),
        (quantities.points, 0.0, "0.00 points"),
        (quantities.points, -1e-9, "0.00 points"),
        (quantities.change, 2.7, "+170.0 %"),
        (quantities.seconds, 3e-7, "3.00e−7 s"),
    ],
)
def test_quantities_are_written_for_people(rule, value, shown):
    assert str(rule(value)) == shown


@given(st.floats(1e-12, 1e17), st.integers(2, 6))
def test_significant_keeps_its_digits(value, digits):
    text = quantities.significant(value, digits).replace(",", "").replace("\u2212", "-")
    assert float(text) == pytest.approx(value, rel=0.5001 * 10.0 ** (1 - digits))


@given(st.lists(st.floats(1e-4, 1e6), min_size=1))
def test_decimals_show_the_smallest(values):
    places = quantities.decimals(values)
    assert float(quantities.fixed(min(values), places).replace(",", "")) > 0


def variant(name: str, **changes) -> Variant:
    return Variant(name, 1.0, 1.0, 32.0, 2.0, 2.2, 500.0, 1.0, 0.9)._replace(name=name, **changes)


def test_subject_and_reference_are_found_by_name_else_by_place():
    fp32, int8, mixed = variant("fp32"), variant("int8"), variant("mixed")
    assert figures.subject([fp32, mixed, int8]) is mixed and figures.reference([int8, fp32]) is fp32
    assert figures.subject([fp32, int8]) is int8 and figures.reference([int8, mixed]) is int8
    assert figures.subject([]) is None and figures.reference([]) is None


@pytest.mark.parametrize(
    ("top1", "words"),
    [(0.895, "0.50 points below fp32"), (0.91, "1.00 points above fp32"), (0.90001, "equal to fp32"), (None, "")],
)
def test_the_drop_is_in_points(top1, words):
    assert figures.drop(variant("mixed", top1=top1), variant("fp32")) == words


def test_a_loss_is_called_a_loss():
    worse = variant("mixed", file_mib=2.0, speedup=0.8)
    _, size, speed = figures.headlines(sample.report()._replace(variants=[variant("fp32"), worse]))
    assert str(size.value) == "2.00 × larger" and str(speed.value) == "1.25 × slower"


def test_a_file_of_no_size_or_a_speed_of_zero_divides_nothing():
    odd = variant("mixed", file_mib=0.0, speedup=0.0)
    _, size, speed = figures.headlines(sample.report()._replace(variants=[variant("fp32"), odd]))
    assert str(size.value) == "0 MiB" and str(speed.value) == "2.00 ms"


def test_timing_counts_only_layers_with_both_times():
    rows = [
        LayerRow("a", "w8a8", "w8a8", 1, 1, 1.0, 1.5),
        LayerRow("b", "w8a8", "fp32", 1, 1, 1.0, 3.0),
        LayerRow("c", "w8a8", "w8a8", 1, 1, None, 9.0),
        LayerRow("d", "w8a8", "w8a8", 1, 1, 9.0, None),
    ]
    assert figures.timing(rows) == figures.Timing(layers=2, planned_ms=2.0, measured_ms=4.5, within_twice=1)
    assert figures.timing(rows).ratio == 2.25 and figures.timing([]).ratio is None
    assert [row.layer for row in figures.mismatches(rows)] == ["b"]


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (["a.b.1.conv", "a.b.2.conv"], ["1", "2"]),
        (["a.b", "a.b"], ["b", "b"]),
        (["conv1", "fc"], ["conv1", "fc"]),
        (["layer1.0.conv1"], ["layer1.0.conv1"]),
        (["a.x", "a"], ["a.x", "a"]),
        ([], []),
    ],
)
def test_labels_drop_what_all_share(names, short):
    assert figures.distinct(names) == short


def test_facts_take_their_unit_from_their_name():
    shown = {
        title: str(value)
        for title, value in facts.listed(
            {
                "quantize_s": 12.3,
                "top1": 0.5,
                "real_photos_top1": 0.82,
                "count": 10000,
                "on": True,
                "none": None,
                "name": "x_ms",
                "by": {"layer_ms": 0.5, "deep": [{"a_mib": 1}, {"a_mib": 2}]},
                "sizes": [1, 2.5],
                "ratio": 0.123456,
            }
        )
    }
    assert shown == {
        "Quantize": "12.3 s",
        "Top-1": "50.00 %",
        "Real photos top-1": "82.00 %",
        "Count": "10,000",
        "On": "yes",
        "None": "not known",
        "Name": "x_ms",
        "By layer": "0.500 ms",
        "By deep 1 a": "1.00 MiB",
        "By deep 2 a": "2.00 MiB",
        "Sizes": "1, 2.500",
        "Ratio": "0.1235",
    }


@pytest.mark.parametrize(
    ("short", "key"),
    [
        ("w4a8", "int4"),
        ("w8a8", "int8"),
        ("fp16", "fp16"),
        ("w32a8", "fp32"),
        ("fp8", "fp8"),
        ("w9a9", "other"),
        ("", "other"),
        ("w" + "9" * 50 + "a8", "other"),
        ('"><b>', "other"),
    ],
)
def test_a_format_has_one_colour(short, key):
    assert palette.key(short) == key


def test_names_of_one_colour_differ_in_stripes():
    found = palette.classes(["w8a8", "w8a8", "w8a16", "fp32", "w4a8"])
    assert list(found) == ["fp32", "w8a8", "w8a16", "w4a8"]
    assert found["w8a8"] == "format-int8" and found["w8a16"] == "format-int8 striped-1"


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_round_bounds_hold_their_values(one, two):
    low, high = min(one, two), max(one, two)
    bottom, top = rounded_out(low, high, 0.5, 0, 1e9)
    assert 0 <= bottom <= low and high <= top and (top - bottom >= 0.5 or bottom == 0)
    assert rounded_up(high) >= high


@given(st.floats(1e-4, 1e3), st.floats(1.5, 1e5), st.booleans())
def test_ticks_lie_on_their_axis(low, ratio, log):
    axis = Axis(low, low * ratio, 0, 100, log)
    ticks = axis.ticks()
    assert len(ticks) <= 8
    assert all(-1e-6 <= axis.at(tick) <= 100 + 1e-6 for tick in ticks)
    assert ticks == sorted(ticks)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=8, unique=True))
def test_labels_of_points_apart_overlap_nothing(cells):
    frame = Box(0, 0, 900, 500)
    points = [(100 + 170.0 * column, 60 + 90.0 * row) for column, row in cells]
    labels = place(points, [(80, 30)] * len(points), frame, points)
    boxes = [label.box for label in labels]
    for index, box in enumerate(boxes):
        assert box.outside(frame) == 0
        assert all(box.overlap(other) == 0 for other in boxes[:index])
        assert all(box.overlap(Box(x - 5, y - 5, x + 5, y + 5)) == 0 for x, y in points)
