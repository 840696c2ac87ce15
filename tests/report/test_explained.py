"""The plot of why each layer has its format: every option a mark, the chosen ringed, moves told with their price."""

import pytest

from edge_mpq import menu as menus
from edge_mpq import planning
from edge_mpq.errors import RecordError
from edge_mpq.explaining import options_of
from edge_mpq.records import report as reports
from edge_mpq.records import target as targets
from edge_mpq.records.report import Option
from edge_mpq.report import checks, explained, page
from tests import toys
from tests.report import sample
from tests.report.reading import Page


def test_every_option_is_a_mark_and_the_chosen_one_is_ringed():
    variant = sample.report().variants[2]
    drawn = Page(str(explained.explained(variant)))
    marks = [style for style in drawn.values("class") if style.startswith("dot ")]
    assert len(marks) == sum(len(row.options) for row in variant.layers)
    assert sum("taken" in style for style in marks) == len(variant.layers)


def test_a_move_is_told_with_its_price():
    row = sample.report().variants[2].layers[3]
    small = row._replace(asked="w8a8", options=(Option("w8a8", 0.5, 2.0, 1.5), Option("w4a8", 2.0, 1.0, 1.0)))
    words = Page(str(explained.explained(sample.report().variants[2]._replace(layers=[small])))).words
    assert "moving there from w8a8: harm +1.50, \u22121.00 MiB, \u22120.500 ms" in words


def test_a_plan_chosen_from_nothing_has_no_section():
    assert explained.explained(sample.report().variants[0]) is None
    assert explained.explained(None) is None


def test_options_come_from_scores_and_costs_least_harm_first():
    layers, target = toys.layers("residual"), targets.get("cpu-x86-vnni")
    menu = menus.menu_of(layers, target, ["fp32", "w8a8", "w4a8"])
    scores = {name: {pair: float(number) for number, pair in enumerate(pairs)} for name, pairs in menu.items()}
    found = options_of(scores, planning.cost_tables(layers, menu, target))
    assert set(found) == {layer.name for layer in layers}
    for layer in layers:
        assert [option.format for option in found[layer.name]] == ["fp32", "w8a8", "w4a8"]
        assert found[layer.name][1].size_mib == pytest.approx(layer.weights / 2**20)
        assert found[layer.name][0].ms > found[layer.name][1].ms


def test_options_survive_the_file_and_faults_are_named(tmp_path):
    path = tmp_path / "report.json"
    reports.save(path, sample.report())
    assert reports.load(path) == sample.report()
    path.write_text(path.read_text().replace('"size_mib"', '"size_mb"', 1))
    with pytest.raises(RecordError, match="an option of a layer of variant 2"):
        reports.load(path)
    broken = sample.report().variants[2]
    row = broken.layers[0]._replace(options=(Option("w8a8", float("nan"), 1.0), Option("w4a8", 1.0, 1.0)))
    with pytest.raises(RecordError, match="an option of layer"):
        checks.check(sample.report()._replace(variants=[broken._replace(layers=[row])]))


def test_the_page_has_the_section():
    assert "Why each layer has its format" in Page(page.render(sample.report())).words
