"""Tunings: what a file must not hold, and what the record tells of itself."""

import json
from pathlib import Path

import pytest

from edge_mpq.errors import RecordError
from edge_mpq.records import tuning
from edge_mpq.records.tuning import Space, Trial, Tuning

SPACE = Space({"clipping": ("max", "kl"), "mixed": ("off", "on")}, {"layers": 20.0})
MADE = Tuning(SPACE, (Trial(("max", "off"), 0.5), Trial(("kl", "off"), 0.7), Trial(("kl", "on"), 0.6)))


def test_the_last_axis_varies_fastest():
    assert SPACE.configurations() == [("max", "off"), ("max", "on"), ("kl", "off"), ("kl", "on")]


def test_it_knows_its_best_and_how_it_came_there():
    assert MADE.best == Trial(("kl", "off"), 0.7)
    assert MADE.best_so_far() == [0.5, 0.7, 0.7]


@pytest.mark.parametrize(
    "field, value, said",
    [
        ("axes", [{"axis": "clipping", "values": []}], "axis 0 its values are not different names"),
        ("axes", [{"axis": "a", "values": ["x"]}] * 2, "axis 1 'a' stands twice"),
        ("features", {"layers": "many"}, "feature 'layers' is no number"),
        ("trials", [{"configuration": ["max"], "score": 1}], "trial 0 its configuration is not of these axes"),
        ("trials", [{"configuration": ["max", "never"], "score": 1}], "trial 0 its configuration is not of these axes"),
        ("trials", [{"configuration": [["max"], "on"], "score": 1}], "trial 0 its configuration is not of these axes"),
        ("trials", [{"configuration": ["max", "on"], "score": 1}] * 2, "trial 1 it repeats a configuration"),
        ("trials", [{"configuration": ["max", "on"], "score": "good"}], "trial 0 field 'score' is a str"),
        ("trials", {}, "field 'trials' is a dict"),
    ],
)
def test_what_is_no_tuning_is_told(tmp_path: Path, field: str, value: object, said: str) -> None:
    tuning.save(tmp_path / "tuning.json", MADE)
    body = json.loads((tmp_path / "tuning.json").read_text())
    (tmp_path / "tuning.json").write_text(json.dumps({**body, field: value}))
    with pytest.raises(RecordError, match=said):
        tuning.load(tmp_path / "tuning.json")
