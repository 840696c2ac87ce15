"""Writing token by token: a past changes nothing, integers in it change little, and ONNX computes it all."""

import functools
import math
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch.nn.functional import cross_entropy

from edge_mpq import decoder, simulation
from edge_mpq import graph as ir
from edge_mpq.errors import ExportError, ModelError
from edge_mpq.kv_cache import Cache, FloatCache, IntegerCache
from edge_mpq.layers import layers_of
from edge_mpq.records import plan as plans
from edge_mpq.records import target as targets
from edge_mpq.records.plan import Choice, PrecisionPlan
from edge_mpq.records.ranges import RangeTable
from export import decoder_onnx_from_torch
from export.bundle_from_torch import Quantized
from tests import trained_language as language

CACHES = {"float": FloatCache(), "int8": IntegerCache(8), "int4": IntegerCache(4)}
TARGET = targets.get("cpu-x86-vnni")
# Calls of a decoder: a prompt, a token, a few, the rest.
CUTS = ((0, 5), (5, 6), (6, 9), (9, 64))


def planned(weight: str, activation: str = "fp32", **others: tuple[str, str]) -> PrecisionPlan:
    """Every layer at one format, save ``others``; dots in their names are written ``__``."""
    made = plans.uniform(layers_of(language.graph()), TARGET, weight, activation)
    return made._replace(choices={**made.choices, **{k.replace("__", "."): Choice(*v) for k, v in others.items()}})


def simulated(plan: PrecisionPlan) -> torch.fx.GraphModule:
    return simulation.simulate(language.graph(), plan, TARGET, RangeTable({}, "minmax", 1))


@torch.no_grad()
def perplexity(model: Any, cache: Cache) -> float:
    losses = [
        cross_entropy(model.step(tokens, model.nothing(len(tokens), cache), cache)[0], labels).item()
        for tokens, labels in language.batches("validation", 4)
    ]
    return math.exp(sum(losses) / len(losses))


@pytest.mark.parametrize("cut", [1, 17, 63])
@torch.no_grad()
def test_a_past_changes_nothing(cut):
    model, (tokens, _) = language.gpt(), language.batches("validation", 1)[0]
    first, past = model.step(tokens[:, :cut], model.nothing(len(tokens)))
    rest, past = model.step(tokens[:, cut:], past)
    whole = model(tokens)
    assert torch.allclose(torch.cat([first, rest], 2), whole, atol=1e-4)
    assert past[0][0].shape == (16, 4, 64, 16)
    last, _ = model.step(tokens, model.nothing(len(tokens)), last=True)
    assert torch.allclose(last, whole[:, :, -1:], atol=1e-4)


@torch.no_grad()
def test_a_token_does_not_see_those_behind_it():
    model, (tokens, _) = language.gpt(), language.batches("validation", 1)[0]
    other = tokens.clone()
    other[:, 40:] = 0
    assert torch.equal(model(tokens)[:, :, :40], model(other)[:, :, :40])
    assert not torch.equal(model(tokens)[:, :, 40:], model(other)[:, :, 40:])


def test_a_text_longer_than_the_context_is_refused():
    model = language.gpt()
    with pytest.raises(ModelError, match="65 tokens, and this GPT sees 64"):
        model(torch.zeros(1, 65, dtype=torch.int64))
    _, past = model.step(torch.zeros(1, 60, dtype=torch.int64), model.nothing(1))
    with pytest.raises(ModelError, match="65 tokens, and this GPT sees 64"):
        model.step(torch.zeros(1, 5, dtype=torch.int64), past)


# Integers in the cache.


@pytest.mark.parametrize("bits", range(2, 9))
def test_an_integer_cache_errs_half_a_step_at_most(bits):
    values = torch.randn(2, 3, 5, 8, generator=torch.Generator().manual_seed(bits))
    values[0, 0, 0] = 0
    codes, scale = IntegerCache(bits).write(values)
    assert codes.dtype == torch.int8 and codes.abs().max() == 2 ** (bits - 1) - 1
    error = (IntegerCache(bits).read((codes, scale)) - values).abs()
    assert (error <= scale / 2 * (1 + 1e-5)).all() and torch.isfinite(error).all()
    # What comes later changes nothing of what was written.
    longer, _ = IntegerCache(bits).write(torch.cat([values, 100 * values], 2))
    assert torch.equal(longer[:, :, :5], codes)


def test_more_bits_in_the_cache_harm_less_and_eight_nothing_to_speak_of():
    model = language.gpt()
    usual = perplexity(model, FloatCache())
    moved = [abs(perplexity(model, IntegerCache(bits)) - usual) / usual for bits in (8, 6, 4, 2)]
    assert moved == sorted(moved)
    assert moved[0] < 1e-3 and moved[2] < 0.1 < moved[3]


def test_an_integer_cache_takes_the_bytes_it_says():
    with torch.no_grad():
        _, past = language.gpt().step(torch.zeros(1, 64, dtype=torch.int64), language.gpt().nothing(1))
    held = {
        name: sum(part.numel() * part.element_size() for values in past[0] for part in cache.write(values))
        for name, cache in CACHES.items()
    }
    assert held["int8"] == held["float"] * (16 + 4) // (4 * 16)


# A graph's weights in the model.


@pytest.mark.parametrize("weight", ["fp32", "int8b32", "int4b32", "int2b32"])
@torch.no_grad()
def test_a_rounded_model_answers_as_the_simulation(weight):
    quantized, (tokens, _) = simulated(planned(weight)), language.batches("validation", 1)[0]
    ir.set_parameter(quantized, "h.0.mlp.c_fc.bias", ir.attribute(quantized, "h.0.mlp.c_fc.bias") + 0.1)
    before = {name: value.clone() for name, value in language.gpt().state_dict().items()}
    model = decoder.rounded(language.gpt(), quantized)
    assert torch.allclose(model(tokens), quantized(tokens), atol=1e-4)
    assert all(torch.equal(value, before[name]) for name, value in language.gpt().state_dict().items())


def test_a_graph_that_is_no_reweighting_is_refused():
    graph = language.copied()
    ir.set_parameter(graph, "offset", torch.ones(1))
    with pytest.raises(ModelError, match=r"parameters the model lacks \(offset\)"):
        decoder.rounded(language.gpt(), graph)
    graph = language.copied()
    (end,) = graph.graph.find_nodes(op="output")
    with graph.graph.inserting_before(end):
        doubled = graph.graph.call_function(ir.aten.mul.Tensor, (ir.outputs(graph), 2.0))
    doubled.meta["val"] = ir.outputs(graph).meta["val"]
    end.args = ((doubled,),)
    graph.recompile()
    with pytest.raises(ModelError, match="step answers otherwise"):
        decoder.rounded(language.gpt(), graph)


# ONNX.


@functools.cache
def float_onnx(cache: str) -> onnx.ModelProto:
    return decoder_onnx_from_torch.onnx_from_decoder(language.gpt(), language.graph(), CACHES[cache])


def quantized_onnx(cache: str, plan: PrecisionPlan, quantized: torch.fx.GraphModule) -> onnx.ModelProto:
    form = Quantized(plan, quantized)
    return decoder_onnx_from_torch.quantized_onnx(float_onnx(cache), language.graph(), form, TARGET)


def opened(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """With float activations: the products of blocks would round them otherwise."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "0")
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def mixed() -> PrecisionPlan:
    """Four formats side by side."""
    return planned(
        "int4b32", h__0__attn__c_proj=("fp32", "fp32"), h__1__mlp__c_fc=("int2b32", "fp32"), lm_head=("int8b32", "fp32")
    )


@pytest.mark.parametrize("cache", ["float", "int8"])
@pytest.mark.parametrize("kind", ["fp32", "int8b32", "mixed"])
@torch.no_grad()
def test_onnx_computes_the_simulation_from_any_past(kind, cache):
    plan = mixed() if kind == "mixed" else planned(kind)
    quantized = simulated(plan)
    ir.set_parameter(quantized, "h.0.mlp.c_fc.bias", ir.attribute(quantized, "h.0.mlp.c_fc.bias") + 0.1)
    written = quantized_onnx(cache, plan, quantized)
    session, model = opened(written), decoder.rounded(language.gpt(), quantized)
    names = [item.name for item in session.get_inputs()]
    tokens, past = language.batches("validation", 1)[0][0][:3], model.nothing(3, CACHES[cache])
    feeds = [part.numpy() for block in past for part in block]
    for first, end in CUTS:
        some = tokens[:, first:end]
        logits, *feeds = session.run(None, dict(zip(names, [some.numpy(), *feeds], strict=True)))
        known, past = model.step(some, past, CACHES[cache], last=True)
        # A value on the edge between two codes of the cache may fall on either side.
        assert np.abs(logits - known[:, :, 0].numpy()).max() < (1e-4 if cache == "float" else 2e-2)
        for mine, theirs in zip(feeds, (part for block in past for part in block), strict=True):
            assert mine.shape == tuple(theirs.shape) and np.abs(mine - theirs.numpy()).max() <= 1


def test_layers_tensors_and_weights_of_the_onnx_are_called_and_stored_as_planned():
    written = quantized_onnx("int8", mixed(), simulated(mixed()))
    layers = {node.name: node for node in written.graph.node if node.name in mixed().choices}
    assert list(layers) == list(mixed().choices) and {node.op_type for node in layers.values()} == {"MatMul"}
    stored = {item.name: item for item in written.graph.initializer}
    kinds = {name: onnx.TensorProto.DataType.Name(stored[name + ".weight_codes"].data_type)
             for name in layers if name + ".weight_codes" in stored}  # fmt: skip
    assert kinds.pop("h.1.mlp.c_fc") == "INT2" and kinds.pop("lm_head") == "INT8"
    assert set(kinds.values()) == {"INT4"} and "h.0.attn.c_proj" not in kinds
    assert [item.name for item in written.graph.input][:3] == [
        "tokens", "past_key_values.0.key_codes", "past_key_values.0.key_scale"]  # fmt: skip
    assert [item.name for item in written.graph.output][:2] == ["logits", "present.0.key_codes"]
    assert len(written.SerializeToString()) < len(float_onnx("int8").SerializeToString()) / 2


def test_what_this_onnx_cannot_say_is_refused_with_every_fault():
    plan = planned("int8b32", "fp32", lm_head=("int8", "int8"))
    with_ranges = RangeTable({"layer_norm_4": (-1.0, 1.0)}, "minmax", 1)
    quantized = simulation.simulate(language.graph(), plan, TARGET, with_ranges)
    ir.set_parameter(quantized, "ln_f.weight", torch.ones(64) * 2)
    with pytest.raises(ExportError) as caught:
        quantized_onnx("float", plan, quantized)
    assert "1 activations are rounded; 'ln_f.weight' differs from the float model's" in str(caught.value)
