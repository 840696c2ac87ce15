"""The stand-in is as strict as the bindings, and catches what a version does not have."""

from pathlib import Path
from typing import Any

import pytest

from tests.conformance import strict_api
from tests.conformance.building import VERSIONS, build, every_version, opened, parts, target_for
from tests.conformance.scene import Scene


def _config(trt):
    return strict_api.new(trt, "IBuilderConfig")


def _of(name):
    return lambda trt: strict_api.new(trt, name)


def _set(owner, name, value):
    return lambda trt: setattr(owner(trt), name, value(trt) if callable(value) else value)


# what is called: (the call, the first version that has it, the first that no longer has).
PLANTED = {
    "config.max_workspace_size": (_set(_config, "max_workspace_size", 1), (8, 0), (10, 0)),
    "config.set_memory_pool_limit": (
        lambda trt: _config(trt).set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, 1), (8, 4), None),
    "config.int8_calibrator": (_set(_config, "int8_calibrator", None), (8, 0), (11, 0)),
    "config.set_calibration_profile": (lambda trt: _config(trt).set_calibration_profile(None), (8, 0), (11, 0)),
    "config.progress_monitor": (_set(_config, "progress_monitor", None), (10, 0), None),
    "config.builder_optimization_level": (_set(_config, "builder_optimization_level", 3), (8, 6), None),
    "BuilderFlag.FP16": (lambda trt: trt.BuilderFlag.FP16, (8, 0), (11, 0)),
    "BuilderFlag.STRICT_TYPES": (lambda trt: trt.BuilderFlag.STRICT_TYPES, (8, 0), (10, 0)),
    "BuilderFlag.OBEY": (lambda trt: trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS, (8, 2), (11, 0)),
    "EXPLICIT_BATCH": (lambda trt: trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH, (8, 0), (11, 0)),
    "STRONGLY_TYPED": (lambda trt: trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED, (10, 0), None),
    "builder.max_batch_size": (_set(_of("Builder"), "max_batch_size", 1), (8, 0), (10, 0)),
    "builder.build_engine": (lambda trt: strict_api.new(trt, "Builder").build_engine(None, None), (8, 0), (10, 0)),
    "layer.precision": (_set(_of("ILayer"), "precision", lambda trt: trt.DataType.FLOAT), (8, 0), (11, 0)),
    "tensor.set_dynamic_range": (lambda trt: strict_api.new(trt, "ITensor").set_dynamic_range(-1, 1), (8, 0), (11, 0)),
    "engine.num_bindings": (lambda trt: strict_api.new(trt, "ICudaEngine").num_bindings, (8, 0), (10, 0)),
    "engine.num_io_tensors": (lambda trt: strict_api.new(trt, "ICudaEngine").num_io_tensors, (8, 5), None),
    "engine.create_engine_inspector": (
        lambda trt: strict_api.new(trt, "ICudaEngine").create_engine_inspector(), (8, 2), None),
    "context.execute_async_v2": (
        lambda trt: strict_api.new(trt, "IExecutionContext").execute_async_v2([], 1), (8, 0), (10, 0)),
    "context.execute_async_v3": (
        lambda trt: strict_api.new(trt, "IExecutionContext").execute_async_v3(1), (8, 5), None),
    "IInt8EntropyCalibrator2": (lambda trt: trt.IInt8EntropyCalibrator2, (8, 0), (11, 0)),
    "Builder.platform_has_fast_int8": (
        lambda trt: strict_api.new(trt, "Builder").platform_has_fast_int8, (8, 0), (11, 0)),
}  # fmt: skip


@every_version
@pytest.mark.parametrize("name", PLANTED)
def test_a_call_is_there_exactly_in_the_versions_that_have_it(version: str, name: str) -> None:
    call, since, until = PLANTED[name]
    trt = strict_api.module(version)
    if since <= parts(version) and (until is None or parts(version) < until):
        call(trt)
    else:
        with pytest.raises(AttributeError):
            call(trt)


@every_version
def test_every_version_catches_some_of_the_planted_calls(version: str) -> None:
    caught = [name for name, (_, since, until) in PLANTED.items()
              if parts(version) < since or (until is not None and parts(version) >= until)]  # fmt: skip
    assert len(caught) >= 2


def _workspace(monkeypatch: pytest.MonkeyPatch) -> tuple:
    from edge_mpq.engines import _tensorrt_build as steps

    original = steps.configure

    def configure(trt, builder, config, *rest):
        original(trt, builder, config, *rest)
        config.max_workspace_size = 1 << 20

    monkeypatch.setattr(steps, "configure", configure)
    return (8, 0), (10, 0)


def _monitor(monkeypatch: pytest.MonkeyPatch) -> tuple:
    from edge_mpq.engines import _tensorrt_timing as timing

    original = timing.attach

    def attach(config, path):
        config.progress_monitor = None
        return original(config, path)

    monkeypatch.setattr(timing, "attach", attach)
    return (10, 0), None


def _half(monkeypatch: pytest.MonkeyPatch) -> tuple:
    from edge_mpq.engines import _tensorrt_build as steps

    original = steps.shape_inputs

    def shape_inputs(builder, config, network, *rest):
        network.get_layer(0).reset_precision()
        original(builder, config, network, *rest)

    monkeypatch.setattr(steps, "shape_inputs", shape_inputs)
    return (8, 0), (11, 0)


def _bindings(monkeypatch: pytest.MonkeyPatch) -> tuple:
    from edge_mpq.engines import _tensorrt_runtime as running
    from edge_mpq.engines._tensorrt_tensors import Bindings

    monkeypatch.setattr(running, "tensors_of", Bindings)
    return (8, 0), (10, 0)


def _named(monkeypatch: pytest.MonkeyPatch) -> tuple:
    from edge_mpq.engines import _tensorrt_runtime as running
    from edge_mpq.engines._tensorrt_tensors import Named

    monkeypatch.setattr(running, "tensors_of", Named)
    return (8, 5), None


@every_version
@pytest.mark.parametrize("plant", [_workspace, _monitor, _half, _bindings, _named])
def test_a_wrong_call_planted_in_the_build_is_caught(version, plant, monkeypatch, tmp_path) -> None:
    since, until = plant(monkeypatch)
    if since <= parts(version) and (until is None or parts(version) < until):
        scene = Scene(version)
        build(scene, tmp_path, target=target_for(version))
        opened(scene, tmp_path).close()
    else:
        with pytest.raises(AttributeError):
            build(Scene(version), tmp_path, target=target_for(version))


@every_version
def test_arities_constructors_and_enumerations_are_strict(version: str) -> None:
    trt = strict_api.module(version)
    network = strict_api.new(trt, "INetworkDefinition")
    for wrong in (
        lambda: network.get_layer(),
        lambda: network.get_layer(0, 1),
        lambda: network.get_layer(number=0),
        lambda: trt.ILogger().log(trt.Logger.ERROR),
        lambda: trt.IBuilderConfig(),
        lambda: trt.Builder(),
        lambda: 1 << trt.BuilderFlag.TF32,
    ):
        with pytest.raises(TypeError):
            wrong()
    with pytest.raises(AttributeError):
        network.num_layers = 3
    with pytest.raises(AttributeError):
        network.number_of_layers = 3
    assert network.num_layers == 1 and network.name == "" and network.get_layer(index=0).name == ""
    assert int(trt.DataType.HALF) == 1 and trt.DataType.HALF.name == "HALF"
    assert trt.calls[-1] == ("INetworkDefinition.get_layer", (0,))


@every_version
def test_a_class_over_an_interface_must_call_its_constructor(version: str) -> None:
    trt = strict_api.module(version)

    base: Any = trt.IProfiler

    class Forgetful(base):
        def __init__(self) -> None:
            self.times: list = []

    with pytest.raises(TypeError, match="IProfiler.__init__.. must be called when overriding __init__"):
        strict_api.new(trt, "IExecutionContext").profiler = Forgetful()


def test_an_answer_for_what_no_version_has_is_a_mistake_of_the_test() -> None:
    assert len(VERSIONS) == 12
    with pytest.raises(AssertionError, match="Builder.make_tea"):
        strict_api.module("10.3.0", {"Builder.make_tea": 1})


def test_the_table_is_small_enough_to_travel() -> None:
    assert Path(strict_api.TABLE).stat().st_size < 150_000
