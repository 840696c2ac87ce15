"""A tradeoff drawn: the front and its laws, figures, table, page, picture; and two of them held against each other."""

import csv
import io
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_mpq.errors import RecordError
from edge_mpq.records import tradeoff as records
from edge_mpq.report import (
    tradeoff,
    tradeoff_compare,
    tradeoff_compare_page,
    tradeoff_figure,
    tradeoff_files,
    tradeoff_page,
)
from edge_mpq.report.tradeoff_files import Side
from tests.report.reading import Page
from tests.report.test_page import EVIL
from tests.report.test_style import SIGHTS, THEMES, contrast, lab, linear
from tests.report.tradeoffs import SHARES, point
from tests.report.tradeoffs import tradeoff as made

PAIRS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=12)


def dominates(one, other) -> bool:
    return one[0] >= other[0] and one[1] >= other[1] and one != other


@given(PAIRS)
def test_no_point_of_the_front_is_dominated_and_every_other_is_by_one_of_it(values):
    front = tradeoff.front(values)
    assert len(front) == len(set(front)) and bool(front) == bool(values)
    for index, value in enumerate(values):
        beaten = any(dominates(values[other], value) for other in front)
        assert beaten == any(dominates(other, value) for other in values) == (index not in front)


@given(PAIRS.filter(bool), st.data())
def test_a_dominated_point_more_changes_nothing(values, data):
    front = tradeoff.front(values)
    above = values[data.draw(st.sampled_from(front))]
    less = (above[0] - data.draw(st.integers(0, 3)), above[1] - data.draw(st.integers(0, 3)))
    again = tradeoff.front([*values, less])
    assert again == front or less == above
    assert {values[index] for index in front} == {[*values, less][index] for index in again}


@given(PAIRS, st.randoms(use_true_random=False))
def test_the_order_of_points_means_nothing_and_the_front_goes_down(values, random):
    mixed = values[:]
    random.shuffle(mixed)
    front = [values[index] for index in tradeoff.front(values)]
    assert sorted(front) == sorted(mixed[index] for index in tradeoff.front(mixed))
    assert all(a[0] < b[0] and a[1] > b[1] or a == b for a, b in zip(front, front[1:], strict=False))


def test_the_main_figures():
    fastest, near, right = tradeoff.headlines(made())
    assert (fastest.mark.plan.name, fastest.mark.point.batch, fastest.mark.point.threads) == ("mixed", 8, 1)
    assert near.mark is not None and near.mark.plan.name == "mixed" and near.against == SHARES["fp32"]
    assert right.mark.plan.name == "fp32" and right.mark.point.batch == 8 and not right.by_rate
    worse = made(points=[one._replace(top1=0.5) if one.plan == "mixed" else one for one in made().points])
    assert tradeoff.headlines(worse)[1].mark.plan.name == "int8"


def test_accuracy_is_the_first_that_all_know():
    assert tradeoff.metric([made()]) == "top1"
    unlabelled = made(points=[one._replace(top1=None) for one in made().points])
    assert tradeoff.metric([made(), unlabelled]) == "agreement"
    nothing = made(points=[one._replace(top1=None, agreement=None) for one in made().points])
    for run, said in ((nothing, "no accuracy that all points know"), (made(points=[]), "no point was measured")):
        with pytest.raises(RecordError, match=said):
            tradeoff_page.render(run)


def test_the_table_as_csv_holds_every_point_and_its_plan():
    rows = list(csv.DictReader(io.StringIO(tradeoff.table(made()))))
    assert len(rows) == 12 and {row["plan"] for row in rows} == set(SHARES)
    first = next(row for row in rows if row["plan"] == "mixed")
    assert (first["budget"], first["weight_bits"], float(first["top1"])) == ("size<=5bits", "4.98", SHARES["mixed"])
    assert sum(int(row["front"]) for row in rows) == 3


def test_no_point_is_hidden_and_each_tells_itself_to_a_reader_of_screens():
    page = Page(tradeoff_page.render(made()))
    marks = [held for _, held in page.tags if held.get("class", "").startswith("mark ")]
    assert len(marks) == 12 and all(held["role"] == "button" and "tabindex" in held for held in marks)
    assert any(
        re.match(r"fp32, 2 threads, batch 1, .*: top-1 accuracy 87.78 %;.*rate", held["aria-label"]) for held in marks
    )
    assert {held["data-opens"] for held in marks} <= set(page.values("id"))
    assert sum(1 for name, held in page.tags if name == "tr" and "data-index" in held) == 12
    assert page.count("details") == 3 and "size<=5bits" in page.words
    # What is slower than fp32 one by one is there too.
    assert "0.90 (0.85 to 0.95)" in page.words


def test_the_page_asks_nothing_of_a_network_and_runs_its_own_script_alone():
    source = tradeoff_page.render(made())
    assert not re.search(r"https?://|url\(|@import", source)
    page = Page(source)
    assert page.count("script") == 1 and page.count("style") == 1
    assert all(value.startswith(("#", "data:,")) for value in page.values("href"))


def test_what_does_not_differ_has_no_sign_and_no_filter():
    one = made(points=[point("fp32"), point("int8")])
    page = Page(tradeoff_page.render(one))
    assert page.values("name").count("plan") == 2 and not {"threads", "batch", "size"} & set(page.values("name"))
    assert "All with 1 thread, batch 1, 32 \u00d7 32." in page.words
    assert Page(tradeoff_page.render(made(points=[point("fp32")]))).count("svg") >= 1


def test_hostile_names_are_text():
    plans = [plan._replace(name=EVIL, title=EVIL) if plan.name == "mixed" else plan for plan in made().plans]
    points = [one._replace(plan=EVIL, power_mode=EVIL) if one.plan == "mixed" else one for one in made().points]
    run = made(title=EVIL, plans=plans, points=points)
    assert Page(tradeoff_page.render(run)).count("script") == 1
    result = tradeoff_compare.compare([Side(EVIL, run), Side("b", run)])
    assert Page(tradeoff_compare_page.render(result)).count("script") == 1


def colours(theme: int) -> dict[str, str]:
    """Number of a series -> its colour in the light (0) or dark (1) dress."""
    css = tradeoff_files.Path(tradeoff_page.__file__).with_name("tradeoff.css").read_text()
    return dict(re.findall(r"--series-(\d): (#[0-9a-f]{6})", css.split("@media")[theme]))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_colour_stands_out_from_the_paper(theme):
    for number, colour in colours(["light", "dark"].index(theme)).items():
        assert contrast(colour, THEMES[theme]["paper"]) >= 3, (number, theme)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("sight", SIGHTS)
def test_the_first_plans_are_told_apart(theme, sight):
    seen = [lab(SIGHTS[sight] @ linear(colour)) for colour in colours(["light", "dark"].index(theme)).values()][:5]
    for index, one in enumerate(seen):
        assert all(np.linalg.norm(one - other) >= 12 for other in seen[:index]), (theme, sight, index)


def test_the_colours_of_page_and_picture_are_the_same():
    light = colours(0)
    assert tuple(light[str(index)] for index in range(10)) == tradeoff_figure.COLOURS


def test_png_and_svg_hold_the_same_points():
    drawn = tradeoff_figure.draw(made())
    assert drawn["png"].startswith(b"\x89PNG")
    assert ElementTree.fromstring(drawn["svg"]).tag.endswith("svg")
    assert drawn["svg"] == tradeoff_figure.draw(made())["svg"]  # the same data, the same bytes


def test_every_form_is_written(tmp_path):
    records.save(tmp_path / "tradeoff.json", made())
    written = tradeoff_files.write(tmp_path, made())
    assert set(written) == {"record", "page", "csv", "png", "svg"}
    assert all(tradeoff_files.Path(path).stat().st_size for path in written.values())
    assert tradeoff_files.read(tmp_path / "tradeoff.json") == made()


def compared(other: records.Tradeoff) -> tradeoff_compare.Comparison:
    return tradeoff_compare.compare([Side("a", made()), Side("b", other)])


def test_runs_pair_by_plan_and_setting_and_claim_only_what_lies_beyond_their_spread():
    # Quartiles of 5 % either side: 20 % of difference and less may be the machine's.
    by = {"fp32": 0.7, "int8": 1.4, "mixed": 1.15}
    points = [point(one.plan, one.threads, one.batch, one.fps * by[one.plan]) for one in made().points]
    points = [one._replace(top1=0.8) if one.plan == "mixed" else one for one in points]
    result = compared(made(points=points))
    assert len(result.pairs) == 12 and not result.notes
    for pair in result.pairs:
        name = result.marks[pair.first].plan.name
        assert result.marks[pair.other].plan.name == name and pair.rate == pytest.approx(by[name])
        assert tradeoff_compare.claim(pair) == {"fp32": "slower", "int8": "faster", "mixed": "within the spread"}[name]
        assert tradeoff_compare.claim_of_accuracy(pair) == ("worse" if name == "mixed" else "equal")
    page = Page(tradeoff_compare_page.render(result))
    assert page.values("class").count("join") == 12 and "within the spread" in page.words
    assert "within the spread" in tradeoff_compare.text(result)
    assert len(tradeoff_compare.as_json(result)["pairs"]) == 12


@given(st.floats(0.5, 2.0), st.floats(0.0, 0.3), st.floats(0.0, 0.3))
def test_a_claim_turns_round_with_the_runs(by, spread, other_spread):
    a, b = (
        made(points=[point("fp32", rate=rate, spread=width)])
        for rate, width in ((1000.0, spread), (1000.0 * by, other_spread))
    )
    forth = tradeoff_compare.compare([Side("a", a), Side("b", b)]).pairs[0]
    back = tradeoff_compare.compare([Side("b", b), Side("a", a)]).pairs[0]
    assert forth.faster == -back.faster and forth.rate * back.rate == pytest.approx(1)
    itself = tradeoff_compare.compare([Side("a", a), Side("b", a)]).pairs[0]
    assert itself.faster == itself.righter == 0


def test_a_plan_pairs_by_what_its_layers_are_asked_whatever_it_is_called():
    plans = [plan._replace(name=f"{plan.name} of b") for plan in made().plans]
    points = [one._replace(plan=f"{one.plan} of b") for one in made().points]
    other = made(plans=plans, points=points, reference="fp32 of b")
    assert len(compared(other).pairs) == 12
    layers = [row._replace(asked="w2a8") for row in plans[2].layers]
    assert len(compared(other._replace(plans=[*plans[:2], plans[2]._replace(layers=layers)])).pairs) == 8


def test_boards_of_one_mode_each_pair_whatever_the_mode_is_called():
    board = made(
        points=[one._replace(power_mode="MAXN", top1=None) for one in made().points], data="frames", pictures=4
    )
    result = compared(board)
    assert len(result.pairs) == 12 and "different pictures" in result.notes[0]
    assert {tradeoff_compare.claim_of_accuracy(pair) for pair in result.pairs} == {"other pictures"}
    two = [one._replace(power_mode=mode) for one in made().points for mode in ("MAXN", "5W")]
    with pytest.raises(RecordError, match="no plan at the same setting in common"):
        compared(made(points=two))


def test_runs_of_other_tasks_or_models_are_not_compared():
    with pytest.raises(RecordError, match="different tasks: a is to classify, b is to segment"):
        compared(made(task="segment"))
    with pytest.raises(RecordError, match="no model in common"):
        compared(made(plans=[plan._replace(model="another") for plan in made().plans]))
