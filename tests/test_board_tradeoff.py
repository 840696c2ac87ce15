"""A board's sweep: settings in turns, power modes that are restored, and a record that the host draws."""

import functools
import json
from pathlib import Path

import numpy as np
import pytest

from apps import board, board_power_mode, board_sweep, board_tradeoff, report
from apps.board_power_mode import PowerModes
from apps.board_sweep import Group, Setting
from apps.board_timing import Timed
from apps.doctor_facts import Told
from apps.stream.power import Power, Sampler
from edge_mpq.engines.base import TensorSpec
from edge_mpq.errors import EngineError, UsageError
from edge_mpq.records import tradeoff as tradeoffs
from tests.attacks.packing import packed, write_folder
from tests.stream.scripted import Clock
from tests.test_board_bench import Meter, Ticking

MODES = "< POWER_MODEL ID=0 NAME=MAXN >\n< POWER_MODEL ID=1 NAME=5W >\n< POWER_MODEL ID=2 NAME=7W >\n"


class Nvpmodel:
    """A scripted nvpmodel: its mode, and all that it was asked.  stubborn: a mode that it does not take."""

    def __init__(self, root: Path, mode: int = 0, stubborn: int | None = None) -> None:
        self.mode, self.stubborn = mode, stubborn
        self.said: list[str] = []
        (root / "etc").mkdir()
        (root / "etc" / "nvpmodel.conf").write_text(MODES)

    def __call__(self, words: list[str]) -> Told:
        self.said.append(" ".join(words))
        if words[1] == "-m" and int(words[2]) == self.stubborn:
            return Told(255, "", "NVPM WARN: Reboot required for changing to this power mode")
        if words[1] == "-m":
            self.mode = int(words[2])
        return Told(0, f"NV Power Mode: {['MAXN', '5W', '7W'][self.mode]}\n{self.mode}\n")


def asked(names: list[str], root: Path, ask, is_root: bool = True) -> list[tuple[int, str]]:
    return board_power_mode.asked(names, str(root), ask, is_root)


def test_modes_are_named_by_name_or_number_and_once(tmp_path: Path) -> None:
    ask = Nvpmodel(tmp_path)
    assert asked(["5W", "0", "1"], tmp_path, ask) == [(1, "5W"), (0, "MAXN")]
    assert asked([], tmp_path, ask) == []


def test_modes_that_cannot_be_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there are no power modes on this machine"):
        asked(["5W"], tmp_path, lambda words: Told(None))
    ask = Nvpmodel(tmp_path)
    with pytest.raises(UsageError, match=r"no power mode '6W', '9'; there are MAXN \(0\), 5W \(1\), 7W \(2\)"):
        asked(["6W", "0", "9"], tmp_path, ask)
    with pytest.raises(EngineError, match="only root may change the power mode; run it with sudo"):
        asked(["5W"], tmp_path, ask, is_root=False)
    with pytest.raises(EngineError, match="which power mode there is now is not told"):
        asked(["5W"], tmp_path, lambda words: Told(1))
    assert not any("-m" in line for line in ask.said)


@pytest.mark.parametrize("ends", [None, KeyboardInterrupt, RuntimeError])
def test_the_mode_before_is_restored_whatever_happens(tmp_path: Path, ends) -> None:
    ask = Nvpmodel(tmp_path, mode=2)
    try:
        with PowerModes(str(tmp_path), ask) as power:
            for number, name in ((2, "7W"), (0, "MAXN"), (1, "5W")):
                power.take(number, name)
                assert ask.mode == number
            if ends:
                raise ends
    except (KeyboardInterrupt, RuntimeError) as error:
        assert type(error) is ends
    assert ask.mode == 2
    assert [line for line in ask.said if "-m" in line] == ["nvpmodel -m 0", "nvpmodel -m 1", "nvpmodel -m 2"]


def test_where_no_mode_was_taken_none_is_set(tmp_path: Path) -> None:
    ask = Nvpmodel(tmp_path)
    with PowerModes(str(tmp_path), ask):
        pass
    assert ask.said == []


def test_a_mode_that_wants_a_reboot_is_an_error_and_the_one_before_stays(tmp_path: Path) -> None:
    ask = Nvpmodel(tmp_path, stubborn=1)
    with (
        pytest.raises(EngineError, match="does not change to power mode 5W .*Reboot required.*it is in 'MAXN'.*-m 1"),
        PowerModes(str(tmp_path), ask) as power,
    ):
        power.take(1, "5W")
    assert ask.mode == 0


def test_settings_begin_with_the_reference_one_by_one() -> None:
    made = board_sweep.settings(["fp32", "int8"], [1, 2], [4, 8], "fp32")
    assert made[0] == Setting("fp32", 1, 1) and len(made) == 9
    assert len(board_sweep.settings(["fp32", "int8"], [1, 2], [1, 8], "fp32")) == 8
    assert board_sweep.settings(["fp32"], [2], [4], "fp32", one=4) == [Setting("fp32", 2, 4)]


def test_a_batch_that_is_not_free_takes_its_own_alone() -> None:
    engine = Ticking(Clock(), 1.0)
    engine.inputs = (TensorSpec("x", (4, 3, 8, 8), "float32"),)
    board_sweep.refuse_batches({"fp32": engine}, [4])
    for batches in ([1], [4, 8]):
        with pytest.raises(EngineError, match="the batch is not free: fp32 takes 4"):
            board_sweep.refuse_batches({"fp32": engine}, batches)
    engine.inputs = (TensorSpec("x", (None, 3, 8, 8), "float32"),)
    board_sweep.refuse_batches({"fp32": engine}, [1, 8])


class Growing(Ticking):
    """An engine that takes ``seconds`` for each picture of a batch."""

    def infer(self, batch):
        self.clock.now += self.seconds * (len(batch) - 1)
        return super().infer(batch)


def test_points_are_of_a_turn_and_say_what_a_picture_costs() -> None:
    clock = Clock()
    opened = {("fp32", 1): Growing(clock, 2**-7), ("int8", 1): Growing(clock, 2**-8)}
    wanted = board_sweep.settings(["fp32", "int8"], [1], [1, 4], "fp32")
    meter = Meter(clock)
    taken = board_sweep.timed(wanted, opened, np.zeros((1, 3, 8, 8), np.float32), 3, 0.1, meter, clock)
    points = {(one.plan, one.batch): one for one in board_sweep.points(Group(8, 8, "MAXN"), taken, wanted[0])}
    assert len(points) == 4 and all(one.turns == 3 and one.power_mode == "MAXN" for one in points.values())
    assert points["fp32", 4].p50_ms == pytest.approx(4e3 / 128) and points["fp32", 4].fps == pytest.approx(128)
    assert points["int8", 4].speedup == pytest.approx(2) and points["fp32", 4].speedup == pytest.approx(1)
    assert points["int8", 1].p50_low_ms == pytest.approx(points["int8", 1].p50_high_ms)


def test_energy_of_a_picture_is_that_of_its_turn() -> None:
    calls = np.full((2, 10), 1.0)
    taken = {Setting("fp32", 1, 4): Timed(calls, [Power(2.0, 5.0), Power(2.0, 10.0)])}
    (point,) = board_sweep.points(Group(8, 8, ""), taken, Setting("fp32", 1, 4))
    assert (point.picture_low_j, point.picture_j, point.picture_high_j) == pytest.approx((0.3125, 0.375, 0.4375))
    taken = {Setting("fp32", 1, 4): Timed(calls, [Power(2.0, 5.0), Power(2.0)])}
    assert board_sweep.points(Group(8, 8, ""), taken, Setting("fp32", 1, 4))[0].picture_j is None


def test_load_that_falls_on_a_whole_turn_does_not_move_the_ratio() -> None:
    slow = np.array([1.0, 1.0, 5.0, 1.0])[:, None]
    taken = {
        Setting("fp32", 1, 1): Timed(slow * np.full((4, 5), 10.0), []),
        Setting("int8", 1, 8): Timed(slow * np.full((4, 5), 40.0), []),
    }
    found = board_sweep.points(Group(8, 8, ""), taken, Setting("fp32", 1, 1))[1]
    assert (found.speedup_low, found.speedup, found.speedup_high) == pytest.approx((2.0, 2.0, 2.0))


WORDS = ["--backend", "replay", "--turns", "1", "--warm", "0", "--threads", "1", "2", "--batch", "1", "2"]


def test_what_a_board_wrote_is_drawn_and_compared_on_the_host(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("EDGE_MPQ_CACHE", str(tmp_path / "cache"))
    pyz, out = packed(tmp_path / "pyz"), tmp_path / "board" / "tradeoff.json"
    assert board.main(["tradeoff", *WORDS, "--out", str(out), "--json"], str(pyz)) == 0
    printed = capsys.readouterr()
    assert len(json.loads(printed.out)) == 8 and "mixed" in printed.err
    made = tradeoffs.load(out)
    assert {plan.name for plan in made.plans} == {"fp32", "mixed"} and made.pictures == 3
    assert all(point.agreement is not None and point.top1 is None for point in made.points)
    assert [row.asked for row in made.plans[1].layers] == ["w8a8"]
    assert made.commands[0].startswith("python3 fire.pyz tradeoff --backend replay")
    assert report.main([str(out)]) == 0
    assert "agreement with fp32" in out.with_suffix(".html").read_text(encoding="utf-8")
    from edge_mpq.__main__ import main

    assert main(["tradeoff", "--compare", str(out), str(out), "--out", str(tmp_path)]) == 0
    assert "within the spread" in (tmp_path / "compare.html").read_text(encoding="utf-8")


def test_power_modes_are_refused_where_there_are_none(tmp_path: Path, capsys) -> None:
    pyz = packed(tmp_path / "pyz")
    assert board.main(["tradeoff", *WORDS, "--power-mode", "0"], str(pyz)) == 2
    assert "no power modes on this machine" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--threads", "0"], ["--batch", "-1"], ["--turns", "0"], ["--warm", "nan"]])
def test_options_out_of_range_are_refused(tmp_path: Path, words: list[str]) -> None:
    with pytest.raises(SystemExit) as end:
        board_tradeoff.main([str(write_folder(tmp_path / "bundle")), *words])
    assert end.value.code == 2


def test_each_mode_is_measured_and_named(tmp_path: Path, monkeypatch) -> None:
    ask = Nvpmodel(tmp_path)
    there = {"root": str(tmp_path), "ask": ask}
    monkeypatch.setattr(board_power_mode, "asked", functools.partial(board_power_mode.asked, is_root=True, **there))
    monkeypatch.setattr(board_power_mode, "PowerModes", functools.partial(PowerModes, **there))
    out = tmp_path / "tradeoff.json"
    folder = write_folder(tmp_path / "bundle")
    words = [str(folder), "--backend", "replay", "--turns", "1", "--warm", "0", "--power-mode", "5W", "0"]
    assert board_tradeoff.main([*words, "--out", str(out)], str(folder / "frames")) == 0
    assert [point.power_mode for point in tradeoffs.load(out).points] == ["5W", "5W", "MAXN", "MAXN"]
    assert ask.mode == 0


def test_a_sampler_without_rails_makes_turns_short(tmp_path: Path) -> None:
    clock = Clock()
    taken = board_sweep.timed(
        [Setting("fp32", 1, 1)], {("fp32", 1): Ticking(clock, 2**-7)}, np.zeros((1, 1)), 2, 0.1,
        Sampler(str(tmp_path), clock=clock), clock,
    )  # fmt: skip
    assert taken[Setting("fp32", 1, 1)].calls_ms.shape == (2, 12)
