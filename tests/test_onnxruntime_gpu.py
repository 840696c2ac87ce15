"""The path that ONNX Runtime's GPU providers take, walked with the provider every machine has."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from edge_mpq import engines
from edge_mpq.engines import _onnxruntime_gpu as gpu
from edge_mpq.engines import base
from edge_mpq.errors import EngineError
from edge_mpq.records import target as targets
from tests.laws.test_engines import small_onnx

TARGET = targets.get("jetson-agx-orin")


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    onnx.save(small_onnx(), tmp_path / "small.onnx")
    gpu.build(gpu.CPU, "onnxruntime_cuda", tmp_path / "small.onnx", tmp_path / "small.engine", TARGET)
    return tmp_path / "small.engine"


def test_the_card_says_what_ran_each_layer(engine: Path) -> None:
    card = base.verified_card(engine, "onnxruntime_cuda", gpu.device(gpu.CPU))
    assert card.got == {"conv": "fp32", "head": "fp32"}
    assert card.versions["provider"] == gpu.CPU


def test_it_answers_and_times_its_layers(engine: Path) -> None:
    card = base.verified_card(engine, "onnxruntime_cuda", gpu.device(gpu.CPU))
    batch = np.random.default_rng(1).normal(size=(2, 3, 8, 8)).astype(np.float32)
    plain = engines.get("onnxruntime")
    plain.build(engine.parent / "small.onnx", engine.parent / "plain.engine", targets.get("cpu-x86-vnni"))
    with gpu.GpuEngine(gpu.CPU, engine, card, 1) as opened, plain.open(engine.parent / "plain.engine") as other:
        assert np.allclose(opened.infer(batch)[0], other.infer(batch)[0], atol=1e-5)
        times = {item.layer: item.ms for item in opened.profile(batch, 2)}
    assert {"conv", "head"} <= set(times) and all(ms >= 0 for ms in times.values())


@pytest.mark.parametrize("name", ["onnxruntime_cuda", "onnxruntime_tensorrt"])
def test_a_missing_provider_is_told_by_name(name: str, engine: Path) -> None:
    module = engines.get(name)
    if module.PROVIDER in gpu.onnxruntime.library().get_available_providers():
        pytest.skip(f"{module.PROVIDER} is here")
    with pytest.raises(EngineError, match=f"no {module.PROVIDER}"):
        module.build(engine.parent / "small.onnx", engine.parent / "other.engine", TARGET)
    with pytest.raises(EngineError, match=f"no {module.PROVIDER}"):
        module.open(engine)
    assert not (engine.parent / "other.engine").exists()
