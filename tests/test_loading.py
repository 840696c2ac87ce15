"""Models from anywhere: what loads, and what every wrong path or file is told."""

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from edge_mpq.errors import ModelError
from edge_mpq.loading import factory, load_model

MODEL = """
from torch import nn
import sibling

WIDTH = 4

def small():
    return nn.Sequential(nn.Conv2d(3, WIDTH, 3), nn.BatchNorm2d(WIDTH), nn.Dropout())

def needs(classes, *rest, depth=1):
    return small()

def breaks():
    raise RuntimeError("no such checkpoint\\nat all")

def wrong():
    return 7

def lazy():
    return nn.LazyLinear(3)
"""


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "sibling.py").write_text("x = 1\n")
    path = tmp_path / "mine.py"
    path.write_text(MODEL)
    return str(path)


@pytest.fixture
def state(source):
    return load_model(source + ":small", seed=3).state_dict()


def same(model: nn.Module, state: dict) -> bool:
    own = model.state_dict()
    return own.keys() == state.keys() and all(torch.equal(own[key], state[key]) for key in own)


def refusal(*args, **kwargs) -> str:
    with pytest.raises(ModelError) as caught:
        load_model(*args, **kwargs)
    assert caught.value.mend and "\n" not in str(caught.value)
    return str(caught.value)


def test_a_file_and_its_siblings_load_in_eval_mode(source):
    model = load_model(source + ":small")
    assert isinstance(model, nn.Sequential) and not any(module.training for module in model.modules())


def test_a_dotted_module_is_found_from_the_working_folder(source, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dotted_for_test.py").write_text("def make():\n    return 5\n")
    assert factory("dotted_for_test:make")() == 5


def test_random_weights_repeat_and_leave_the_callers_random_state_alone(source):
    before = torch.get_rng_state()
    first, second, other = (load_model(source + ":small", seed=seed) for seed in (1, 1, 2))
    assert same(first, second.state_dict()) and not same(first, other.state_dict())
    assert torch.equal(before, torch.get_rng_state())


def test_a_short_name_comes_from_the_zoo():
    assert load_model("cifar_resnet20").state_dict()["linear.weight"].shape == (10, 64)


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("cifar_resnet21", ["no model 'cifar_resnet21'", "cifar_resnet20", "unet"]),
        ("torch.nn:Linar", ["no 'Linar' in torch.nn", "Linear"]),
        ("torch.nn:init", ["module, not callable"]),
        ("torch.nn:Linear", ["without in_features, out_features"]),
        (":small", ["names no module"]),
        ("torch.nn:", ["names no factory"]),
        ("no_such_package.models:make", ["no module 'no_such_package.models'"]),
        ("..relative:make", ["cannot import ..relative"]),
        ("missing/model.py:make", ["no file missing/model.py"]),
        ("torch:get_num_threads", ["makes a int"]),
    ],
)
def test_a_wrong_spec_is_told_what_is_there(spec, told):
    message = refusal(spec)
    assert all(part in message for part in told), message


def test_an_absent_zoo_is_no_traceback():
    assert "no zoo absent_zoo" in refusal("resnet18", zoo="absent_zoo")
    with pytest.raises(ModelError, match="has no colon"):
        factory("resnet18")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("smal", ["no 'smal'", "small"]),
        ("WIDTH", ["int, not callable"]),
        ("needs", ["without classes"]),
        ("breaks", ["RuntimeError: no such checkpoint, line 14", "mine.py"]),
        ("wrong", ["makes a int"]),
        ("lazy", ["no values yet", "weight"]),
    ],
)
def test_a_wrong_name_or_factory_is_told_where(source, name, told):
    message = refusal(f"{source}:{name}")
    assert all(part in message for part in told), message


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("def make(:\n", "SyntaxError"),
        ("import no_such_dependency\n", "no_such_dependency"),
        ("1 / 0\n", "ZeroDivisionError: division by zero, line 1"),
        ("raise SystemExit(3)\n", "SystemExit: 3"),
        ("x = 'a\0b'\n", "SyntaxError"),
    ],
)
def test_a_file_that_does_not_import_is_told_why(tmp_path, text, told):
    path = tmp_path / "broken.py"
    path.write_text(text)
    assert told in refusal(f"{path}:make")
    assert "_edge_mpq_file_broken" not in sys.modules


def test_a_missing_dependency_of_a_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    (tmp_path / "needy_for_test.py").write_text("import no_such_dependency\n")
    assert "needs 'no_such_dependency'" in refusal("needy_for_test:make")


@pytest.mark.parametrize("wrap", [dict, lambda s: {"state_dict": s, "epoch": 3}, lambda s: {"model": s}])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "_orig_mod.module."])
@pytest.mark.parametrize("zipped", [True, False])
def test_every_usual_envelope_loads(tmp_path, source, state, wrap, prefix, zipped):
    path = tmp_path / "w.pth"
    body = wrap({prefix + key: value for key, value in state.items()})
    torch.save(body, path, _use_new_zipfile_serialization=zipped)
    assert same(load_model(source + ":small", str(path)), state)


def test_safetensors_and_half_precision_load(tmp_path, source, state):
    halves = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
    save_file(halves, tmp_path / "w.safetensors")
    model = load_model(source + ":small", str(tmp_path / "w.safetensors"))
    assert same(model, {key: value.float() if value.is_floating_point() else value for key, value in halves.items()})


def test_files_older_than_the_batch_counter_load(tmp_path, source, state):
    torch.save({key: value for key, value in state.items() if "tracked" not in key}, tmp_path / "w.pt")
    assert same(load_model(source + ":small", str(tmp_path / "w.pt")), state)


def written(folder: Path, name: str, body) -> str:
    path = folder / name
    if isinstance(body, bytes):
        path.write_bytes(body)
    else:
        torch.save(body, path)
    return str(path)


def test_files_that_are_no_weights_are_told_apart(tmp_path, source, state):
    spec = source + ":small"
    assert "missing" in refusal(spec, str(tmp_path / "none.pt"))
    assert "a folder" in refusal(spec, str(tmp_path))
    assert "unknown suffix '.onnx'" in refusal(spec, written(tmp_path, "w.onnx", b"\x08\x09"))
    assert "is empty" in refusal(spec, written(tmp_path, "e.pt", b""))
    for suffix in ("pt", "safetensors", "md"):
        assert "text file" in refusal(spec, written(tmp_path, "t." + suffix, b"version https://git-lfs\noid 1\n"))
    assert "no state dict but a list" in refusal(spec, written(tmp_path, "l.pt", [torch.ones(2)]))
    assert "epoch no tensors" in refusal(spec, written(tmp_path, "n.pt", {"w": torch.ones(2), "epoch": 3}))
    assert "torch.nn.modules.linear.Linear" in refusal(spec, written(tmp_path, "m.pt", nn.Linear(2, 2)))
    script = tmp_path / "s.pt"
    torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2)), str(script))
    assert "TorchScript" in refusal(spec, str(script))


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_a_torn_file_is_refused(tmp_path, source, state, kind, share):
    path = tmp_path / ("w.safetensors" if kind == "safetensors" else "w.pt")
    if kind == "safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind == "zip")
    whole = path.read_bytes()
    path.write_bytes(whole[: max(3, int(share * len(whole)))])
    assert "torn" in refusal(source + ":small", str(path))


def test_weights_of_another_model_are_told_key_by_key(tmp_path, source, state):
    other = dict(state)
    other["0.weight"] = torch.ones(4, 3, 5, 5)
    other["1.running_mean"] = torch.ones(4, dtype=torch.int8)
    other["head.weight"] = other.pop("1.bias")
    message = refusal(source + ":small", written(tmp_path, "w.pt", other))
    assert "1 missing: 1.bias; 1 unexpected: head.weight; 2 mismatched" in message
    assert "0.weight [4, 3, 5, 5] for [4, 3, 3, 3]" in message and "1.running_mean [4] torch.int8" in message
    many = {f"layer{i}.weight": torch.ones(1) for i in range(9)}
    assert "9 unexpected: layer0.weight, layer1.weight, layer2.weight, layer3.weight and 5 more" in refusal(
        source + ":small", written(tmp_path, "m.pt", many)
    )


@pytest.mark.parametrize("key", ["0.weight", "1.running_var"])
@pytest.mark.parametrize(("value", "told"), [(float("nan"), "NaN"), (float("inf"), "infinite")])
def test_broken_numbers_are_named(tmp_path, source, state, key, value, told):
    state[key].view(-1)[1] = value
    assert f"not finite: {key} ({told})" in refusal(source + ":small", written(tmp_path, "w.pt", state))


def test_a_double_too_large_for_a_float_is_refused(tmp_path, source, state):
    state["1.bias"] = torch.full((4,), 1e300, dtype=torch.float64)
    assert "1.bias (infinite)" in refusal(source + ":small", written(tmp_path, "w.pt", state))
