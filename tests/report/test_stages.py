"""The verbs report and compare: what they write, what they print, and what they refuse."""

import json

import pytest

from apps import compare as compare_stage
from apps import report as report_stage
from edge_mpq.errors import RecordError, UsageError
from edge_mpq.records import report as report_record
from tests.report import sample
from tests.report.reading import Page


@pytest.fixture
def runs(tmp_path):
    for name, slower in (("xeon", 1.0), ("arm", 2.7)):
        report_record.save(tmp_path / name / "report.json", sample.report(slower=slower))
    return tmp_path


def test_report_writes_its_page_beside_the_report(runs, capsys):
    assert report_stage.main([str(runs / "xeon"), "--json"]) == 0
    shown = capsys.readouterr()
    result = json.loads(shown.out)
    assert shown.out.count("\n") == 1 and result["page"] == str(runs / "xeon" / "report.html")
    assert result["headlines"][0]["value"] == "88.07 %" and result["variants"][2]["fps"] == 1886.1
    assert Page((runs / "xeon" / "report.html").read_text("utf-8")).count("h1") == 1
    assert "Accuracy of mixed" in shown.err
    assert sorted(path.name for path in (runs / "xeon").iterdir()) == ["report.html", "report.json"]


def test_report_takes_a_file_and_another_name(runs, capsys):
    assert report_stage.main([str(runs / "xeon" / "report.json"), "--out", str(runs / "new" / "page.html")]) == 0
    assert (runs / "new" / "page.html").is_file() and capsys.readouterr().out == ""


def test_a_report_read_back_draws_the_same_page(runs):
    report_stage.main([str(runs / "xeon"), "--out", str(runs / "1.html")])
    report_stage.main([str(runs / "xeon"), "--out", str(runs / "2.html")])
    assert (runs / "1.html").read_bytes() == (runs / "2.html").read_bytes()


def test_the_report_is_never_overwritten(runs):
    source = runs / "xeon" / "report.json"
    before = source.read_bytes()
    with pytest.raises(UsageError, match="is the report itself"):
        report_stage.main([str(source), "--out", str(source)])
    with pytest.raises(UsageError, match="is the report itself"):
        compare_stage.main([str(source), str(runs / "arm"), "--out", str(source)])
    assert source.read_bytes() == before


def test_a_page_that_cannot_be_written_is_an_error(runs):
    with pytest.raises(UsageError, match="cannot write"):
        report_stage.main([str(runs / "xeon"), "--out", str(runs / "xeon" / "report.json" / "page.html")])
    with pytest.raises(UsageError, match="cannot write"):
        report_stage.main([str(runs / "xeon"), "--out", str(runs / "arm")])
    assert [path.name for path in (runs / "arm").iterdir()] == ["report.json"]


def _body(path):
    return json.loads(path.read_text())


@pytest.mark.parametrize(
    "edit",
    [
        lambda body: body.update(kind="plan"),
        lambda body: body.update(version=99),
        lambda body: body.pop("title"),
        lambda body: body.update(variants=[7]),
        lambda body: body["variants"][0].update(layers=7),
        lambda body: body["variants"][0].update(layers=None),
        lambda body: body["variants"][0].update(fps="fast"),
        lambda body: body["variants"][0].update(extra=1),
        lambda body: body["variants"][2]["layers"][0].update(asked=None),
        lambda body: body["stream"].update(stages_p50_ms=[1]),
        lambda body: body["stream"].update(fps=None),
        lambda body: body.update(pictures=["x"]),
        lambda body: body.update(commands=[1]),
        lambda body: body.update(machine=[]),
        lambda body: body["variants"][0].update(p50_ms=float("nan")),
        lambda body: body.update(facts={"a": float("inf")}),
    ],
)
def test_a_faulty_report_is_one_clear_error_and_no_page(runs, edit):
    path = runs / "xeon" / "report.json"
    body = _body(path)
    edit(body)
    path.write_text(json.dumps(body))
    with pytest.raises(RecordError):
        report_stage.main([str(path)])
    with pytest.raises(RecordError):
        compare_stage.main([str(path), str(runs / "arm"), "--out", str(runs / "c.html")])
    assert not (runs / "xeon" / "report.html").exists() and not (runs / "c.html").exists()


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"[1]", b"null"])
def test_a_torn_file_is_a_record_error(tmp_path, content):
    (tmp_path / "report.json").write_bytes(content)
    with pytest.raises(RecordError):
        report_stage.main([str(tmp_path)])


def test_a_missing_report_names_its_path(tmp_path):
    with pytest.raises(RecordError, match=r"no report at .*report\.json"):
        report_stage.main([str(tmp_path)])


def test_compare_writes_its_page_and_one_line(runs, capsys):
    out = runs / "compare.html"
    assert (
        compare_stage.main([str(runs / "xeon"), str(runs / "arm"), str(runs / "xeon"), "--out", str(out), "--json"])
        == 0
    )
    shown = capsys.readouterr()
    result = json.loads(shown.out)
    assert [entry["label"] for entry in result["reports"]] == ["xeon", "arm", "xeon (2)"]
    assert shown.out.count("\n") == 1 and "3 runs compared" in shown.err
    assert "+170.0 %" in Page(out.read_text("utf-8")).words


def test_compare_refuses_other_models(runs):
    path = runs / "arm" / "report.json"
    body = _body(path)
    body["facts"]["model_fingerprint"] = "other"
    path.write_text(json.dumps(body))
    with pytest.raises(RecordError, match="different models: xeon is of model 5f0c1d2e3a4b5c6d, arm is of model other"):
        compare_stage.main([str(runs / "xeon"), str(runs / "arm"), "--out", str(runs / "c.html")])
    assert not (runs / "c.html").exists()


def test_compare_wants_two(runs, capsys):
    with pytest.raises(SystemExit) as caught:
        compare_stage.main([str(runs / "xeon")])
    assert caught.value.code == 2
