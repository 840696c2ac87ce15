"""Plans and reports in a notebook: whole pages in frames of their own."""

import html
import re
import subprocess
import sys

import pytest

import edge_mpq
from edge_mpq.errors import RecordError
from edge_mpq.records.plan import Choice, PrecisionPlan
from tests.report import sample
from tests.report.reading import Page

PLAN = PrecisionPlan(
    "5f0c", "cpu-x86-vnni", {"stem": Choice("int8", "int8", "harm <0.1"), "head": Choice("int4", "int8")},
    budget="size<=5bits", sensitivity="kl", allocator="milp", predicted={"size_mib": 0.25, "latency_ms": 1.5},
)  # fmt: skip


def frame_of(record) -> str:
    frame = getattr(record, "_repr_html_")()  # noqa: B009 - attached, not declared
    assert frame.startswith("<iframe ") and frame.count("<") == 2  # the page is text of an attribute
    return html.unescape(re.search('srcdoc="([^"]*)"', frame).group(1))  # type: ignore[union-attr]


def framed(record) -> Page:
    return Page(frame_of(record))


def test_a_plan_shows_its_layers_and_what_they_should_cost():
    page = framed(PLAN)
    for said in ("Plan for cpu-x86-vnni", "size<=5bits", "0.250 MiB", "1.50 ms", "stem", "w8a8", "w4a8", "harm <0.1"):
        assert said in page.words


def test_a_report_shows_its_page():
    assert "What the grids hold" in framed(sample.report()).words


def test_a_report_that_cannot_be_drawn_says_so():
    with pytest.raises(RecordError):
        framed(sample.report()._replace(commands=[3]))  # type: ignore[list-item]


def test_a_hostile_name_stays_text():
    plan = PLAN._replace(choices={'"><script>alert(1)</script>': Choice("int8", "int8")})
    assert "<script>alert" not in frame_of(plan)


def test_importing_the_package_draws_nothing():
    loaded = "import edge_mpq, sys; print([name for name in sys.modules if 'report.' in name or name == 'torch'])"
    said = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "[]"
    assert not hasattr(edge_mpq, "_repr_html_")  # a notebook would call it of the module
