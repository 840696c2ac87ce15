"""The report page: whole, safe, honest about what was not measured, and silent on the network."""

import base64
import hashlib
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_mpq.errors import RecordError
from edge_mpq.records.report import LayerRow, RunReport, Stream, Variant
from edge_mpq.report import facts, figures, page
from tests.report import sample
from tests.report.reading import Page

SECTIONS = ("variants", "plan", "histograms", "timing", "disagreements", "stream", "frames", "further", "commands")


@pytest.fixture(scope="module")
def report() -> RunReport:
    return sample.report()


@pytest.fixture(scope="module")
def drawn(report) -> Page:
    return Page(page.render(report))


def test_the_page_has_every_section_in_order(drawn):
    ids = [value for value in drawn.values("id") if value in SECTIONS]
    assert tuple(ids) == SECTIONS
    assert drawn.count("h1") == 1


def test_nothing_is_asked_of_the_network(report):
    source = page.render(report)
    assert "http://" not in source and "https://" not in source and "url(" not in source and "@import" not in source
    held = Page(source)
    assert all(value.startswith("data:image/") for value in held.values("src"))
    assert held.values("href") == ["data:,"]


def test_the_policy_admits_only_the_script_of_the_page(report):
    source = page.render(report)
    (script,) = re.findall(r"<script>(.*?)</script>", source, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = next(held["content"] for name, held in Page(source).tags if held.get("http-equiv"))
    assert f"script-src 'sha256-{digest}'" in policy and policy.startswith("default-src 'none'")


def test_every_figure_of_every_variant_is_shown(report, drawn):
    for variant in report.variants:
        for metric in figures.metrics(report.variants):
            assert str(figures.shown(metric, variant, report.variants[0])) in drawn.words


def test_every_number_of_every_layer_is_in_its_table(report, drawn):
    values = set(drawn.values("data-value"))
    for variant in report.variants:
        for row in variant.layers:
            numbers = (row.weights, row.macs, row.planned_ms, row.measured_ms, row.harm)
            assert {str(number) for number in numbers if number is not None} <= values
            assert row.layer in drawn.words and row.why in drawn.words


def test_stream_and_facts_are_shown_with_their_units(report, drawn):
    for shown in (
        "612",
        "20.4 s",
        "187 FPS",
        "5.12 ms",
        "7.94 ms",
        "1.31 ms",
        "0.874 ms",
        "2.21 ms",
        "0.702 ms",
        "630 frames",
    ):
        assert shown in drawn.words
    for title, value in facts.listed(report.facts):
        assert title in drawn.words and str(value) in drawn.words
    assert "Real photos top-1 82.01 %" in drawn.words and "Quantize 8.71 s" in drawn.words


def test_the_three_headlines_open_the_page(drawn):
    assert re.search(r"Accuracy of mixed 88\.07 % 0\.29 points below fp32", drawn.words)
    assert re.search(r"Size of mixed 3\.19 × smaller", drawn.words)
    assert re.search(r"Speed of mixed 2\.36 × faster 0\.530 ms a picture against 1\.25 ms", drawn.words)


def test_a_layer_that_ran_otherwise_is_marked(drawn):
    marked = [held for _, held in drawn.tags if held.get("class") == "differs"]
    assert len(marked) == 1
    assert "1 ran otherwise than asked" in drawn.words and "w8a8 asked, fp32 ran" in drawn.words


def test_segments_can_be_reached_by_keyboard_and_name_their_row(report, drawn):
    segments = [held for name, held in drawn.tags if name == "li" and "segment" in held.get("class", "")]
    assert len(segments) == sum(len(variant.layers) for variant in report.variants)
    assert all(held["tabindex"] == "0" and held["aria-label"] for held in segments)
    assert {held["data-row"] for held in segments} <= set(drawn.values("id"))


def test_what_was_not_measured_is_said_so():
    variants = [Variant("fp32", 1.0, 1.0, 32, 2.0, 2.1, 500, 1.0), Variant("int8", 0.3, 0.25, 8, 1.0, 1.1, 1000, 2.0)]
    words = Page(page.render(RunReport("t", "c", "jetson-nano", {}, variants))).words
    assert "Accuracy of int8 not measured" in words
    assert "Top-1 accuracy not measured not measured" in words
    assert "points" not in words


def test_sections_without_data_are_left_out():
    held = Page(page.render(RunReport("Title", "2026", "cpu", {})))
    assert held.count("section") == 0 and held.count("h1") == 1
    only_stream = RunReport("Title", "2026", "cpu", {}, stream=Stream("0", 1, 0, 0, 1.0, 1.0, 1.0, 1.0, {}))
    ids = [value for value in Page(page.render(only_stream)).values("id") if value in SECTIONS]
    assert ids == ["stream"]


def test_one_variant_alone_is_shown_without_comparison():
    lone = RunReport("t", "c", "cpu", {}, [Variant("only", 1.0, 1.0, 32, 2.0, 2.1, 500, 1.0, 0.5)])
    words = Page(page.render(lone)).words
    assert "Accuracy of only 50.00 %" in words and "File of only 1.00 MiB" in words and "smaller" not in words


EVIL = "\"><script>alert(1)</script><img src=http://x onerror=alert(1)>'</style></title>\x00\x1b[31m\ud800"


def hostile(text: str) -> RunReport:
    """A report with ``text`` wherever a report may hold text."""
    row = LayerRow(text, text, text + "2", 10, 10, 0.1, 0.2, 0.1, text)
    variant = Variant(
        text, 1.0, 1.0, 8, 1.0, 1.0, 10, 1.0, 0.5, 0.5, 0.5, [row, row._replace(layer=text + "b", got=text)]
    )
    stages = {text: 1.0, text + "b": 2.0}
    return RunReport(
        title=text,
        created=text,
        target=text,
        machine={text: text},
        variants=[variant, variant._replace(name=text + "b", top1=0.4, fps=5)],
        stream=Stream(text, 1, 1, 1, 1.0, 1.0, 1.0, 1.0, stages, text),
        facts={text: text, text + "_ms": 3, "list": [text], "nested": {text: [{text: text}]}},
        pictures=[[text, sample.picture(1, "Fire", 0.9)]],
        commands=[text],
    )


def test_hostile_text_stays_text():
    source = page.render(hostile(EVIL))
    source.encode("utf-8")
    held = Page(source)
    assert held.count("script") == 1 and held.count("img") == 1 and held.count("style") == 1
    assert not [name for _, attributes in held.tags for name in attributes if name.startswith("on")]
    assert all(value.startswith("data:image/png;base64,") for value in held.values("src"))
    assert not re.search("[\x00-\x08\x0b-\x1f\ud800-\udfff]", source)


@settings(max_examples=25, deadline=None)
@given(st.text(max_size=40))
def test_any_text_gives_a_balanced_page(text):
    held = Page(page.render(hostile(text)))
    assert held.count("script") == 1 and held.count("img") == 1


_EXTREMES = st.sampled_from([0.0, 5e-324, 1e-13, 1e-6, 0.5, 1.0, 1e6, 9e17])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(_EXTREMES, _EXTREMES), min_size=2, max_size=6), _EXTREMES)
def test_extreme_but_finite_numbers_are_drawn(times, other):
    rows = [LayerRow(f"l{i}", "w8a8", "w8a8", 0, 0, one, two, -other) for i, (one, two) in enumerate(times)]
    share = min(other, 1.0)
    variants = [
        Variant(name, other, other, other, other, other, other, other, share, share, share, rows) for name in "ab"
    ]
    stream = Stream("0", 0, 0, 0, other, other, other, other, {"grab": other, "draw": 0})
    source = page.render(RunReport("t", "c", "cpu", {}, variants, stream))
    assert Page(source).count("polygon") == 1 and "nan" not in re.sub(
        r"<style>.*?</style>", "", source, flags=re.DOTALL
    )


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"fps": float("nan")}, "fps of variant 0 is no finite number"),
        ({"p50_ms": "fast"}, "p50_ms of variant 0 is no finite number"),
        ({"top1": 88.0}, "top1 of variant 0 is above 1"),
        ({"file_mib": -1.0}, "file_mib of variant 0 is negative"),
        ({"name": 7}, "name of variant 0 is no text"),
        ({"speedup": 10**400}, "speedup of variant 0 is no finite number"),
    ],
)
def test_values_that_cannot_be_drawn_are_refused(report, change, fault):
    bad = report._replace(variants=[report.variants[0]._replace(**change)])
    with pytest.raises(RecordError, match=re.escape(fault)):
        page.render(bad)


@pytest.mark.parametrize(
    "encoded", ["", "no base64!", base64.b64encode(b"<svg onload=alert(1)>").decode(), '"onerror="x']
)
def test_pictures_that_are_none_are_refused(report, encoded):
    with pytest.raises(RecordError, match="picture 0 is no caption with a PNG or JPEG"):
        page.render(report._replace(pictures=[["caption", encoded]]))


def test_facts_that_cannot_be_drawn_are_refused(report):
    deep: dict = {"a": 1}
    for _ in range(50):
        deep = {"a": deep}
    with pytest.raises(RecordError, match="nested too deeply"):
        page.render(report._replace(facts={"deep": deep}))
    with pytest.raises(RecordError, match="fact 'x_ms' is no finite number"):
        page.render(report._replace(facts={"x_ms": float("inf")}))
