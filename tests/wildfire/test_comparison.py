"""``edge-mpq train wildfire-table``: every way on its engine, in one run, and what a board without integers is told."""

import errno
import json
import re
from pathlib import Path

import numpy as np
import pytest

from apps import peak_memory
from apps.wildfire import compare_ways, comparison_page, ways
from apps.wildfire.comparison import Comparison, Row, claims
from edge_mpq import budget as budgets
from edge_mpq import engines
from edge_mpq.__main__ import main
from edge_mpq.errors import EngineError
from edge_mpq.menu import menu_of
from edge_mpq.planning import cost_tables
from edge_mpq.records import plan as plans
from edge_mpq.records import target as targets
from export import onnx_from_torch
from tests import toys
from tests.wildfire import small

WAYS = ["fp32", "AMP-trained", "PTQ int8", "PTQ mixed", "QAT int8", "QAT mixed"]
MODELS = {"classify": "tests.wildfire.small:classifier", "segment": "tests.wildfire.small:segmenter"}


def _table(task: str, data: Path, out: Path, *more: str, epochs: int = 2) -> int:
    given = ["--task", task, "--model", MODELS[task], "--data", str(data), "--out", str(out), "--epochs", str(epochs)]
    given += ["--qat-epochs", "1", "--calibration", "16"]
    return main(["train", "wildfire-table", *given, *small.OPTIONS, "--json", *more])


@pytest.fixture(scope="module")
def flame(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.flame_folder(tmp_path_factory.mktemp("flame") / "drawn")


@pytest.fixture(autouse=True)
def few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare_ways, "ROUNDS", 3)
    monkeypatch.setattr(compare_ways, "CALLS", 2)


def _cut_short(flame: Path, out: Path) -> dict[Path, int]:
    """A run that a full disk ends when its float models are trained; the files it kept, and when they were written."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "somewhere")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ways, "ranges_of", full)
        assert _table("segment", flame, out) == 2
    kept = {path: path.stat().st_mtime_ns for path in out.rglob("best.safetensors")}
    assert len(kept) == 2 and not (out / "comparison.json").exists()
    return kept


@pytest.mark.parametrize("task", [pytest.param(task, marks=pytest.mark.slow) for task in MODELS])
def test_every_way_is_answered_timed_and_weighed(
    task: str, flame: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = ["--photos", str(flame / "Test")] if task == "classify" else []
    kept = _cut_short(flame, tmp_path) if task == "segment" else {}
    capsys.readouterr()
    assert _table(task, flame, tmp_path, *photos) == 0
    assert {path: path.stat().st_mtime_ns for path in kept} == kept  # nothing was trained twice
    told = json.loads(capsys.readouterr().out)
    rows = [Row(**row) for row in told["rows"]]
    assert [row.name for row in rows] == WAYS and not any(row.refused for row in rows)
    kept = json.loads((tmp_path / "comparison.json").read_text())
    assert kept["kind"] == "wildfire-comparison" and kept["rows"] == told["rows"]
    for row in rows:
        assert row.fps is not None and row.p50_ms is not None and row.peak_memory_mib is not None
        assert row.fps * row.p50_ms == pytest.approx(1000) and row.throughput_fps["1"] == row.fps
        assert set(row.throughput_fps) == {"1", "4"} if task == "segment" else {"1", "4", "8"}
        assert row.figures["mean_pixel_accuracy"] >= row.figures["mean_iou"]
        assert row.agreement is not None and row.agreement > 0.98
        assert 0 < row.loaded_memory_mib < row.peak_memory_mib  # type: ignore[operator]
        assert (row.photographs == row.figures) == (task == "classify")  # the very pictures of the test side
    fp32, amp, int8, mixed, _, aware = rows
    assert fp32.speedup == 1.0 and fp32.weight_bits == amp.weight_bits == 32
    assert int8.weight_bits == 8 and mixed.weight_bits <= 5 and aware.weight_bits == mixed.weight_bits
    assert int8.weight_mib < fp32.weight_mib / 3.9 and mixed.weight_mib < int8.weight_mib
    assert plans.load(tmp_path / "ways/qat-mixed.plan.json") == plans.load(tmp_path / "ways/ptq-mixed.plan.json")
    page, text = ((tmp_path / f"comparison.{suffix}").read_text() for suffix in ("html", "md"))
    for name in WAYS:
        assert f">{name}<" in page and f"| {name} |" in text
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert _table(task, flame, tmp_path, *photos, epochs=3) == 2  # that is another training
    assert "epochs 2, not 3" in capsys.readouterr().err


def test_a_board_without_integers_is_told_why_and_gets_half_precision(
    flame: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _table("segment", flame, tmp_path, "--target", "jetson-nano", epochs=1) == 0
    rows = {row["name"]: Row(**row) for row in json.loads(capsys.readouterr().out)["rows"]}
    for name in ("PTQ int8", "QAT int8"):
        assert "has no INT8 kernels: it runs fp32, fp16" in rows[name].refused
    for name in ("PTQ mixed", "QAT mixed"):
        assert rows[name].formats.endswith("fp16") and 16 <= rows[name].weight_bits < 32
        assert rows[name].p50_ms is None and rows[name].figures["accuracy"] > 0
    text = (tmp_path / "comparison.md").read_text()
    assert "has no INT8 kernels" in text and "twice the rate of fp32 or more: not measured" in text
    assert "refused" in (tmp_path / "comparison.html").read_text()


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--photos", "anywhere"], "--photos have classes and no masks"),
        (["--target", "pi"], "no target 'pi'"),
        (["--qat-epochs", "0"], "--qat-epochs 0"),
        (["--threads", "0"], "--threads 0"),
        (["--budget", "size=5"], "is no budget term"),
        (["--formats", "w9a9"], "no format 'w9a9'"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_trained(
    more: list[str], told: str, flame: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _table("segment", flame, tmp_path / "out", *more) == 2
    assert told in capsys.readouterr().err and not (tmp_path / "out").exists()


def _row(name: str, accuracy: float, speedup: float | None, **more: object) -> Row:
    figures = {"accuracy": accuracy, "mean_iou": accuracy, "mean_pixel_accuracy": accuracy, "f1": accuracy}
    return Row(name, figures=figures, speedup=speedup, **more)  # type: ignore[arg-type]


def _comparison(*rows: Row, task: str = "classify") -> Comparison:
    return Comparison("t", "", task, "m", "cpu-x86-vnni", "d", 10, 20, "size<=5bits", {}, list(rows), [])


def test_claims_are_weighed_by_the_rows() -> None:
    rows = (
        _row("fp32", 0.9, 1.0),
        _row("PTQ mixed", 0.89, 2.4, agreement=0.999),
        _row("QAT mixed", 0.895, 2.3, agreement=0.991),
    )
    found = {claim.words: claim for claim in claims(_comparison(*rows))}
    holds = [claim.holds for claim in found.values()]
    assert holds == [True, True, True, True, False]
    assert found["QAT mixed loses at most 0.5 points of accuracy"].found == "+0.50 points"
    worse = claims(_comparison(rows[0], rows[1], _row("QAT mixed", 0.88, 1.9), task="segment"))
    assert [claim.holds for claim in worse] == [False, False, False, False, True]
    unknown = claims(_comparison(rows[0], _row("QAT mixed", 0.9, None)))
    assert unknown[0].holds is None


def test_a_refusal_cannot_break_the_table() -> None:
    hostile = Row("PTQ int8", refused="<b>no | integers</b>")
    shown = _comparison(_row("fp32", 0.9, 1.0, fps=100.0, p50_ms=10.0), hostile)
    assert "<b>no" not in comparison_page.render(shown)
    lines = comparison_page.markdown(shown).splitlines()
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines[:4]}) == 1


def test_memory_is_that_of_the_engine_and_not_of_who_asks(tmp_path: Path) -> None:
    graph = toys.graph("residual")
    stem = str(tmp_path / "toy")
    Path(stem + ".onnx").write_bytes(onnx_from_torch.onnx_from_graph(graph, 17).SerializeToString())
    engines.get("onnxruntime").build(stem + ".onnx", stem + ".engine", targets.get("cpu-x86-vnni"))
    mine = np.ones(60 * 2**20)  # 480 MiB, which a child would inherit
    found = peak_memory.of_engine("onnxruntime", stem + ".engine")
    assert 5 < found.loaded_mib < found.peak_mib < 400 and mine[0] == 1
    with pytest.raises(EngineError, match="no engine at"):
        peak_memory.of_engine("onnxruntime", str(tmp_path / "none.engine"))


@pytest.mark.parametrize(
    ("kind", "target", "names", "words"),
    [
        ("residual", "cpu-x86-vnni", ["w8a8", "w4a8"], "size<=5.0bits"),
        ("residual", "jetson-nano", ["fp32", "fp16"], "size<=16.0bits"),
        ("unet", "cpu-x86-vnni", ["w8a8", "w4a8"], None),  # its transposed convolution has no integer kernel
    ],
)
def test_the_usual_budget_can_be_kept(kind: str, target: str, names: list[str], words: str | None) -> None:
    layers, board = toys.layers(kind), targets.get(target)
    menu = menu_of(layers, board, names)
    budget = ways.usual_budget(layers, menu)
    assert budget == words or words is None
    (limit,) = budgets.limits(budgets.parse(budget), layers, cost_tables(layers, menu, board))
    assert limit.holds({name: pairs[-1] for name, pairs in menu.items()})
    assert not limit.holds({name: pairs[0] for name, pairs in menu.items()})
