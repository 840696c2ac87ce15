"""Laws that every backend keeps on the machines that have its library, and what is peculiar to ONNX Runtime."""

import json
import shutil

import numpy as np
import onnx
import pytest

from edge_mpq import engines
from edge_mpq.engines import base
from edge_mpq.engines import onnxruntime as ort
from edge_mpq.errors import EdgeMpqError, EngineError, RecordError, UsageError
from edge_mpq.records import engine as engine_record
from edge_mpq.records import target as targets
from tests import toys
from tests.export import exported

pytest.importorskip("onnxruntime")

ANSWERS = 4


def small_onnx() -> onnx.ModelProto:
    """A convolution, its mean and a linear: [N, 3, 8, 8] -> [N, 4], N free."""
    draw = np.random.default_rng(0)
    arrays = {"w": draw.normal(size=(4, 3, 3, 3)), "b": draw.normal(size=4), "v": draw.normal(size=(4, 4))}
    made = onnx.helper.make_graph(
        [
            onnx.helper.make_node("Conv", ["x", "w", "b"], ["c"], name="conv"),
            onnx.helper.make_node("GlobalAveragePool", ["c"], ["p"], name="pool"),
            onnx.helper.make_node("Flatten", ["p"], ["f"], name="flat"),
            onnx.helper.make_node("Gemm", ["f", "v"], ["y"], name="head"),
        ],
        "small",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 3, 8, 8])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", ANSWERS])],
        [onnx.numpy_helper.from_array(value.astype(np.float32), name) for name, value in arrays.items()],
    )
    return onnx.helper.make_model(made, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)


def batch(count: int = 1, size: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 3, size, size)).astype(np.float32)


@pytest.fixture(scope="module", params=engines.names())
def built(request, tmp_path_factory):
    """(backend, path of an engine it built); skips where the machine lacks its library."""
    folder = tmp_path_factory.mktemp(request.param)
    module, path = engines.get(request.param), folder / "model.engine"
    if request.param == "replay":
        module.record(path, np.arange(3 * ANSWERS).reshape(3, ANSWERS), (None, 3, 8, 8), ms=[1, 2, 3])
        return module, path
    pytest.importorskip(request.param, reason=f"{request.param} is not installed here")
    onnx.save(small_onnx(), str(folder / "model.onnx"))
    target = next((row for row in map(targets.get, targets.names()) if row.backend == request.param), None)
    try:
        module.build(str(folder / "model.onnx"), str(path), target or targets.get("cpu-x86-vnni"))
    except EngineError as error:
        if request.param != "tensorrt":
            raise
        pytest.skip(f"TensorRT is here, but no GPU it can build for ({error.what})")
    return module, path


def batches_of(module) -> tuple[int, ...]:
    """How many pictures at once; a TensorRT engine is built for one unless told otherwise."""
    return (1,) if module.BACKEND == "tensorrt" else (1, 3)


@pytest.fixture
def copy(built, tmp_path):
    """(backend, path of a copy of the engine that a test may spoil)."""
    module, path = built
    for source in (path, path.with_name(path.name + ".json")):
        shutil.copy(source, tmp_path / source.name)
    return module, tmp_path / path.name


def edited(path, **fields):
    """Change fields of an engine's card."""
    card = path.with_name(path.name + ".json")
    card.write_text(json.dumps({**json.loads(card.read_text()), **fields}))


def test_the_door_lists_the_backends_and_hides_what_they_share():
    assert {"onnxruntime", "replay", "openvino"} <= set(engines.names())
    assert not {"base", "inputs", "cuda"} & set(engines.names())
    with pytest.raises(UsageError, match="choose one of .*onnxruntime"):
        engines.get("abacus")


@pytest.mark.parametrize("name", engines.names())
def test_every_backend_opens_and_every_one_but_replay_builds(name):
    module = engines.get(name)
    assert callable(module.open) and module.BACKEND == name
    assert callable(module.record if name == "replay" else module.build)


def test_an_engine_answers_any_batch_the_same_every_time(built):
    module, path = built
    with module.open(path) as engine:
        assert engine.inputs[0].shape == (None, 3, 8, 8) and engine.inputs[0].dtype == "float32"
        assert engine.outputs[0].shape[1:] == (ANSWERS,)
        for count in batches_of(module):
            (output,) = engine.infer(batch(count))
            assert output.shape == (count, ANSWERS) and output.dtype == np.float32
    outputs = []
    for threads in (1, 2):
        with module.open(path, threads=threads) as engine:
            outputs.append(engine.infer(batch(batches_of(module)[-1]))[0])
    np.testing.assert_allclose(outputs[0], outputs[1], rtol=1e-5, atol=1e-6)


def test_its_card_says_what_it_is(built):
    module, path = built
    card = engine_record.load(base.card_path(path))
    assert card.backend == module.BACKEND and card.engine_bytes == path.stat().st_size
    assert card.versions and card.build_s >= 0
    with module.open(path) as engine:
        assert engine.card == card


def test_a_batch_that_does_not_fit_is_refused_by_name(built):
    module, path = built
    with module.open(path) as engine:
        shapes = [batch(size=9), batch()[0], batch()[:, :1], batch()[:, :, :, :7]]
        for wrong in [*shapes, batch().astype(np.float64), np.zeros((1, 3, 8, 8), np.uint8)]:
            with pytest.raises(EngineError, match="takes float32 .*prepare frames"):
                engine.infer(wrong)
        engine.infer(batch())


def test_a_profile_is_a_list_of_times(built):
    module, path = built
    with module.open(path) as engine:
        rows = engine.profile(batch(), runs=3)
        assert all(isinstance(row.layer, str) and row.ms >= 0 for row in rows)
        assert len({row.layer for row in rows}) == len(rows)


def test_closing_twice_is_harmless(built):
    module, path = built
    engine = module.open(path)
    engine.close()
    engine.close()


def test_a_missing_engine_is_refused(built, tmp_path):
    with pytest.raises(EngineError, match="no engine at .*build it"):
        built[0].open(tmp_path / "nothing.engine")


def test_an_engine_without_its_card_is_refused(copy):
    module, path = copy
    path.with_name(path.name + ".json").unlink()
    with pytest.raises(RecordError, match="no engine-card"):
        module.open(path)


def test_one_changed_byte_is_noticed(copy):
    module, path = copy
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(EngineError, match="torn or was changed"):
        module.open(path)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"device": "a processor that is not this one"}, "was built on 'a processor"),
        ({"backend": "abacus"}, "an engine of abacus"),
        ({"engine_sha256": "0" * 64}, "torn or was changed"),
        ({"engine_bytes": "many"}, "engine_bytes"),
    ],
)
def test_a_card_that_does_not_fit_is_refused(copy, fields, said):
    module, path = copy
    edited(path, **fields)
    with pytest.raises(EdgeMpqError, match=said):
        module.open(path)


def test_a_broken_model_leaves_no_engine(built, tmp_path):
    module, _ = built
    if not hasattr(module, "build"):
        pytest.skip("replay builds from no model")
    (tmp_path / "torn.onnx").write_bytes(small_onnx().SerializeToString()[:-40])
    for name, said in (("torn.onnx", "whole ONNX file"), ("missing.onnx", "no model at")):
        with pytest.raises(EngineError, match=said):
            module.build(str(tmp_path / name), str(tmp_path / "made.engine"), targets.get("cpu-x86-vnni"))
    assert [path.name for path in tmp_path.iterdir()] == ["torn.onnx"]


# ONNX Runtime: layers keep their names through its optimizer.


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """(plan, simulated graph, path of the engine) of a toy with float layers among layers of 8 and 4 bits."""
    folder = tmp_path_factory.mktemp("mixed")
    plan = toys.planned(
        "residual", "cpu-x86-vnni", last__0=("fp32", "fp32"), down__0=("fp32", "fp32"), one__0=("int4", "int8")
    )
    quantized, model = exported.deployed("residual", plan)
    onnx.save(model, str(folder / "model.onnx"))
    ort.build(str(folder / "model.onnx"), str(folder / "model.engine"), targets.get("cpu-x86-vnni"), plan)
    return plan, quantized, folder / "model.engine"


def test_the_card_tells_what_each_layer_got(mixed):
    plan, _, path = mixed
    card = engine_record.load(base.card_path(path))
    assert card.asked == card.got and not card.mismatches()
    got = [card.got[name] for name in ("down.0", "one.0", "stem.0", "head")]
    assert got == ["fp32", "w4a8", "w8a8", "w8a8"]


def test_a_layer_that_got_no_integer_kernel_is_told(tmp_path):
    model = exported.float_onnx("residual")
    onnx.save(model, str(tmp_path / "model.onnx"))
    plan = toys.planned("residual", "cpu-x86-vnni")
    card = ort.build(str(tmp_path / "model.onnx"), str(tmp_path / "e"), targets.get("cpu-x86-vnni"), plan)
    assert card.mismatches() == [(name, "w8a8", "fp32") for name in plan.choices]


def test_a_profile_speaks_of_layers(mixed):
    plan, _, path = mixed
    with ort.open(path) as engine:
        times = {row.layer: row.ms for row in engine.profile(toys.pictures(1).numpy(), runs=5)}
    assert set(plan.choices) <= set(times) <= {"", *plan.choices}
    assert all(times[name] > 0 for name in plan.choices)


def test_the_engine_answers_as_the_model_it_was_built_from(mixed):
    _, quantized, path = mixed
    x = toys.pictures(64, seed=5)
    with ort.open(path) as engine:
        output = engine.infer(x.numpy())[0]
    if not exported.EXACT_INTEGERS:
        pytest.skip("integer products saturate on this processor")
    assert np.abs(output - quantized(x).detach().numpy()).max() < 0.02 * np.ptp(output)
