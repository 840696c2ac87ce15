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


FLAGS = ("trt_fp16_enable", "trt_int8_enable")
ORIN, NANO = targets.get("jetson-orin-nano"), targets.get("jetson-nano")


@pytest.mark.parametrize(
    ("data", "asked", "target", "wanted"),
    [
        (b"Conv", {}, ORIN, (False, False)),
        (b"Conv", {"a": "fp32", "b": "fp32"}, ORIN, (False, False)),
        (b"Conv", {"a": "fp32", "b": "fp16"}, NANO, (True, False)),
        (b"Conv QuantizeLinear", {"a": "w8a8"}, ORIN, (True, True)),
        (b"Conv QuantizeLinear", {}, ORIN, (True, True)),
        (b"Conv QuantizeLinear", {}, targets.get("cpu-x86-vnni"), (False, True)),
    ],
)
def test_tensorrt_is_let_use_what_is_asked_for_and_no_more(data, asked, target, wanted) -> None:
    settings = gpu.tensorrt_settings(data, asked, target, {"x": [None, 3, 8, 8]}, "kept")
    assert tuple(settings[name] for name in FLAGS) == wanted


def test_a_free_batch_gets_a_profile_and_a_fixed_one_none(engine: Path) -> None:
    free = gpu._settings(gpu.TENSORRT, engine, "kept", {}, ORIN)
    bounds = {free[f"trt_profile_{end}_shapes"] for end in ("min", "opt", "max")}
    assert bounds == {"x:1x3x8x8"}
    assert free["trt_engine_cache_path"] == free["trt_timing_cache_path"] == "kept"
    fixed = gpu.tensorrt_settings(b"", {}, ORIN, {"x": [4, 3, 8, 8]}, "kept")
    assert not [name for name in fixed if "profile" in name]
    assert gpu._settings("CUDAExecutionProvider", engine, "kept", {}, ORIN) == {}


def test_where_the_profile_is_of_one_picture_the_engine_says_so() -> None:
    free, fixed = (base.TensorSpec("x", (extent, 3, 8, 8), "float32") for extent in (None, 4))
    assert gpu.of_profile(gpu.TENSORRT, free).shape == (1, 3, 8, 8)
    assert gpu.of_profile(gpu.TENSORRT, fixed) == fixed
    assert gpu.of_profile("CUDAExecutionProvider", free) == free


@pytest.mark.parametrize(
    ("operation", "kind", "provider", "short"),
    [
        ("Conv", "float", "CUDA", "fp32"),
        ("Conv", "float16", "CUDA", "fp16"),
        ("FusedConv", "bfloat16", "CUDA", "bf16"),
        ("Gemm", "float16", gpu.CPU, "fp16 on CPU"),
        ("QLinearConv", "uint8", gpu.CPU, "w4a8 on CPU"),
        ("Conv", "", "CUDA", "fp32"),
    ],
)
def test_the_type_that_ran_is_read_from_the_profile(operation: str, kind: str, provider: str, short: str) -> None:
    ran = gpu.Ran("conv", operation, provider, kind, 1.0)
    assert gpu.short_name("conv", ran, {"conv": "w4a8"}, "CUDA") == short


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
