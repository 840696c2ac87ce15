"""The camera loop on a real engine: a model that finds what is red, built from ONNX on the way."""

import json

import numpy as np
import pytest

from apps.stream import run
from apps.stream.cameras import testcard
from edge_mpq.engines import inputs
from edge_mpq.errors import EngineError
from edge_mpq.records import bundle as bundle_record
from edge_mpq.records import report as report_record
from tests.stream.scripted import bundle

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

RECIPE = inputs.Recipe(96, 64, "pad", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


@pytest.fixture
def folder(tmp_path):
    """A bundle whose model gives the logit 10 red - 5 for every pixel."""
    kernel = onnx.numpy_helper.from_array(np.array([10, 0, 0], np.float32).reshape(1, 3, 1, 1), "kernel")
    bias = onnx.numpy_helper.from_array(np.array([-5], np.float32), "bias")
    make = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Conv", ["frame", "kernel", "bias"], ["logits"], name="redness")],
        "redness",
        [make("frame", onnx.TensorProto.FLOAT, ["batch", 3, RECIPE.height, RECIPE.width])],
        [make("logits", onnx.TensorProto.FLOAT, ["batch", 1, RECIPE.height, RECIPE.width])],
        [kernel, bias],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
    folder = tmp_path / "bundle"
    folder.mkdir()
    onnx.save(model, str(folder / "model.onnx"))
    record = bundle("segment", ["ground", "fire"], RECIPE)
    bundle_record.seal(folder, record._replace(files={"model": "model.onnx"}))
    return folder


def test_what_is_lit_is_found_and_the_engine_is_built_once(folder, tmp_path, capsys):
    frames = testcard.LIT_FRAMES + 4
    words = [str(folder), "--source", "synthetic", "--headless", "--frames", str(frames)]
    assert run.main([*words, "--jsonl", str(tmp_path / "out.jsonl"), "--report", str(tmp_path / "r.json")]) == 0
    assert "building the model engine for onnxruntime (there is none yet)" in capsys.readouterr().err
    labels = [json.loads(line)["label"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert labels == ["fire"] * testcard.LIT_FRAMES + ["ground"] * 4
    report = report_record.load(tmp_path / "r.json")
    assert report.facts["backend"] == "onnxruntime" and "onnxruntime" in report.machine
    assert run.main([*words, "--threads", "2"]) == 0
    assert "building" not in capsys.readouterr().err


def test_a_truncated_model_is_refused_and_leaves_no_engine(folder):
    model = folder / "model.onnx"
    model.write_bytes(model.read_bytes()[:-30])
    bundle_record.seal(folder, bundle("segment", recipe=RECIPE)._replace(files={"model": model.name}))
    with pytest.raises(EngineError, match="whole ONNX file"):
        run.main([str(folder), "--source", "synthetic", "--headless", "--frames", "2"])
    assert not list((folder / "engines").iterdir())
