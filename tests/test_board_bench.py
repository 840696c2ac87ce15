"""The bench of a board: turns, energy, answers compared, and the report it leaves."""

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from apps import board_bench, board_report, board_timing, report
from apps.board_timing import Timed
from apps.stream import jetson
from apps.stream.power import Power, Sampler
from edge_mpq.engines.base import Engine, LayerTime, TensorSpec
from edge_mpq.errors import EngineError, RecordError, SourceError
from edge_mpq.records import bundle as bundles
from edge_mpq.records import report as reports
from edge_mpq.records.report import LayerRow
from tests.attacks.packing import PLAN, write_folder
from tests.boards import BOARDS
from tests.stream.scripted import RECIPE, Clock


class Ticking(Engine):
    """An engine that takes ``seconds`` of a scripted clock and answers ``scores``."""

    inputs = (TensorSpec("x", (None, 3, 8, 8), "float32"),)

    def __init__(self, clock: Clock, seconds: float, scores=(1.0, 0.0)) -> None:
        self.clock, self.seconds, self.calls = clock, seconds, 0
        self.scores = np.array([scores], np.float32)
        self.outputs = (TensorSpec("scores", (None, 2), "float32"),)

    def infer(self, batch):
        self.clock.now += self.seconds
        self.calls += 1
        return [self.scores]


class Meter(Sampler):
    """A sampler of a board that takes 5 W, by the same clock."""

    def __init__(self, clock: Clock) -> None:
        super().__init__("/no/such/root", clock=clock)
        self.began, self.now = 0.0, clock

    def start(self) -> None:
        self.began = self.now.now

    def stop(self) -> Power:
        return Power(self.now.now - self.began, 5.0, 40.0 + self.now.now)


def test_engines_take_turns_and_each_turn_is_metered() -> None:
    clock = Clock()
    engines = {"fp32": Ticking(clock, 2**-7), "model": Ticking(clock, 2**-8)}
    timed = board_timing.interleaved(engines, np.zeros(1), 3, 0.5, Meter(clock), clock)
    # A turn is half a second or 25 calls, whichever is longer; the warm-up is not counted.
    assert {role: one.calls_ms.shape for role, one in timed.items()} == {"fp32": (3, 64), "model": (3, 128)}
    assert engines["fp32"].calls == 64 + 192 and engines["model"].calls == 128 + 384
    assert timed["fp32"].calls_ms == pytest.approx(np.full((3, 64), 1000 / 128))
    assert board_timing.speedup(timed["fp32"], timed["model"]) == pytest.approx(2.0)
    assert timed["model"].mean_w == pytest.approx(5.0)
    assert timed["model"].frame_j == pytest.approx(5.0 / 256)
    assert timed["fp32"].frame_j == pytest.approx(5.0 / 128)


def test_a_slow_engine_still_makes_its_calls() -> None:
    clock = Clock()
    timed = board_timing.interleaved({"fp32": Ticking(clock, 1.0)}, np.zeros(1), 1, 0.0, Meter(clock), clock)
    assert timed["fp32"].calls_ms.shape == (1, board_timing.TURN_CALLS)


def test_a_slower_moment_of_the_board_does_not_change_the_ratio() -> None:
    slow = np.array([1.0, 1.0, 3.0])[:, None]
    fp32, mixed = Timed(slow * np.full((3, 5), 10.0), []), Timed(slow * np.full((3, 5), 5.0), [])
    assert board_timing.speedup(fp32, mixed) == pytest.approx(2.0)


@pytest.mark.parametrize("powers", [[], [Power(1.0)], [Power(1.0, 5.0), Power(1.0)], [Power(0.0, 5.0)]])
def test_energy_that_could_not_be_read_throughout_is_not_told(powers: list[Power]) -> None:
    assert Timed(np.ones((1, 1)), powers).mean_w is None and Timed(np.ones((1, 1)), powers).frame_j is None


def test_answers_are_compared() -> None:
    clock = Clock()
    right, wrong = Ticking(clock, 0, (2.0, 1.0)), Ticking(clock, 0, (0.0, 1.0))
    assert board_timing.agreement(right, right, [np.zeros(1)] * 3) == 1.0
    assert board_timing.agreement(wrong, right, [np.zeros(1)]) == 0.0
    assert board_timing.agreement(right, right, []) is None
    three = Ticking(clock, 0, (2.0, 1.0))
    three.inputs = (TensorSpec("x", (3, 3, 8, 8), "float32"),)
    three.infer = lambda batch: [np.repeat(three.scores, {3: 3}[len(batch)], axis=0)]
    assert board_timing.agreement(three, right, [np.zeros(1)]) == 1.0
    with pytest.raises(EngineError, match="'scores' holds values that are not finite; plan again"):
        board_timing.agreement(Ticking(clock, 0, (np.nan, 1.0)), right, [np.zeros(1)])


def test_weights_by_the_plan_or_else_the_file() -> None:
    told = {role: board_bench.nominal_weights(role, PLAN, 2**20) for role in ("fp32", "int8", "model")}
    assert told == {"fp32": (1.0, 32.0), "int8": (0.25, 8.0), "model": (0.25, 8.0)}
    assert board_bench.nominal_weights("model", None, 2**20) == (1.0, 32.0)
    assert board_bench.nominal_weights("model", PLAN._replace(predicted={}), 2**20) == (1.0, 32.0)


def test_asked_got_and_measured_of_each_layer(tmp_path: Path) -> None:
    engine = Ticking(Clock(), 0)
    timed = Timed(np.array([[1.0, 2.0], [3.0, 4.0]]), [])
    rows = [LayerRow("conv", "w8a8", "unknown", 10, 20, planned_ms=0.5), LayerRow("fc", "fp32", "unknown", 1, 2)]
    profile = [LayerTime("conv", 0.25), LayerTime("", 9.0)]
    made = board_bench.variant("mixed", timed, timed, engine, 2**20, (0.5, 8.0), rows, profile, 0.75)
    assert (made.file_mib, made.weight_mib, made.agreement, made.p50_ms) == (1.0, 0.5, 0.75, 2.5)
    assert [(row.got, row.planned_ms) for row in made.layers] == [("unknown", 0.5), ("unknown", None)]
    assert [row.measured_ms for row in made.layers] == [0.25, None]
    assert board_bench.planned_rows(PLAN) == [LayerRow("conv", "w8a8", "unknown", 0, 0, why="harm 0.5")]


def test_a_frame_that_is_no_picture_is_told(tmp_path: Path) -> None:
    (tmp_path / "0000.png").write_bytes(b"x")
    with pytest.raises(SourceError, match="0000.png in .* is no picture"):
        board_bench.frames_of(str(tmp_path), RECIPE)
    cv2.imwrite(str(tmp_path / "0000.png"), np.zeros((8, 8, 3), np.uint8))
    assert [batch.shape for batch in board_bench.frames_of(str(tmp_path), RECIPE)] == [(1, 3, 16, 16)]
    assert board_bench.frames_of(str(tmp_path / "none"), RECIPE) == [] == board_bench.frames_of("", RECIPE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "bundle")


def _measure(folder: Path, sampler: Sampler, frames: str = "") -> reports.RunReport:
    args = argparse.Namespace(backend="replay", threads=1, turns=1, warm=0.0)
    return board_bench.measure(str(folder), bundles.open_folder(folder), frames, args, sampler, lambda line: None)


def test_where_power_is_read_the_report_has_it(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board_bench, "IDLE_S", 0.0)
    root = BOARDS["nano"].write(tmp_path / "root")
    made = _measure(folder, Sampler(str(root), interval_s=0.01))
    for name in ("idle_w", "mixed_mean_w", "fp32_mean_w"):
        assert made.facts[name] == pytest.approx(2.043)
    assert made.facts["hottest_c"] == 36.5
    assert 0 < made.facts["mixed_frame_j"] < 2.043
    assert "mixed_frame_j" in board_report.text(made)


def test_where_it_is_not_the_report_does_not_speak_of_it(folder: Path, tmp_path: Path) -> None:
    made = _measure(folder, Sampler(str(tmp_path / "bare")))
    assert not [name for name in made.facts if name.endswith(("_w", "_j", "_c"))]
    assert [variant.agreement for variant in made.variants] == [None, None]


def test_a_jetson_is_named_with_its_modes(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    board = jetson.Jetson("NVIDIA Jetson Nano Developer Kit", "tegra210", "5.3", (32, 7, 1), "4.6.1")
    monkeypatch.setattr(jetson, "read", lambda root="/": board)
    monkeypatch.setattr(board_bench.doctor_facts, "power_modes", lambda: ("MAXN", {}))
    monkeypatch.setattr(board_bench.doctor_facts, "clocks", lambda: ((102, 1479), ()))
    made = _measure(folder, Sampler(str(tmp_path / "bare")))
    assert made.title == "fire on NVIDIA Jetson Nano Developer Kit"
    told = [made.machine[name] for name in ("jetpack", "l4t", "power_mode", "cpu_mhz", "gpu_mhz")]
    assert told == ["4.6.1", "32.7.1", "MAXN", "102 to 1479", "not told"]


def test_without_a_hosts_report_rows_come_from_the_plan_and_the_page_can_be_drawn(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "report.json").unlink()
    out = tmp_path / "out" / "report.json"
    words = [str(folder), "--backend", "replay", "--turns", "1", "--warm", "0", "--out", str(out), "--json"]
    assert board_bench.main(words, str(folder / "frames")) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["mixed"]["layers"] == 1 and "p50 ms" in printed.err
    made = reports.load(out)
    assert [row.asked for row in made.variants[1].layers] == ["w8a8"] and made.variants[1].weight_bits == 8.0
    # The file that comes back is drawn on the host.
    assert report.main([str(out)]) == 0
    assert "mixed" in out.with_suffix(".html").read_text(encoding="utf-8")


@pytest.mark.parametrize("words", [["--turns", "0"], ["--threads", "0"], ["--warm", "-1"], ["--warm", "nan"]])
def test_options_out_of_range_are_refused(folder: Path, words: list[str], capsys) -> None:
    with pytest.raises(SystemExit) as end:
        board_bench.main([str(folder), *words])
    assert end.value.code == 2 and "at least 1" in capsys.readouterr().err


def test_there_may_be_no_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecordError, match="measure first: bench"):
        board_report.main([])


def test_the_text_names_what_was_not_run_as_planned() -> None:
    row = LayerRow("conv1", "w8a8", "fp32", 1, 1)
    made = reports.Variant("mixed", 1, 1, 8, 1.0, 2.0, 1000.0, 1.5, layers=[row, row._replace(layer="fc", got="w8a8")])
    stream = reports.Stream("csi://0", 300, 2, 0, 10.0, 29.9, 12.0, 15.0, {})
    text = board_report.text(reports.RunReport("fire", "now", "jetson-nano", {"board": "Nano"}, [made], stream))
    assert "conv1: asked w8a8, got fp32" in text and "fc" not in text
    assert "csi://0: 300 frames, 29.9 FPS" in text and "board: Nano" in text
