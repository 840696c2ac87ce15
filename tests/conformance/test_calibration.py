"""Calibrators on every version that has them: what they give, what they guard, what they notice."""

from pathlib import Path

import numpy as np
import pytest

import calibrators
from calibrators import cache as caches
from calibrators import entropy2, minmax, percentile
from edge_mpq.engines import inputs, tensorrt
from edge_mpq.errors import CalibrationError, EngineError
from edge_mpq.records import bundle as bundles
from edge_mpq.records import target as targets
from edge_mpq.records.ranges import RangeTable
from export import engine_from_onnx
from tests.attacks.packing import write_folder
from tests.conformance.building import build, target_for, with_calibrators, without_calibrators
from tests.conformance.scene import Scene, plan

METHODS = [name for name in calibrators.names() if name != "percentile"]


class Pictures:
    """Batches that are what the test says, and may raise in their middle."""

    def __init__(self, batches: list, size: int = 2, error: BaseException | None = None) -> None:
        self.batches, self.size, self.error = batches, size, error

    def __iter__(self):
        yield from self.batches
        if self.error is not None:
            raise self.error


def _batches(count: int = 3, size: int = 2) -> list:
    random = np.random.RandomState(0)
    return [random.randn(size, 3, 4, 4).astype(np.float32) for _ in range(count)]


def _int8(version: str):
    return plan(target_for(version).name, "int8", "int8", "fp16")


def _ranges() -> caches.Cache:
    table = RangeTable({"input": (-1.0, 2.0), "conv1": (0.0, 6.0), "conv2": (-3.0, 3.0)}, "percentile", 500)
    return caches.from_ranges(table, "EntropyCalibration2", (8, 2, 1))


def test_every_method_is_a_file() -> None:
    assert calibrators.names() == ["entropy", "entropy2", "minmax", "percentile"]
    assert calibrators.get("minmax").ALGORITHM == "MinMaxCalibration"


@with_calibrators
@pytest.mark.parametrize("method", METHODS)
def test_all_batches_are_seen_and_a_cache_is_written(version: str, method: str, tmp_path: Path) -> None:
    scene, batches = Scene(version), _batches()
    calibration = calibrators.get(method).calibration(Pictures(batches))
    card = build(scene, tmp_path, _int8(version), calibration=calibration)
    assert (calibration.consumed, scene.calibration_batches) == (6, 3)
    written = caches.parse(calibration.written.decode())
    greatest = max(float(np.abs(batch).max()) for batch in batches)
    assert written.scales["input"] * 127 == pytest.approx(greatest, rel=1e-6)
    assert written.algorithm == calibrators.get(method).ALGORITHM
    assert {"INT8", "FP16"} <= scene.flags()
    assert scene.cudart.leaks() == {}
    # The calibrator sees batches of its own size, the engine those of the options.
    shapes = [arguments[1:] for arguments in scene.calls("IOptimizationProfile.set_shape")]
    assert shapes == [((1, 3, 4, 4),) * 3, ((2, 3, 4, 4),) * 3]
    assert len(scene.calls("IBuilderConfig.set_calibration_profile")) == 1
    # int8 layers are preferred, not demanded: for some there is no kernel.
    assert [arguments[0].name for arguments in scene.calls("ILayer.precision=")] == ["INT8", "INT8", "HALF", "HALF"]
    assert "OBEY_PRECISION_CONSTRAINTS" not in scene.flags()
    assert card.mismatches() == [] or version == "8.0.1"


@with_calibrators
def test_what_was_measured_stays_beside_the_engine(version: str, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "bundle", target_for(version).name)
    made = bundles.open_folder(folder)
    recipe = inputs.fingerprint(inputs.from_json(made.recipe))

    def built(calibration) -> None:
        scene = Scene(version)
        given = {"options": tensorrt.Options(timing=str(tmp_path / "timing")), "calibration": calibration}
        engine_from_onnx.build(folder, "calibrated", trt=scene.made, device=scene.device, **given)

    measured = minmax.calibration(Pictures(_batches()))
    measured.batches.data = "seen"
    built(measured)
    path = folder / "engines" / "calibrated.cache"
    kept, sidecar = caches.load(path, folder / made.files["fp32"], recipe)
    assert caches.text(kept).encode() == measured.written == path.read_bytes()
    assert (sidecar.pictures, sidecar.algorithm, sidecar.data) == (6, "MinMaxCalibration", "seen")
    built(minmax.calibration(cache=kept))  # an engine of the same scales that saw no picture
    assert sorted(path.name for path in path.parent.iterdir()) == ["calibrated.engine", "calibrated.engine.json"]


def test_what_is_no_cache_is_not_kept(tmp_path: Path) -> None:
    calibration = entropy2.calibration(Pictures(_batches()))
    calibration.written = b"TRT-8201-\xff"
    with pytest.raises(CalibrationError, match="this is no calibration cache"):
        caches.keep(tmp_path / "c", calibration, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


@with_calibrators
@pytest.mark.parametrize("method", METHODS)
def test_a_cache_from_the_host_needs_no_picture(version: str, method: str, tmp_path: Path) -> None:
    scene = Scene(version)
    calibration = calibrators.get(method).calibration(cache=_ranges())
    build(scene, tmp_path, _int8(version), calibration=calibration)
    assert (calibration.consumed, scene.calibration_batches, calibration.written) == (0, 0, None)
    header = calibration._offered.decode().split("\n")[0]
    number = {"8.0.1": 8001, "8.2.1": 8201, "8.5.2": 8502, "8.6.1": 8601, "10.3.0": 100300}
    if version in number:
        assert header == f"TRT-{number[version]}-{calibrators.get(method).ALGORITHM}"


@with_calibrators
@pytest.mark.parametrize("error", [ValueError("torn picture"), KeyboardInterrupt(), SystemExit(3)])
def test_what_a_callback_raises_arrives_after_the_build(version: str, error: BaseException, tmp_path: Path) -> None:
    calibration = entropy2.calibration(Pictures(_batches(1), error=error))
    scene = Scene(version)
    with pytest.raises(type(error)) as raised:
        build(scene, tmp_path, _int8(version), calibration=calibration)
    assert raised.value is error
    assert not list(tmp_path.glob("model.engine*")) and scene.cudart.leaks() == {}


@pytest.mark.parametrize("version", ["8.0.1", "10.3.0"])
@pytest.mark.parametrize(
    ("batches", "told"),
    [
        ([np.zeros((1, 3, 4, 4), np.float32)], "has 1 pictures, not 2; give whole batches"),
        ([np.full((2, 3, 4, 4), np.nan, np.float32)], "holds NaN or infinity"),
        ([{"other": np.zeros((2, 3, 4, 4), np.float32)}], "has no input, which TensorRT asks for"),
        ([*_batches(1), np.zeros((2, 3, 8, 8), np.float32)], "differ in shape"),
    ],
)
def test_a_bad_batch_is_told(version: str, batches: list, told: str, tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match=told):
        build(Scene(version), tmp_path, _int8(version), calibration=entropy2.calibration(Pictures(batches)))


@with_calibrators
def test_no_picture_at_all_is_told(version: str, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="Calibration failure occurred with no scaling factors"):
        build(Scene(version), tmp_path, _int8(version), calibration=entropy2.calibration(Pictures([])))
    with pytest.raises(CalibrationError, match="neither a picture nor a cache"):
        entropy2.calibration()


def test_a_build_that_never_asked_is_no_calibration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scene, "calibrate", lambda scene, calibrator: True)
    with pytest.raises(CalibrationError, match="took neither the calibration cache nor a picture"):
        build(Scene("8.5.2"), tmp_path, _int8("8.5.2"), calibration=entropy2.calibration(Pictures(_batches())))


def test_a_cache_that_is_not_written_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def calibrate(scene: Scene, calibrator) -> bool:
        return bool(calibrator.get_batch_size() and calibrator.get_batch(["input"]))

    monkeypatch.setattr(Scene, "calibrate", calibrate)
    with pytest.raises(CalibrationError, match="saw 2 pictures and wrote no calibration cache"):
        build(Scene("8.5.2"), tmp_path, _int8("8.5.2"), calibration=entropy2.calibration(Pictures(_batches())))


def test_a_cache_that_tensorrt_refuses_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scene, "calibrate", lambda scene, calibrator: calibrator.get_batch(["input"]) is None)
    with pytest.raises(CalibrationError, match="write it again for this one, or give pictures"):
        build(Scene("8.5.2"), tmp_path, _int8("8.5.2"), calibration=entropy2.calibration(cache=_ranges()))


def test_addresses_follow_the_order_of_the_names() -> None:
    scene = Scene("8.5.2")
    calibration = entropy2.calibration(Pictures([
        {"a": np.full((2, 1), 1, np.float32), "b": np.full((2, 3), 2, np.float32)} for _ in range(2)
    ]))  # fmt: skip
    calibration.attach(scene.made, None, strict_config(scene), scene.device)
    first, second = calibration.get_batch(["a", "b"]), calibration.get_batch(["b", "a"])
    assert first == second[::-1]  # one buffer for each input
    assert calibration.get_batch(["a", "b"]) is None
    calibration._free()
    assert scene.cudart.leaks() == {}


def strict_config(scene: Scene):
    """A builder configuration of the scene's version."""
    return scene._new("IBuilderConfig")


def test_a_network_of_a_fixed_batch_wants_batches_of_it(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="takes 4 pictures, calibration gives 2; calibrate in batches of 4"):
        build(Scene("8.5.2", batch=4), tmp_path, _int8("8.5.2"), calibration=entropy2.calibration(Pictures(_batches())))
    four = Pictures(_batches(size=4), size=4)
    scene = Scene("8.5.2", batch=4)
    build(scene, tmp_path, _int8("8.5.2"), calibration=entropy2.calibration(four))
    assert not scene.calls("IBuilderConfig.set_calibration_profile")


@with_calibrators
def test_ranges_set_by_us_are_on_every_tensor_they_name(version: str, tmp_path: Path) -> None:
    scene = Scene(version)
    calibration = percentile.calibration(cache=_ranges())
    build(scene, tmp_path, _int8(version), calibration=calibration)
    found = scene.calls("ITensor.set_dynamic_range")
    assert found == [(pytest.approx(-top, rel=1e-6), pytest.approx(top, rel=1e-6)) for top in (2.0, 6.0, 3.0)]
    assert calibration.missing == ["relu", "fc_product", "output"]
    assert "INT8" in scene.flags() and not scene.calls("IBuilderConfig.int8_calibrator=")


def test_ranges_of_another_network_are_refused(tmp_path: Path) -> None:
    other = caches.Cache(8201, "EntropyCalibration2", {"stem": np.float32(1)})
    with pytest.raises(CalibrationError, match="none of the 1 ranges is of a tensor of this network"):
        build(Scene("8.5.2"), tmp_path, _int8("8.5.2"), calibration=percentile.calibration(cache=other))
    with pytest.raises(CalibrationError, match="measured on the host"):
        percentile.calibration(batches=Pictures(_batches()))


@without_calibrators
@pytest.mark.parametrize("method", calibrators.names())
def test_a_version_without_calibrators_says_what_to_do(version: str, method: str, tmp_path: Path) -> None:
    calibration = calibrators.get(method).calibration(cache=_ranges())
    with pytest.raises(EngineError, match="takes no calibrator: its networks are strongly typed; export.*Q/DQ"):
        build(Scene(version), tmp_path, calibration=calibration)
    scene = Scene(version)
    with pytest.raises(EngineError, match="Q/DQ"):
        calibration.attach(scene.made, None, strict_config(scene), scene.device)


def test_a_nano_takes_no_calibrator(tmp_path: Path) -> None:
    nano = targets.get("jetson-nano")
    with pytest.raises(EngineError, match="jetson-nano takes no calibrator: it runs no int8"):
        build(Scene("8.2.1"), tmp_path, target=nano, calibration=entropy2.calibration(cache=_ranges()))
