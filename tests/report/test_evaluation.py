"""The section of answers against the truth: every count is shown, and nothing hostile gets through."""

import pytest

from edge_mpq.errors import RecordError
from edge_mpq.records import report as reports
from edge_mpq.records.evaluation import Evaluation
from edge_mpq.records.report import RunReport
from edge_mpq.report import figures, page
from tests.report import sample
from tests.report.reading import Page

JUDGED = Evaluation(
    classes=["Fire", "No_Fire"],
    positive="Fire",
    unit="pictures",
    confusion=[[71, 9], [4, 194]],
    figures={"accuracy": 265 / 278, "f1": 142 / 155},
    curve=[[0.0, 1.0], [0.5, 0.97], [1.0, 0.29]],
    worst=[["No_Fire taken for Fire, 99 %", sample.picture(3, "Fire", 0.99)]],
)


def _report(**changes: object) -> RunReport:
    return RunReport("Wildfire", "", "", {}, evaluation=JUDGED._replace(**changes))  # type: ignore[arg-type]


def test_counts_figures_curve_and_errors_are_shown() -> None:
    source = page.render(_report())
    drawn = Page(source)
    assert {"71", "9", "4", "194"} <= set(drawn.values("data-value"))
    for words in ("95.32 %", "91.61 %", "said No_Fire", "Confusion matrix", "No_Fire taken for Fire, 99 %"):
        assert words in drawn.words.replace("\u00a0", " ")
    assert 'class="curve"' in source and "Precision against recall of Fire" in drawn.words
    assert len([value for value in drawn.values("src") if value.startswith("data:image/")]) == 1


def test_without_a_curve_or_errors_their_places_are_left_out() -> None:
    source = page.render(_report(curve=[], worst=[]))
    assert 'class="curve"' not in source and "Worst errors" not in source
    assert "Answers against the truth" not in page.render(RunReport("plain", "", "", {}))


def test_names_of_classes_and_captions_are_escaped() -> None:
    hostile = "<script>alert(1)</script>"
    source = page.render(_report(classes=[hostile, "No_Fire"], positive=hostile, worst=[[hostile, JUDGED.worst[0][1]]]))
    assert hostile not in source and "&lt;script&gt;alert(1)" in source


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"confusion": [[1, -2], [3, 4]]}, "counts below 0"),
        ({"figures": {"accuracy": 1.5}}, "'accuracy'"),
        ({"curve": [[0.0, 1.0], [2.0, 0.5]]}, "curve"),
        ({"worst": [["caption", "bm90IGEgcGljdHVyZQ=="]]}, "worst error 0"),
    ],
)
def test_what_cannot_be_drawn_is_told(changes: dict, told: str) -> None:
    with pytest.raises(RecordError, match=told):
        page.render(_report(**changes))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"positive": "Smoke"}, "positive one among them"),
        ({"confusion": [[1, 2]]}, "2 x 2"),
        ({"confusion": [[1, 2], [3, True]]}, "2 x 2"),
        ({"curve": [[0.0]]}, "curve"),
        ({"worst": ["caption"]}, "worst errors"),
    ],
)
def test_a_torn_record_is_told(changes: dict, told: str, tmp_path) -> None:
    reports.save(tmp_path / "report.json", _report(**changes))
    with pytest.raises(RecordError, match=told):
        reports.load(tmp_path / "report.json")


def test_of_segmenters_the_mean_iou_stands_where_of_classifiers_top1_does() -> None:
    maps = [
        variant._replace(top1=None, mean_iou=share)
        for variant, share in zip(sample.variants(), (0.81, 0.8, 0.8), strict=True)
    ]
    fields = [metric.field for metric in figures.metrics(maps)]
    assert "mean_iou" in fields and "top1" not in fields
    assert "mean_iou" not in [metric.field for metric in figures.metrics(sample.variants())]
    shown = figures.headlines(RunReport("", "", "", {}, variants=maps))[0]
    assert shown.label == "Mean IoU of mixed" and shown.details[0] == "1.00 points below fp32"
