"""Rankings of recipes: means and spread, the Pareto front, the page, and a record that survives its file."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_mpq.errors import RecordError
from edge_mpq.records import leaderboard as records
from edge_mpq.records.leaderboard import Entry, Leaderboard
from edge_mpq.report import leaderboard, leaderboard_page
from tests.report.reading import Page
from tests.report.test_page import EVIL


def entry(recipe: str, seed: int, right: float, **changes) -> Entry:
    made = Entry(recipe, seed, f"{recipe} et al.", "", 5.0, 0.16, 10.0, 40, True, "", right + 0.001, right, 0.998, 0.3)
    return made._replace(**changes)


BOARD = Leaderboard(
    title="4 recipes on resnet20",
    created="2026-01-01 00:00 UTC",
    target="cpu-x86-vnni",
    budget="size<=5bits",
    data="cifar10",
    pictures=1000,
    fp32_top1=0.88,
    machine={"processor": "one"},
    commands=["edge-mpq compare --recipes all"],
    entries=[
        entry("good", 0, 0.878, p50_ms=0.4, speedup=2.2),
        entry("good", 1, 0.872),
        entry("cheap", 0, 0.87, weight_mib=0.1, p50_ms=0.3, speedup=2.9, search_s=1.0),
        entry("worse", 0, 0.86, weight_mib=0.2, p50_ms=0.5, speedup=1.8, search_s=20.0),
        entry("dream", 0, 0.0, top1=None, agreement=None, simulated_top1=0.879, note="twin grids", deployable=False),
        records.failed("broken", 0, "nobody", "no labels; give some"),
    ],
)


def test_recipes_stand_by_what_they_lose_over_their_seeds():
    rows = {row.recipe: row for row in leaderboard.standings(BOARD)}
    assert list(rows) == ["dream", "good", "cheap", "worse"]
    assert rows["good"].lost == pytest.approx(0.5) and rows["good"].spread == pytest.approx(0.6)
    assert rows["good"].seeds == 2 and rows["good"].speedup == 2.2
    assert rows["dream"].lost == pytest.approx(0.1) and not rows["dream"].deployed and rows["dream"].p50_ms is None


def test_the_front_holds_what_nobody_beats_in_both():
    rows = leaderboard.standings(BOARD)
    assert leaderboard.front(rows, lambda row: row.p50_ms) == {"good", "cheap"}
    assert leaderboard.front(rows, lambda row: row.weight_mib) == {"dream", "cheap"}


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=8))
def test_nobody_outside_the_front_is_unbeaten(points):
    rows = [
        leaderboard.standings(BOARD)[0]._replace(recipe=str(i), lost=float(lost), search_s=float(cost))
        for i, (lost, cost) in enumerate(points)
    ]
    found = leaderboard.front(rows, lambda row: row.search_s)
    assert found
    for row in rows:
        mine = row.lost, row.search_s
        others = [(other.lost, other.search_s) for other in rows]
        beaten = any(its[0] <= mine[0] and its[1] <= mine[1] and its != mine for its in others)
        assert (row.recipe in found) == (not beaten)


def test_the_page_tells_every_recipe_and_why_one_has_no_result():
    page = Page(leaderboard_page.render(BOARD))
    for words in ("good", "cheap", "worse", "dream", "twin grids", "broken", "no labels; give some", "simulated"):
        assert words in page.words
    assert page.count("figure") == 3
    assert sum("hollow" in style for style in page.values("class")) >= 1


def test_a_hostile_name_is_text():
    bad = BOARD._replace(title=EVIL, entries=[entry(EVIL, 0, 0.8, note=EVIL), entry("b", 0, 0.7)])
    assert Page(leaderboard_page.render(bad)).count("script") == 1


def test_markdown_has_a_row_for_each():
    text = leaderboard_page.markdown(BOARD)
    assert "| good | 0.50 | 0.60 | 5.00 | 2.20x | 10.0 | 40 |" in text
    assert "| dream | 0.10 | 0.00 | 5.00 | simulated |" in text and "| broken | no labels" in text


def test_a_board_survives_its_file_and_faults_are_named(tmp_path):
    path = tmp_path / "board.json"
    records.save(path, BOARD)
    assert records.load(path) == BOARD
    path.write_text(path.read_text().replace('"search_s": 10.0', '"search_s": "long"'))
    with pytest.raises(RecordError, match="entry 0 field 'search_s' is a str"):
        records.load(path)
