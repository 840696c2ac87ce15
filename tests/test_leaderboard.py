"""``compare --recipes`` on a toy: results on the real engine, a run that goes on where it stopped, honest failures."""

import json
from pathlib import Path

import pytest

from apps import leaderboard as stage
from edge_mpq.__main__ import main
from edge_mpq.records import leaderboard
from tests.test_whole_path import place  # noqa: F401  a fixture


def compare(folder: Path, out: Path, *more: str) -> list[str]:
    given = ["--model", f"{folder / 'net.py'}:make", "--data", str(folder / "data.npz"), "--out", str(out)]
    return ["compare", "--recipes", "default", "uniform", *given, "--calibration", "32", "--pictures", "48", *more]


BUDGET = ("--budget", "size<=5bits", "--formats", "w8a8", "w4a8")


def test_recipes_are_ranked_on_the_engine_and_a_second_run_repeats_nothing(place, tmp_path, capsys, monkeypatch):  # noqa: F811
    assert main(compare(place, tmp_path / "out", *BUDGET, "--json")) == 0
    said = json.loads(capsys.readouterr().out)
    assert {row["recipe"] for row in said["standings"]} == {"default", "uniform"}
    board = leaderboard.load(said["leaderboard"])
    for entry in board.entries:
        assert entry.failure == "" and entry.agreement is not None and entry.agreement >= 0.97
        assert entry.speedup is not None and entry.weight_bits <= 5
    assert (tmp_path / "out" / "leaderboard.html").read_text().startswith("<!DOCTYPE html>")

    def unexpected(*_):
        raise AssertionError("a kept trial was run again")

    monkeypatch.setattr(stage, "_judged", unexpected)
    assert main(compare(place, tmp_path / "out", *BUDGET)) == 0
    again = leaderboard.load(said["leaderboard"])
    assert [row._replace(p50_ms=None, speedup=None) for row in again.entries] == [
        row._replace(p50_ms=None, speedup=None) for row in board.entries
    ]
    with pytest.raises(RuntimeError, match="run again"):  # another budget is another task
        main(compare(place, tmp_path / "out", "--budget", "size<=6bits", "--formats", "w8a8", "w4a8"))


def test_a_recipe_stands_beside_itself_with_other_settings(place, tmp_path):  # noqa: F811
    names = ["gradient_ptq:iterations=1", "gradient_ptq:iterations=1,grid=power", "gradient_ptq:unit=model"]
    assert main(compare(place, tmp_path / "out", *BUDGET, "--recipes", *names)) == 0
    entries = leaderboard.load(tmp_path / "out" / "leaderboard.json").entries
    assert [entry.recipe for entry in entries] == names
    assert [entry.deployable for entry in entries] == [True, False, False]
    assert [bool(entry.failure) for entry in entries] == [False, False, True]
    assert (tmp_path / "out" / "trials" / "gradient_ptq_iterations=1-0.plan.json").is_file()


def test_a_recipe_that_cannot_serve_is_told_and_the_others_go_on(place, tmp_path):  # noqa: F811
    narrow = ("--budget", "size<=4.5bits", "--formats", "w8a8", "w4a8", "--recipes", "default", "uniform")
    assert main(compare(place, tmp_path / "out", "--budget", "drop<=100%", "--formats", "w8a8", "w4a8")) == 0
    board = leaderboard.load(tmp_path / "out" / "leaderboard.json")
    by_name = {entry.recipe: entry for entry in board.entries}
    assert "speaks of accuracy" in by_name["uniform"].failure and by_name["default"].failure == ""
    assert main(compare(place, tmp_path / "out", *narrow)) == 0


@pytest.mark.parametrize(
    "wrong, said",
    [
        (("--recipes", "magic"), "there is no 'magic' in recipes"),
        (("--recipes", "uniform:bits=3"), "'bits=3' sets nothing of it; it has no settings"),
        (("--seeds", "0"), "--seeds 0"),
        (("--budget", "size<=huge"), "is no budget term"),
    ],
)
def test_nonsense_is_one_line(place, tmp_path, capsys, wrong, said):  # noqa: F811
    code = main([*compare(place, tmp_path / "out", *BUDGET), *wrong])
    err = capsys.readouterr().err
    assert code == 2 and said in err and "Traceback" not in err
    assert not (tmp_path / "out").exists()


def test_without_a_budget_all_keep_the_usual_one_and_a_torn_trial_is_refused_by_name(place, tmp_path, capsys):  # noqa: F811
    words = compare(place, tmp_path / "out", "--formats", "w8a8", "w4a8")
    assert main(words) == 0
    board = leaderboard.load(tmp_path / "out" / "leaderboard.json")
    assert board.budget == "size<=0.25x" and all(entry.weight_bits <= 8 for entry in board.entries)
    (tmp_path / "out" / "trials" / "default-0.json").write_text('{"kind": "leader')
    assert main(words) == 2
    assert "default-0.json" in capsys.readouterr().err
