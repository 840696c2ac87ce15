"""The demo, small: every file it promises, and a report that holds together."""

from pathlib import Path

from edge_mpq.__main__ import main
from edge_mpq.records import bundle as bundles
from edge_mpq.records import report as reports


def test_the_demo_leaves_a_page_a_report_and_a_bundle(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    assert main(["demo", "--out", str(out), "--scale", "0.02"]) == 0
    report = reports.load(out / "report.json")
    assert [variant.name for variant in report.variants] == ["fp32", "int8", "mixed"]
    mixed = report.variants[-1]
    assert mixed.weight_bits <= 0.18 * 32
    assert {row.got for row in mixed.layers} <= {"w8a8", "w4a8"}
    assert all(row.planned_ms and row.measured_ms for row in mixed.layers)
    assert report.stream is not None and report.stream.frames == 150
    assert report.pictures and "<html" in (out / "report.html").read_text()
    assert "model" in bundles.open_folder(out / "bundle").files


def test_photographs_of_other_classes_are_refused(tmp_path: Path) -> None:
    for name in ("cats", "dogs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.jpg").write_bytes(b"")
    assert main(["demo", "--out", str(tmp_path / "out"), "--photos", str(tmp_path)]) == 2
    assert not (tmp_path / "out").exists()
