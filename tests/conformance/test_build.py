"""The whole build on the strict API of twelve versions: what is called, and what is not."""

import os
import signal
import sys
from pathlib import Path

import pytest

from edge_mpq.engines import tensorrt
from edge_mpq.records import engine as engine_record
from edge_mpq.records import target as targets
from tests.conformance.building import VERSIONS, build, every_version, opened, parts, target_for
from tests.conformance.scene import Scene, plan

WORKSPACE = 512 << 20  # a sixteenth of an Orin Nano's 8 GiB


def _mix(version: str):
    """A mix of float and half for a weak target, floats for a typed one, whose ONNX says the rest."""
    target = target_for(version)
    return plan(target.name, "fp16", "fp32", "fp16")


@every_version
def test_a_float_model_builds_with_no_precision_flag(version: str, tmp_path: Path) -> None:
    scene = Scene(version)
    card = build(scene, tmp_path)
    assert scene.flags() == set()
    assert not scene.calls("ILayer.precision=")
    typed = parts(version) >= (11,)
    assert scene.creation_flags() == ({"STRONGLY_TYPED"} if typed else {"EXPLICIT_BATCH"})
    assert scene.calls("IBuilderConfig.clear_flag") == [(scene.made.BuilderFlag.TF32,)]
    assert card.asked == {} and set(card.got.values()) <= {"fp32"}
    assert set(card.got) == (set() if parts(version) < (8, 2) else {"conv1", "conv2", "fc"})
    assert engine_record.load(tmp_path / "model.engine.json") == card


@every_version
def test_workspace_goes_where_the_version_has_it(version: str, tmp_path: Path) -> None:
    scene = Scene(version)
    build(scene, tmp_path, target=target_for(version)._replace(memory_gib=8))
    if parts(version) < (8, 4):
        assert scene.calls("IBuilderConfig.max_workspace_size=") == [(WORKSPACE,)]
    else:
        limit = (scene.made.MemoryPoolType.WORKSPACE, WORKSPACE)
        assert scene.calls("IBuilderConfig.set_memory_pool_limit") == [limit]
        assert not scene.calls("IBuilderConfig.max_workspace_size=")


@every_version
def test_a_mix_of_half_and_float_is_asked_for_by_layer(version: str, tmp_path: Path) -> None:
    scene = Scene(version)
    card = build(scene, tmp_path, _mix(version))
    asked = [(arguments[0].name) for arguments in scene.calls("ILayer.precision=")]
    if parts(version) >= (11,):
        assert scene.flags() == set() and asked == []
        return
    flag = "STRICT_TYPES" if parts(version) < (8, 2) else "OBEY_PRECISION_CONSTRAINTS"
    assert scene.flags() == {"FP16", flag}
    # conv1, conv2, and the product and the sum that fc became; not the shape layer, nor relu, which is free.
    assert asked == ["HALF", "FLOAT", "HALF", "HALF"]
    # The sum writes the network's output, whose type stays.
    assert [arguments[1].name for arguments in scene.calls("ILayer.set_output_type")] == ["HALF", "FLOAT", "HALF"]
    assert card.asked == {"conv1": "fp16", "conv2": "fp32", "fc": "fp16"}
    assert card.mismatches() == ([] if parts(version) >= (8, 2) else [(k, v, "unknown") for k, v in card.asked.items()])


@every_version
def test_q_dq_needs_the_int8_flag_and_half_beside_it(version: str, tmp_path: Path) -> None:
    scene = Scene(version, quantized=True)
    name = target_for(version).name
    card = build(scene, tmp_path, plan(name, "int8", "fp32", "fp16"))
    assert card.asked["conv1"] == "w8a8"
    if parts(version) >= (11,):
        assert scene.flags() == set()
        return
    assert {"INT8", "FP16"} <= scene.flags()
    # Q/DQ say what is int8; conv1 is not asked for by name.
    assert [arguments[0].name for arguments in scene.calls("ILayer.precision=")] == ["FLOAT", "HALF", "HALF"]
    assert card.mismatches() == [] or parts(version) < (8, 2)


@every_version
def test_q_dq_without_a_plan_is_int8_too(version: str, tmp_path: Path) -> None:
    scene = Scene(version, quantized=True)
    build(scene, tmp_path)
    assert scene.flags() == (set() if parts(version) >= (11,) else {"INT8", "FP16"})


@every_version
def test_a_typed_network_takes_no_precision_flag(version: str, tmp_path: Path) -> None:
    scene = Scene(version, quantized=True)
    target = targets.get("jetson-thor")
    planned = plan(target.name, "int8", "fp16", "fp8")
    if parts(version) < (10, 13):
        told = "strongly typed network.*10.13 or later" if parts(version) < (10,) else "opset 24, for Jetson Thor"
        with pytest.raises(tensorrt.EngineError, match=told):
            build(scene, tmp_path, planned, target)
        assert not scene.calls("Builder.build_serialized_network")
        return
    card = build(scene, tmp_path, planned, target)
    assert scene.flags() == set() and not scene.calls("ILayer.precision=")
    assert "STRONGLY_TYPED" in scene.creation_flags()
    assert ("conv2", "fp16", "fp32") in card.mismatches()


@every_version
def test_a_free_batch_axis_gets_a_profile_and_a_fixed_one_none(version: str, tmp_path: Path) -> None:
    scene = Scene(version, batch=-1)
    build(scene, tmp_path, options=tensorrt.Options(batch=(1, 2, 4)))
    ((name, *shapes),) = scene.calls("IOptimizationProfile.set_shape")
    assert (name, shapes) == ("input", [(1, 3, 4, 4), (2, 3, 4, 4), (4, 3, 4, 4)])
    assert len(scene.calls("IBuilderConfig.add_optimization_profile")) == 1
    fixed = Scene(version, batch=2)
    build(fixed, tmp_path)
    assert not fixed.calls("IBuilderConfig.add_optimization_profile")


@every_version
def test_details_are_asked_for_where_there_is_an_inspector(version: str, tmp_path: Path) -> None:
    scene = Scene(version)
    level = 4 if parts(version) >= (8, 6) else None
    build(scene, tmp_path, options=tensorrt.Options(level=level), threads=2)
    verbosity = [arguments[0].name for arguments in scene.calls("IBuilderConfig.profiling_verbosity=")]
    assert verbosity in ([], ["DETAILED"], ["VERBOSE"]) and bool(verbosity) == (parts(version) >= (8, 2))
    assert scene.calls("IBuilderConfig.builder_optimization_level=") == ([(level,)] if level else [])
    assert scene.calls("Builder.max_threads=") == ([(2,)] if parts(version) >= (8, 4) else [])


@every_version
def test_the_next_build_starts_from_the_timing_cache(version: str, tmp_path: Path) -> None:
    first, second = Scene(version), Scene(version)
    build(first, tmp_path)
    build(second, tmp_path)
    assert first.calls("IBuilderConfig.create_timing_cache") == [(b"",)]
    assert second.calls("IBuilderConfig.create_timing_cache") == [(b"timed",)]
    (cache,) = (tmp_path / "timing").iterdir()
    assert cache.name == f"{version}-orin-sm-87-with-8-sms.timing"
    # Another device keeps another cache.
    build(Scene(version, capability=(7, 2)), tmp_path)
    assert len(list((tmp_path / "timing").iterdir())) == 2


@every_version
def test_dla_takes_half_with_the_gpu_behind_it(version: str, tmp_path: Path) -> None:
    scene, target = Scene(version), target_for(version)
    half, options = plan(target.name, "fp16", "fp16", "fp16"), tensorrt.Options(dla_core=1)
    if parts(version) >= (11,):
        with pytest.raises(tensorrt.EngineError, match="DLA runs fp16 and int8"):
            build(scene, tmp_path, half, options=options)
        return
    build(scene, tmp_path, half, options=options)
    limit = "STRICT_TYPES" if parts(version) < (8, 2) else "PREFER_PRECISION_CONSTRAINTS"
    assert scene.flags() == {"FP16", "GPU_FALLBACK", limit}
    assert scene.calls("IBuilderConfig.DLA_core=") == [(1,)]
    with pytest.raises(tensorrt.EngineError, match="no DLA core 2; this board has 2"):
        build(Scene(version), tmp_path, half, options=tensorrt.Options(dla_core=2))


@every_version
def test_progress_comes_from_the_monitor_or_from_the_log(version: str, tmp_path: Path) -> None:
    told: list[tuple] = []
    build(Scene(version), tmp_path, tell=lambda *what: told.append(what))
    if parts(version) >= (10,):
        assert told == [("Building", 0, 2), ("Building", 1, 2), ("Building", 2, 2)]
    else:
        assert told == [("timing kernels", 1, 6), ("timing kernels", 2, 6)]


@every_version
def test_ctrl_c_in_the_middle_of_a_build_arrives(version: str, tmp_path: Path) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(Scene(version), tmp_path, tell=interrupt)
    assert not (tmp_path / "model.engine").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@every_version
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_tensorrt_builds_waits_for_it(version: str, stop: signal.Signals, tmp_path, monkeypatch) -> None:
    def handler(*_: object) -> None:
        raise KeyboardInterrupt(stop.name)

    scene, returned, done = Scene(version), [], Scene.build

    def interrupted(self: Scene, *arguments: object) -> object:
        os.kill(os.getpid(), stop)
        returned.append(done(self, *arguments))
        return returned[0]

    before = signal.signal(stop, handler)
    try:
        monkeypatch.setattr(Scene, "build", interrupted)
        with pytest.raises(KeyboardInterrupt, match=stop.name):
            build(scene, tmp_path)
        # No callback met it, what was timed is kept for the next build, and the handler is back.
        assert returned and returned[0] is not None
        assert (tmp_path / "timing").is_dir() and not (tmp_path / "model.engine").exists()
        assert signal.getsignal(stop) is handler
    finally:
        signal.signal(stop, before)


@every_version
def test_the_runtime_is_told_the_dla_core(version: str, tmp_path: Path) -> None:
    if parts(version) >= (11,):
        pytest.skip("builds by hints are for TensorRT before 11")
    half = plan(target_for(version).name, "fp16", "fp16", "fp16")
    scene = Scene(version)
    card = build(scene, tmp_path, half, options=tensorrt.Options(dla_core=1))
    assert card.settings == {"dla_core": "1"} and scene.calls("Runtime.DLA_core=") == [(1,)]
    again = Scene(version)
    with opened(again, tmp_path):
        assert again.calls("Runtime.DLA_core=") == [(1,)]
    build(again, tmp_path, half)
    assert len(again.calls("Runtime.DLA_core=")) == 1


@pytest.mark.parametrize("version", [name for name in VERSIONS if parts(name) < (8, 6)])
def test_a_builder_without_levels_refuses_one(version: str, tmp_path: Path) -> None:
    with pytest.raises(tensorrt.EngineError, match="has no builder level; it came with 8.6; leave --level out"):
        build(Scene(version), tmp_path, options=tensorrt.Options(level=4))
