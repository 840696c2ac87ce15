"""What is refused before TensorRT is asked, and what is told when TensorRT itself refuses."""

from pathlib import Path

import pytest

from edge_mpq.engines import tensorrt
from edge_mpq.errors import EngineError
from edge_mpq.records import target as targets
from tests.conformance.building import build, every_version, opened, parts, target_for, with_calibrators
from tests.conformance.scene import Scene, plan

NANO = targets.get("jetson-nano")


@pytest.mark.parametrize("board", ["jetson-nano", "jetson-tx2"])
def test_a_board_without_int8_gets_no_q_dq(board: str, tmp_path: Path) -> None:
    target = targets.get(board)
    with pytest.raises(EngineError, match="holds Q/DQ nodes, and this GPU runs no int8.*mix of fp16 and fp32"):
        build(Scene("8.2.1", quantized=True), tmp_path, target=target)
    with pytest.raises(EngineError, match="asks for int8, " + board):
        build(Scene("8.2.1"), tmp_path, plan(board, "int8", "fp16", "fp16"), target)
    assert not (tmp_path / "model.engine").exists()


def test_a_gpu_that_says_it_has_no_int8_gets_no_q_dq_either(tmp_path: Path) -> None:
    scene = Scene("8.2.1", quantized=True)
    scene.made.Builder.platform_has_fast_int8 = property(lambda builder: False)
    with pytest.raises(EngineError, match="this GPU runs no int8"):
        build(scene, tmp_path, target=targets.get("jetson-xavier-nx-jetpack4"))


@pytest.mark.parametrize("version", ["11.0.0.114", "11.4.0.106"])
def test_hints_mean_nothing_where_types_bind(version: str, tmp_path: Path) -> None:
    target = targets.get("jetson-agx-orin")
    with pytest.raises(EngineError, match="made for jetson-agx-orin.*export again for tensorrt-11-x86"):
        build(Scene(version), tmp_path, plan(target.name, "fp16", "fp16", "fp32"), target)
    # All float is what such a network is.
    build(Scene(version), tmp_path, plan(target.name, "fp32", "fp32", "fp32"), target)


@pytest.mark.parametrize(
    ("version", "board", "told"),
    [
        ("8.5.2", "jetson-orin-nano", "opset 20, for Jetson Orin Nano.*TensorRT 8.5.2 reads up to 17 and misreads"),
        ("8.6.1", "jetson-agx-orin", "TensorRT 8.6.1 reads up to 17.*quantize with a --target of the TensorRT"),
        ("8.2.1", "jetson-xavier-nx", "TensorRT 8.2.1 reads up to 13"),
        ("8.2.1", "jetson-xavier-nx-jetpack4", ""),
        ("8.0.1", "jetson-nano", ""),
        ("8.6.1", "jetson-orin-nano-jetpack5", ""),
        ("10.3.0", "jetson-orin-nano-jetpack5", ""),
    ],
)
def test_an_onnx_newer_than_the_parser_is_refused(version: str, board: str, told: str, tmp_path: Path) -> None:
    if not told:
        build(Scene(version), tmp_path, target=targets.get(board))
        return
    with pytest.raises(EngineError, match=told):
        build(Scene(version), tmp_path, target=targets.get(board))
    assert not (tmp_path / "model.engine").exists()


def test_a_target_of_another_backend_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="cpu-x86-vnni is no TensorRT target"):
        build(Scene("10.3.0"), tmp_path, target=targets.get("cpu-x86-vnni"))


def test_a_format_the_version_has_not_is_refused(tmp_path: Path) -> None:
    target = targets.get("jetson-xavier-nx")
    with pytest.raises(EngineError, match="TensorRT 8.5.2 does not know bf16"):
        build(Scene("8.5.2"), tmp_path, plan(target.name, "bf16", "fp16", "fp32"), target)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"batch": (2, 1, 4)}, "a batch of 2, 1 and 4 pictures"),
        ({"batch": (0, 1, 1)}, "a batch of 0, 1 and 1 pictures"),
        ({"workspace_mib": 0, "level": 9}, "a workspace of 0 MiB is none; there is no builder level 9"),
        ({"dla_core": -1}, "there is no DLA core -1"),
    ],
)
def test_options_that_no_tensorrt_takes_are_refused(given: dict, told: str, tmp_path: Path) -> None:
    scene = Scene("10.3.0")
    with pytest.raises(EngineError, match=told):
        build(scene, tmp_path, options=tensorrt.Options(**given))
    assert not scene.made.calls


def test_no_model_no_build(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="no model at .*nothing.onnx; export one"):
        tensorrt.build(tmp_path / "nothing.onnx", tmp_path / "e", NANO)


def test_a_machine_without_tensorrt_is_told_where_it_comes_from(tmp_path: Path) -> None:
    pytest.importorskip("numpy")
    try:
        import tensorrt as installed  # noqa: F401
    except ImportError:
        (tmp_path / "model.onnx").write_bytes(b"")
        with pytest.raises(EngineError, match="TensorRT does not import.*system's python3.*pip install tensorrt"):
            tensorrt.build(tmp_path / "model.onnx", tmp_path / "e", NANO)
    else:
        pytest.skip("TensorRT is installed here")


@every_version
def test_cuda_that_does_not_start_is_named(version: str, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="made no builder: CUDA did not start; the driver is missing"):
        build(Scene(version, faults=["builder"]), tmp_path)


@every_version
def test_the_parsers_words_are_in_the_error(version: str, tmp_path: Path) -> None:
    where = "node 7" if parts(version) < (10,) else "node 7|node "
    with pytest.raises(EngineError, match=f"cannot read .*model.onnx: ({where}).*No importer registered for op: Foo"):
        build(Scene(version, faults=["parse"]), tmp_path)


@every_version
def test_the_builders_words_are_in_the_error(version: str, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="built no engine: Could not find any implementation for node conv2"):
        build(Scene(version, faults=["build"]), tmp_path)
    assert not list(tmp_path.glob("model.engine*"))


@every_version
def test_an_engine_that_does_not_run_is_not_written(version: str, tmp_path: Path) -> None:
    scene = Scene(version, faults=["run"])
    with pytest.raises(EngineError, match="TensorRT did not run: the run went wrong"):
        build(scene, tmp_path)
    assert not list(tmp_path.glob("model.engine*"))
    assert scene.cudart.leaks() == {}


@every_version
def test_a_plan_of_another_tensorrt_is_named(version: str, tmp_path: Path) -> None:
    build(Scene(version), tmp_path)
    scene = Scene(version, faults=["deserialize"])
    major = version.split(".")[0]
    told = rf"written by TensorRT {major}\.3\.0\.0\): Version tag does not match; .*again"
    with pytest.raises(EngineError, match=told):
        opened(scene, tmp_path)


def test_an_engine_of_another_version_or_device_is_refused(tmp_path: Path) -> None:
    build(Scene("10.3.0"), tmp_path)
    with pytest.raises(EngineError, match="built by TensorRT 10.3.0, this is 10.7.0"):
        opened(Scene("10.7.0"), tmp_path)
    with pytest.raises(EngineError, match="was built on 'Orin sm_87 with 8 SMs', this is 'Orin sm_72 with 8 SMs'"):
        opened(Scene("10.3.0", capability=(7, 2)), tmp_path)


@with_calibrators
def test_free_axes_other_than_the_batch_are_refused(version: str, tmp_path: Path) -> None:
    scene = Scene(version)
    scene.picture = (3, -1, -1)
    with pytest.raises(EngineError, match="axes other than the batch are free; export the model with a fixed"):
        build(scene, tmp_path, target=target_for(version))
