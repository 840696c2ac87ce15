"""GPT-2 checkpoints from a folder: read as they are published, refused with every fault, never unpickled."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from apps.models import gpt_checkpoint
from apps.models.gpt import GPT
from edge_mpq.errors import ModelError

TOKENS = torch.arange(24).view(2, 12)


@pytest.fixture(params=[True, False], ids=["tied", "untied"])
def stored(request, tmp_path):
    torch.manual_seed(0)
    model = GPT(30, 12, dim=8, depth=2, heads=2, tied=request.param).eval()
    gpt_checkpoint.save(str(tmp_path), model)
    return model, tmp_path


def rewritten(folder, change):
    path = folder / "model.safetensors"
    weights = load_file(path)
    change(weights)
    save_file(weights, path)


def configured(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@torch.no_grad()
def test_what_was_saved_is_loaded_bit_for_bit(stored):
    model, folder = stored
    loaded = gpt_checkpoint.load(str(folder))
    assert torch.equal(loaded(TOKENS), model(TOKENS)) and not loaded.training
    assert (loaded.lm_head.weight is loaded.wte.weight) == (model.lm_head.weight is model.wte.weight)


def test_linears_are_stored_as_gpt2_stores_them(stored):
    model, folder = stored
    weights = load_file(folder / "model.safetensors")
    assert weights["transformer.h.0.attn.c_attn.weight"].shape == (8, 24)
    assert torch.equal(weights["transformer.h.1.mlp.c_fc.weight"], model.h[1].mlp.c_fc.weight.T)
    assert ("lm_head.weight" in weights) == (model.lm_head.weight is not model.wte.weight)


@torch.no_grad()
def test_older_files_with_masks_halves_and_without_prefix_are_read(stored):
    model, folder = stored

    def older(weights):
        for name in list(weights):
            weights[name.removeprefix("transformer.")] = weights.pop(name).half()
        weights["h.0.attn.bias"] = torch.ones(1, 1, 12, 12)

    rewritten(folder, older)
    loaded = gpt_checkpoint.load(str(folder))
    assert loaded.wte.weight.dtype == torch.float32
    assert torch.allclose(loaded(TOKENS), model(TOKENS), atol=1e-2)


def test_every_fault_of_the_weights_is_told_together(stored):
    def broken(weights):
        del weights["transformer.h.0.ln_1.bias"]
        weights["transformer.h.0.attn.c_proj.weight"] = torch.ones(8, 9)
        weights["adapter"] = torch.ones(1)

    rewritten(stored[1], broken)
    with pytest.raises(ModelError) as caught:
        gpt_checkpoint.load(str(stored[1]))
    for told in ("1 missing: h.0.ln_1.bias", "1 unexpected: adapter", "c_proj.weight [8, 9] for [8, 8]"):
        assert told in str(caught.value)


def test_every_fault_of_the_configuration_is_told_together(stored):
    configured(stored[1], activation_function="relu", n_inner=20, n_head=3, n_layer="two", model_type="llama")
    with pytest.raises(ModelError) as caught:
        gpt_checkpoint.load(str(stored[1]))
    for told in ("function is 'relu'", "n_inner is 20", "3 heads do not divide", "'n_layer' is a str", "llama"):
        assert told in str(caught.value)


def test_a_configuration_of_a_billion_blocks_is_not_built(stored):
    configured(stored[1], n_layer=10**9)
    with pytest.raises(ModelError, match="1000000000 blocks in"):
        gpt_checkpoint.load(str(stored[1]))


def test_weights_that_are_not_finite_are_named(stored):
    rewritten(stored[1], lambda weights: weights["transformer.ln_f.bias"].fill_(float("nan")))
    with pytest.raises(ModelError, match="ln_f.bias is not finite"):
        gpt_checkpoint.load(str(stored[1]))


@pytest.mark.parametrize("length", [0, 7, 200])
def test_a_torn_file_is_refused(stored, length):
    path = stored[1] / "model.safetensors"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ModelError, match="is torn or no safetensors"):
        gpt_checkpoint.load(str(stored[1]))


def test_a_torn_configuration_is_refused(stored):
    (stored[1] / "config.json").write_text('{"n_embd":')
    with pytest.raises(ModelError, match="not a whole JSON file"):
        gpt_checkpoint.load(str(stored[1]))


def test_a_pickle_is_never_opened(stored):
    (stored[1] / "model.safetensors").unlink()
    (stored[1] / "pytorch_model.bin").write_bytes(b"\x80\x04cos\nsystem\n(S'touch owned'\ntR.")
    with pytest.raises(ModelError, match="has no model.safetensors; save it with safe_serialization=True"):
        gpt_checkpoint.load(str(stored[1]))
