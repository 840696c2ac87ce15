"""A tradeoff on disk: it comes back as it went, and every fault of a bad one is told at once."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_mpq.errors import RecordError
from edge_mpq.records import document, tradeoff
from edge_mpq.records.tradeoff import PlanFacts, Point, Tradeoff
from tests.records import samples
from tests.records.test_document import JSON

above = st.floats(1e-6, 1e9)
shares = st.none() | st.floats(0, 1)
quartiles = st.lists(above, min_size=3, max_size=3).map(sorted)
settings = st.tuples(st.integers(1, 64), st.integers(1, 64), st.integers(1, 4096), st.integers(1, 4096), samples.texts)
plans = st.builds(PlanFacts, samples.names, *[samples.texts] * 6, *[samples.finite] * 3, samples.some_rows)


@st.composite
def points(draw, name: str, setting: tuple) -> Point:
    (p50_low, p50, p50_high), (low, speedup, high) = draw(quartiles), draw(quartiles)
    counts = draw(st.integers(1, 99)), draw(st.integers(1, 9999))
    energy = draw(st.none() | quartiles) or (None, None, None)
    figures = draw(above), draw(above), speedup, low, high, draw(shares), draw(shares), draw(shares)
    memory = draw(st.none() | above), draw(st.none() | above)
    return Point(name, *setting, *counts, p50, p50_low, p50_high, *figures, *memory, energy[1], energy[0], energy[2])


@st.composite
def tradeoffs(draw) -> Tradeoff:
    made = draw(st.lists(plans, min_size=1, max_size=3, unique_by=lambda plan: plan.name))
    at = draw(st.lists(st.tuples(st.sampled_from([plan.name for plan in made]), settings), max_size=4, unique=True))
    return Tradeoff(
        *(draw(samples.texts) for _ in range(4)),
        pictures=draw(samples.counts),
        reference=made[0].name,
        machine=draw(st.dictionaries(samples.names, samples.texts, max_size=2)),
        commands=draw(st.lists(samples.texts, max_size=2)),
        plans=made,
        points=[draw(points(name, setting)) for name, setting in at],
    )


@given(tradeoffs())
def test_it_comes_back_as_it_went(tmp_path_factory: pytest.TempPathFactory, made: Tradeoff) -> None:
    path = tmp_path_factory.getbasetemp() / "tradeoff.json"
    tradeoff.save(path, made)
    back, written = tradeoff.load(path), path.read_bytes()
    assert back == made and tradeoff.faults(back) == []
    tradeoff.save(path, back)
    assert path.read_bytes() == written


GOOD = Tradeoff(
    "t", "now", "classify", "d", 10, "fp32", {}, [],
    [PlanFacts("fp32", "fp32", "t", "m", "cpu-x86-vnni", "onnxruntime", "", 32.0, 1.0, 1.0)],
    [Point("fp32", 1, 1, 8, 8, "", 2, 10, 1.0, 0.9, 1.1, 2.0, 1000.0, 1.0, 1.0, 1.0, 0.5)],
)  # fmt: skip


def body(folder: Path) -> dict[str, Any]:
    tradeoff.save(folder / "good.json", GOOD)
    return json.loads((folder / "good.json").read_text())


def refused(folder: Path, made: Any) -> str:
    path = folder / "bad.json"
    path.write_text(made if isinstance(made, str) else json.dumps(made))
    with pytest.raises(RecordError) as caught:
        tradeoff.load(path)
    return str(caught.value)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"plan": "gone"}, "is of the plan 'gone', which is not there"),
        ({"threads": 0}, "has threads 0, which is not above 0"),
        ({"batch": -1}, "has batch -1"),
        ({"p50_low_ms": 0}, "has p50_low_ms 0.0, which is not above 0"),
        ({"p50_low_ms": 2.0}, "has p50_low_ms, p50_ms, p50_high_ms out of order"),
        ({"speedup_high": 0.5}, "has speedup_low, speedup, speedup_high out of order"),
        ({"top1": 87.8}, "has top1 87.8, which is no share"),
        ({"agreement": -0.1}, "has agreement -0.1"),
        ({"picture_j": 1.0}, "knows only a part of picture_low_j, picture_j, picture_high_j"),
        ({"peak_mib": -1.0}, "has peak_mib -1.0, below 0"),
        ({"fps": "fast"}, "field 'fps' is a str, not a float"),
        ({"fps": None}, "field 'fps' is a NoneType"),
        ({"watts": 5}, "has the unknown field 'watts'"),
    ],
)
def test_a_point_that_is_none_is_refused(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    made = body(tmp_path)
    made["points"][0].update(changes)
    assert told in refused(tmp_path, made)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"points": GOOD._asdict()["points"] * 2}, "plan 'fp32' has a point twice"),
        ({"plans": []}, "the reference 'fp32' is none of its plans"),
        ({"reference": "x" * 10_000}, "is none of its plans"),
        ({"machine": {"cores": 2}}, "field 'machine' holds something that is no text"),
        ({"commands": [1]}, "field 'commands' holds something that is no text"),
        ({"pictures": -3}, "there are -3 pictures"),
        ({"points": [5]}, "point 0 is a JSON int"),
        ({"points": {}}, "field 'points' is a dict"),
        ({"plans": [{"layers": [5]}]}, "plan 0 has no field 'name'"),
        ({"kind": "report"}, "a 'tradeoff' is wanted"),
        ({"version": 2}, "this program reads version 1"),
    ],
)
def test_a_tradeoff_that_is_none_is_refused(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    made = body(tmp_path)
    rows = changes.get("points")
    if rows and isinstance(rows[0], Point):
        changes = {"points": [point._asdict() for point in rows]}
    said = refused(tmp_path, {**made, **changes})
    assert told in said and len(said) < 1000


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    made = body(tmp_path)
    made["points"][0].update(threads=0, top1=2.0, plan="gone")
    said = refused(tmp_path, {**made, "pictures": -1})
    for told in ("threads 0", "top1 2.0", "'gone'", "-1 pictures"):
        assert told in said


@pytest.mark.parametrize("cut", [0, 1, 50, -3])
def test_a_torn_file_is_refused(tmp_path: Path, cut: int) -> None:
    assert "not a whole JSON file" in refused(tmp_path, json.dumps(body(tmp_path))[:cut])


@given(data=st.data())
def test_fields_of_any_shape_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.getbasetemp() / "any.json"
    made = {name: data.draw(JSON, label=name) for name in Tradeoff._fields}
    path.write_text(json.dumps({**made, "kind": tradeoff.KIND, "version": tradeoff.VERSION}))
    try:
        tradeoff.load(path)
    except RecordError as error:
        assert str(path) in str(error)


def test_the_kind_of_a_file_is_told_without_reading_it_whole(tmp_path: Path) -> None:
    body(tmp_path)
    assert document.kind_of(tmp_path / "good.json") == tradeoff.KIND
    for text in ("", "[]", '{"kind": 5}', "{", "[" * 100_000):
        (tmp_path / "bad.json").write_text(text)
        assert document.kind_of(tmp_path / "bad.json") == ""
    assert document.kind_of(tmp_path) == document.kind_of(tmp_path / "none.json") == ""
