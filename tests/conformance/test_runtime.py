"""Opening and running on twelve versions, and on devices of several kinds."""

from pathlib import Path

import numpy as np
import pytest

from edge_mpq.engines import tensorrt
from edge_mpq.errors import EngineError
from tests.conformance.building import build, every_version, opened, parts, target_for
from tests.conformance.scene import Scene, plan


def _batch(count: int = 1, seed: int = 0) -> np.ndarray:
    return np.random.RandomState(seed).randn(count, 3, 4, 4).astype(np.float32)


def _right(batch: np.ndarray) -> np.ndarray:
    flat = batch.reshape(len(batch), -1)
    return np.stack([flat.sum(axis=1), flat.max(axis=1)], axis=1)


@every_version
@pytest.mark.parametrize("onnx_batch", [-1, 1])
def test_an_engine_answers_again_and_again(version: str, onnx_batch: int, tmp_path: Path) -> None:
    scene = Scene(version, batch=onnx_batch)
    build(scene, tmp_path)
    with opened(scene, tmp_path, threads=2) as engine:
        assert engine.inputs[0] == ("input", (1, 3, 4, 4), "float32")
        assert engine.outputs[0] == ("output", (1, 2), "float32")
        answers = [engine.infer(_batch(seed=seed))[0] for seed in range(3)]
        for seed, answer in enumerate(answers):  # the first is not overwritten by the last
            np.testing.assert_allclose(answer, _right(_batch(seed=seed)), rtol=1e-5)
        assert engine.captured
    launches = [name for name in scene.cudart.calls if name == "cudaGraphLaunch"]
    assert len(launches) == 3
    assert scene.cudart.leaks() == {}
    used = {"execute_async_v3" if parts(version) >= (8, 5) else "execute_async_v2"}
    assert {name.split(".")[1] for name, _ in scene.made.calls if "execute" in name} == used


@every_version
def test_a_batch_that_varies_runs_without_a_graph(version: str, tmp_path: Path) -> None:
    scene = Scene(version)
    build(scene, tmp_path, options=tensorrt.Options(batch=(1, 2, 4)))
    with opened(scene, tmp_path) as engine:
        assert engine.inputs[0].shape == (None, 3, 4, 4) and engine.outputs[0].shape == (None, 2)
        for count in (4, 1, 3, 2):
            np.testing.assert_allclose(engine.infer(_batch(count))[0], _right(_batch(count)), rtol=1e-5)
        assert not engine.captured
        with pytest.raises(EngineError, match="refuses shape .5, 3, 4, 4. for input 'input'"):
            engine.infer(_batch(5))
        np.testing.assert_allclose(engine.infer(_batch(2))[0], _right(_batch(2)), rtol=1e-5)


@every_version
def test_an_engine_that_cannot_be_recorded_runs_without_a_graph(version: str, tmp_path: Path) -> None:
    build(Scene(version), tmp_path)
    scene = Scene(version, faults=["capture"])
    with opened(scene, tmp_path) as engine:
        np.testing.assert_allclose(engine.infer(_batch())[0], _right(_batch()), rtol=1e-5)
        assert not engine.captured
    assert scene.cudart.captures == {} and scene.cudart.leaks() == {}


@pytest.mark.parametrize(
    ("capability", "integrated", "mapped"),
    [((5, 3), True, False), ((6, 2), True, False), ((7, 2), True, True), ((8, 7), True, True), ((8, 9), False, False)],
)
def test_only_a_coherent_board_reads_host_memory(capability, integrated, mapped, tmp_path: Path) -> None:
    scene = Scene("10.3.0", capability=capability, integrated=integrated)
    build(scene, tmp_path)
    with opened(scene, tmp_path) as engine:
        kinds = sorted(scene.cudart.kinds.values())
        assert kinds.count("device") == (1 if mapped else 2) and kinds.count("host") == 2
        np.testing.assert_allclose(engine.infer(_batch())[0], _right(_batch()), rtol=1e-5)
    assert scene.cudart.leaks() == {}


@every_version
def test_times_go_to_planned_layers(version: str, tmp_path: Path) -> None:
    scene = Scene(version)
    build(scene, tmp_path, plan(target_for(version).name, "fp32", "fp32", "fp32"))
    with opened(scene, tmp_path) as engine:
        times = {time.layer: time.ms for time in engine.profile(_batch(), runs=4)}
        assert times == pytest.approx({"conv1": 2.0, "": 0.5, "conv2": 1.0, "fc": 0.25})
        assert scene.calls("IExecutionContext.profiler=")[-1] == (None,)
        assert engine.gpu_ms(_batch(), runs=3) == [1.5] * 3
        # Measuring leaves the engine as it was.
        np.testing.assert_allclose(engine.infer(_batch())[0], _right(_batch()), rtol=1e-5)


def test_a_batch_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    scene = Scene("8.2.1")
    build(scene, tmp_path)
    with opened(scene, tmp_path) as engine:
        for wrong in (_batch(2), _batch().astype(np.float64), _batch()[0]):
            with pytest.raises(EngineError, match="input 'input' takes float32 .1, 3, 4, 4."):
                engine.infer(wrong)
        engine.close()
        engine.close()


@every_version
def test_an_output_whose_shape_depends_on_the_picture_is_refused(version: str, tmp_path: Path) -> None:
    scene = Scene(version)
    scene.output_rest = (-1,)
    with pytest.raises(EngineError, match="the shape .1, -1. of output 'output' depends on the picture"):
        build(scene, tmp_path)
    assert scene.cudart.leaks() == {}


def test_a_fault_in_the_profiler_arrives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene("8.2.1")
    build(scene, tmp_path)
    with opened(scene, tmp_path) as engine:
        monkeypatch.setattr("edge_mpq.engines._tensorrt_readback.planned_in", lambda *_: 1 // 0)
        monkeypatch.setattr("edge_mpq.engines._tensorrt_readback.kernels", lambda *_: {})
        with pytest.raises(ZeroDivisionError):
            engine.profile(_batch(), runs=1)


def test_memory_that_runs_out_leaves_nothing_behind(tmp_path: Path) -> None:
    scene = Scene("8.2.1", integrated=False)
    build(scene, tmp_path)
    scene.cudart.fail["cudaMalloc"] = 2
    with pytest.raises(EngineError, match="cudaMalloc failed: CUDA error 2.*add swap"):
        opened(scene, tmp_path)
    assert scene.cudart.leaks() == {}
