"""Reports held against each other: the numbers, the refusal of different models, the page and the text."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_mpq.errors import RecordError
from edge_mpq.report import comparison, comparison_page, comparison_text, text
from edge_mpq.report.comparison import Side, compare, labels
from tests.report import sample
from tests.report.reading import Page
from tests.report.test_page import EVIL, hostile


@pytest.fixture(scope="module")
def two() -> comparison.Comparison:
    return compare([Side("xeon", sample.report()), Side("arm", sample.report("cpu-arm64", 2.7))])


def test_every_variant_stands_side_by_side(two):
    assert [variant.name for variant in two.variants] == ["fp32", "int8", "mixed"]
    cells = two.variants[2].cells
    assert [cell.value for cell in cells["top1"]] == [0.8807, 0.8807] and cells["top1"][1].difference == 0
    assert cells["p50_ms"][1].difference == pytest.approx(1.7)
    assert cells["fps"][1].difference == pytest.approx(1 / 2.7 - 1)
    assert cells["p50_ms"][0].difference is None and cells["p50_ms"][0].first


def test_shares_differ_in_points_and_bits_in_bits():
    other = sample.report()
    changed = other._replace(variants=[other.variants[2]._replace(top1=0.8757, weight_bits=4.43, agreement=None)])
    cells = compare([Side("a", sample.report()), Side("b", changed)]).variants[2].cells
    assert cells["top1"][1].difference == pytest.approx(-0.005)
    assert cells["weight_bits"][1].difference == pytest.approx(-0.5)
    assert cells["agreement"][1] == (None, None, False)


def test_precision_and_time_are_told_for_each_side(two):
    mixed = [row for row in two.precision if row.variant == "mixed"]
    assert [(row.label, row.layers, row.as_asked) for row in mixed] == [("xeon", 22, 21), ("arm", 22, 21)]
    assert [row.layer for row in mixed[0].otherwise] == ["layer2.0.shortcut"]
    rows = sample.report().variants[2].layers
    assert mixed[0].timing.planned_ms == pytest.approx(sum(row.planned_ms or 0 for row in rows))
    assert mixed[1].timing.measured_ms == pytest.approx(2.7 * sum(row.measured_ms or 0 for row in rows))


def test_a_layer_that_only_one_side_has_is_kept():
    short = sample.report()
    mixed = short.variants[2]
    short = short._replace(variants=[mixed._replace(layers=mixed.layers[1:])])
    pairs = compare([Side("a", short), Side("b", sample.report())]).layers["mixed"]
    assert pairs[-1].layer == "conv1" and [row and row.layer for row in pairs[-1].rows] == [None, "conv1"]
    assert "not there" in Page(comparison_page.render(compare([Side("a", short), Side("b", sample.report())]))).words


def test_the_same_report_twice_differs_in_nothing():
    same = compare([Side("a", sample.report()), Side("a (2)", sample.report())])
    assert all(cells[1].difference in (None, 0) for variant in same.variants for cells in variant.cells.values())


def test_different_models_are_refused():
    other = sample.report()._replace(facts={comparison.FINGERPRINT: "0123456789abcdef"})
    with pytest.raises(RecordError, match="b is of model 0123456789abcdef") as caught:
        compare([Side("a", sample.report()), Side("b", other)])
    assert "compare runs of one model" in str(caught.value)


def test_a_report_that_names_no_model_is_noted_not_refused():
    silent = sample.report()._replace(facts={})
    result = compare([Side("a", sample.report()), Side("b", silent)])
    assert len(result.notes) == 1 and result.notes[0].startswith("b does not say which model")
    assert result.notes[0] in Page(comparison_page.render(result)).words
    assert compare([Side("a", sample.report()), Side("b", sample.report())]).notes == []


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["/r/nano/report.json", "/r/orin/report.json"], ["nano", "orin"]),
        (["/a/run/report.json", "/b/run/report.json"], ["a/run", "b/run"]),
        (["/r/x/report.json", "/r/x/report.json", "/r/x/report.json"], ["x", "x (2)", "x (3)"]),
        (["/r/nano.json", "/r/orin.json"], ["nano", "orin"]),
        (["report.json", "b/report.json"], ["report", "b"]),
    ],
)
def test_labels_are_short_and_distinct(paths, names):
    assert labels(paths) == names


@given(st.lists(st.from_regex(r"/([ab]/){1,3}(report|x)\.json", fullmatch=True), min_size=1, max_size=6))
def test_different_paths_never_share_a_label(paths):
    found = labels(paths)
    assert len(set(found)) == len(paths) == len(found)


def test_the_page_holds_every_figure(two):
    held = Page(comparison_page.render(two))
    assert {"runs", "figures-compared", "foreseen", "layers-compared"} <= set(held.values("id"))
    for shown in ("+170.0 %", "−63.0 %", "88.07 %", "21 of 22 layers", "1.43 ms", "≠ w8a8 asked", "cpu-arm64"):
        assert shown in held.words
    values = set(held.values("data-value"))
    for side in two.sides:
        for variant in side.report.variants:
            assert {str(variant.fps), str(variant.p50_ms), str(variant.file_mib)} <= values
    assert not [value for value in held.values("src") + held.values("href") if not value.startswith("data:")]


def test_reports_without_variants_leave_their_sections_out():
    bare = sample.report()._replace(variants=[])
    held = Page(comparison_page.render(compare([Side("a", bare), Side("b", bare)])))
    assert [value for value in held.values("id")] == ["runs"]


def test_hostile_text_stays_text():
    held = Page(comparison_page.render(compare([Side(EVIL, hostile(EVIL)), Side("b", hostile(EVIL))])))
    assert held.count("script") == 1 and held.count("img") == 0
    assert not [name for _, attributes in held.tags for name in attributes if name.startswith("on")]


def test_the_json_form_is_json(two):
    body = json.loads(json.dumps(comparison.as_json(two), allow_nan=False))
    assert body["variants"]["mixed"]["top1"] == [[0.8807, None], [0.8807, 0.0]]
    assert body["precision"][-1]["otherwise"] == ["layer2.0.shortcut"]


@pytest.mark.parametrize("name", ["mixed", "x" * 200, EVIL, "混合精度" * 20, "\n\x1b[2J"])
def test_text_is_plain_and_fits_a_terminal(name):
    report = hostile(name)
    many = report._replace(variants=[report.variants[0]._replace(name=name + str(index)) for index in range(5)])
    result = compare([Side(name, report), Side(name + "2", report)])
    for told in (text.summary(many), comparison_text.summary(result), text.summary(sample.report())):
        lines = told.split("\n")
        assert all(text.columns(line) <= 80 for line in lines)
        assert all(line.isprintable() for line in lines)


def test_text_tells_the_three_figures_and_the_table():
    told = text.summary(sample.report())
    assert "Accuracy of mixed: 88.07 %; 0.29 points below fp32" in told
    assert "Size of mixed: 3.19 ×" in told and "Speed of mixed: 2.36 × faster" in told
    assert told.count("MiB") >= 6 and "88.36 %    88.35 %    88.07 %" in told


def test_text_of_a_comparison_tells_differences(two):
    told = comparison_text.summary(two)
    assert "differences are from xeon" in told and "+170.0 %" in told and "21 of 22" in told
