"""The replay backend: the face of an engine, recorded answers behind it."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_mpq import engines
from edge_mpq.engines import replay
from edge_mpq.errors import EngineError, RecordError
from edge_mpq.records import engine as engine_record

ANSWERS = np.arange(15, dtype=np.float32).reshape(5, 3)


@pytest.fixture
def path(tmp_path):
    replay.record(tmp_path / "model.npz", ANSWERS, (None, 3, 4, 4), ms=[1, 2, 3, 4, 5])
    return tmp_path / "model.npz"


def _batch(count=1, size=4):
    return np.zeros((count, 3, size, size), np.float32)


def test_it_stands_in_the_family():
    assert "replay" in engines.names()
    assert engines.get("replay") is replay


def test_answers_cycle(path):
    with replay.open(path) as engine:
        given_back = [engine.infer(_batch())[0] for _ in range(12)]
    assert all(output.shape == (1, 3) and output.dtype == np.float32 for output in given_back)
    np.testing.assert_array_equal(np.concatenate(given_back), ANSWERS[[at % 5 for at in range(12)]])


@given(counts=st.lists(st.integers(1, 13), min_size=1, max_size=6))
def test_any_batches_give_the_same_sequence(tmp_path_factory, counts):
    path = tmp_path_factory.mktemp("replay") / "model.npz"
    replay.record(path, ANSWERS, (None, 3, 4, 4))
    with replay.open(path, threads=2) as engine:
        outputs = np.concatenate([engine.infer(_batch(count))[0] for count in counts])
    np.testing.assert_array_equal(outputs, ANSWERS[np.arange(sum(counts)) % 5])


def test_card_and_specs(path):
    card = engine_record.load(str(path) + ".json")
    assert (card.backend, card.device) == ("replay", "any")
    assert card.engine_bytes == path.stat().st_size
    with replay.open(path) as engine:
        assert engine.inputs[0].shape == (None, 3, 4, 4)
        assert engine.outputs[0].shape == (None, 3)
        assert engine.profile(_batch())[0].ms == 3.0


def test_answers_cannot_be_changed(path):
    with replay.open(path) as engine, pytest.raises(ValueError):
        engine.infer(_batch())[0][:] = 0


def test_a_wrong_input_is_refused(path):
    with replay.open(path) as engine:
        with pytest.raises(EngineError, match="prepare frames"):
            engine.infer(_batch(size=5))
        with pytest.raises(EngineError, match="float64"):
            engine.infer(_batch().astype(np.float64))


def test_torn_and_missing_files(path):
    with pytest.raises(EngineError, match="no engine at"):
        replay.open(path.with_name("other.npz"))
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    with pytest.raises(EngineError, match="torn"):
        replay.open(path)
    path.write_bytes(whole)
    path.with_name("model.npz.json").unlink()
    with pytest.raises(RecordError):
        replay.open(path)


@pytest.mark.parametrize("content", [b"no zip at all", b"PK\x03\x04 neither"])
def test_a_file_without_recordings_is_refused_though_its_card_fits(path, content):
    from edge_mpq.records.bundle import digest

    path.write_bytes(content)
    card = path.with_name("model.npz.json")
    card.write_text(json.dumps(dict(json.loads(card.read_text()), engine_sha256=digest(path))))
    with pytest.raises(EngineError, match="no recorded answers"):
        replay.open(path)


@pytest.mark.parametrize(("outputs", "ms"), [([], ()), (np.zeros((0, 3)), ()), ([1.0, 2.0], ()), (ANSWERS, [1.0])])
def test_nothing_to_record(tmp_path, outputs, ms):
    with pytest.raises(EngineError):
        replay.record(tmp_path / "model.npz", outputs, (1, 3, 4, 4), ms)
    assert not list(tmp_path.iterdir())
