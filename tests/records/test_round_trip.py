"""What is written is what is read, for every record and any content."""

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_mpq.records import engine, plan, ranges, report, tuning
from edge_mpq.records.layer import LayerSpec, layer_from_json, layer_to_json
from tests.records import samples

RECORDS: dict[str, tuple[ModuleType, st.SearchStrategy[Any]]] = {
    "plan": (plan, samples.plans),
    "ranges": (ranges, samples.ranges),
    "card": (engine, samples.cards),
    "report": (report, samples.reports),
    "tuning": (tuning, samples.tunings),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("records")


@pytest.mark.parametrize("name", RECORDS)
@given(data=st.data())
def test_a_record_comes_back_as_it_went(folder: Path, name: str, data: st.DataObject) -> None:
    module: ModuleType = RECORDS[name][0]
    record: Any = data.draw(RECORDS[name][1])
    path = folder / f"{name}.json"
    module.save(path, record)
    back = module.load(path)
    assert back == record
    written = path.read_bytes()
    module.save(path, back)
    assert path.read_bytes() == written
    assert type(back) is type(record)
    if name == "plan":
        assert list(back.choices) == list(record.choices)  # the model's order is part of a plan


@given(samples.layers)
def test_a_layer_comes_back_as_it_went(layer: LayerSpec) -> None:
    assert layer_from_json(layer_to_json(layer), "a test") == layer
