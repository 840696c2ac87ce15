"""GPT-2 checkpoints: a folder with ``config.json`` and ``model.safetensors``, as they are published.

GPT-2 keeps the weights of its linears as [inputs, outputs] (Conv1D), a :class:`~apps.models.gpt.GPT` as
[outputs, inputs]; names are the same, with or without ``transformer.`` before them.  Nothing is unpickled.
"""

import json
import os
from typing import Any

import torch
from torch import nn

from apps.models.gpt import GPT
from edge_mpq.errors import ModelError
from edge_mpq.records import document
from edge_mpq.records.document import Fields

CONFIG, WEIGHTS = "config.json", "model.safetensors"
TANH = ("gelu_new", "gelu_pytorch_tanh")
TURNED = ("c_attn.weight", "c_proj.weight", "c_fc.weight")
# Masks that older files carry along.
MASKS = ("attn.bias", "attn.masked_bias")
MEND = "give a folder with config.json and model.safetensors of a GPT-2"
SHOWN = 5


def load(folder: str) -> GPT:
    """The GPT in ``folder``, in float32 and eval mode; ModelError names every fault.

    Tensors are taken one by one into a model that has none of its own, so memory holds it once.
    """
    missing = [name for name in (CONFIG, WEIGHTS) if not os.path.isfile(os.path.join(folder, name))]
    if missing:
        pickled = os.path.isfile(os.path.join(folder, "pytorch_model.bin"))
        mend = "save it with safe_serialization=True: a pickle is not opened here" if pickled else MEND
        raise ModelError(f"{folder} has no {' and no '.join(missing)}", mend)
    arguments, faults = _arguments(os.path.join(folder, CONFIG))
    from safetensors import safe_open

    path = os.path.join(folder, WEIGHTS)
    try:
        with safe_open(path, "pt") as stored:
            names = {_own_name(key): key for key in stored.keys()}  # noqa: SIM118 - it is no dict
            shapes = {name: tuple(stored.get_slice(key).get_shape()) for name, key in names.items()}
            if arguments is not None and arguments["depth"] > len(names):
                faults.append(f"{arguments['depth']} blocks in {len(names)} tensors")
            if faults or arguments is None:
                raise ModelError(f"{folder}: {'; '.join(faults)}", MEND)
            with torch.device("meta"):
                model = GPT(**arguments)
            faults = _faults(model, shapes)
            if faults:
                raise ModelError(f"{folder}: {'; '.join(faults)}", MEND)
            faults = _fill(model, stored, names)
    except ModelError:
        raise
    except Exception as error:  # a torn file can raise nearly anything
        raise ModelError(f"{path} is torn or no safetensors ({error})", "copy it again") from error
    if faults:
        raise ModelError(f"{folder}: {'; '.join(faults)}", "these weights are broken; load others")
    return model.eval()


def save(folder: str, model: GPT) -> None:
    """Write ``model`` so that :func:`load`, and whatever else reads GPT-2, finds it."""
    from safetensors.torch import save as packed

    width = model.wte.weight.shape[1]
    tied = model.lm_head.weight is model.wte.weight
    config = {
        "model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "activation_function": "gelu_new",
        "vocab_size": model.wte.weight.shape[0], "n_positions": model.context, "n_embd": width,
        "n_layer": len(model.h), "n_head": model.heads, "layer_norm_epsilon": 1e-5, "tie_word_embeddings": tied,
    }  # fmt: skip
    weights = {
        name if name == "lm_head.weight" else "transformer." + name: _turned(name, value.detach())
        for name, value in model.named_parameters()
    }
    document.write_bytes(os.path.join(folder, WEIGHTS), packed(weights, {"format": "pt"}))
    document.write_bytes(os.path.join(folder, CONFIG), (json.dumps(config, indent=1) + "\n").encode())


def _arguments(path: str) -> tuple[dict[str, Any] | None, list[str]]:
    """What a GPT is made with, and the faults of its configuration."""
    try:
        with open(path, encoding="utf-8") as stream:
            fields = Fields(json.load(stream), path)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is not a whole JSON file ({error})", "copy it again") from error
    sizes = {
        argument: fields.take(name, int, 0)
        for argument, name in (("vocabulary", "vocab_size"), ("context", "n_positions"), ("dim", "n_embd"),
                               ("depth", "n_layer"), ("heads", "n_head"))
    }  # fmt: skip
    for argument, value in sizes.items():
        if value < 1 and not fields.faults:
            fields.fault(f"{argument} is {value}")
    if sizes["heads"] > 0 and sizes["dim"] % sizes["heads"]:
        fields.fault(f"{sizes['heads']} heads do not divide the width {sizes['dim']}")
    for name, known in (
        ("model_type", ("gpt2",)), ("activation_function", TANH), ("layer_norm_epsilon", (1e-5,)),
        ("n_inner", (None, 4 * sizes["dim"])), ("scale_attn_weights", (True,)),
        ("scale_attn_by_inverse_layer_idx", (False,)), ("add_cross_attention", (False,)),
    ):  # fmt: skip
        if fields.body.get(name, known[0]) not in known:
            fields.fault(f"{name} is {repr(fields.body[name])[:40]}, not {known[0]!r}")
    tied = fields.body.get("tie_word_embeddings", True)
    return (None if fields.faults else {**sizes, "tied": bool(tied)}), fields.faults


def _own_name(key: str) -> str:
    return key.removeprefix("transformer.")


def _turned(name: str, value: torch.Tensor) -> torch.Tensor:
    """A weight as the other side keeps it."""
    return value.T.contiguous() if name.startswith("h.") and name.endswith(TURNED) else value


def _faults(model: GPT, shapes: dict[str, tuple[int, ...]]) -> list[str]:
    """What of the file does not fit the model."""
    own = {name: tuple(value.shape) for name, value in model.named_parameters()}
    if model.lm_head.weight is model.wte.weight:
        shapes = {name: shape for name, shape in shapes.items() if name != "lm_head.weight"}
    wanted = {name: shape[::-1] if name.startswith("h.") and name.endswith(TURNED) else shape
              for name, shape in own.items()}  # fmt: skip
    found = {
        "missing": [name for name in own if name not in shapes],
        "unexpected": [name for name in shapes if name not in own and not name.endswith(MASKS)],
        "mismatched": [f"{name} {list(shapes[name])} for {list(shape)}" for name, shape in wanted.items()
                       if name in shapes and shapes[name] != shape],
    }  # fmt: skip
    return [f"{len(names)} {what}: {', '.join(names[:SHOWN])}" for what, names in found.items() if names]


def _fill(model: GPT, stored: Any, names: dict[str, str]) -> list[str]:
    """Put the tensors of a file where they belong; the faults of their values."""
    tied, faults = model.lm_head.weight is model.wte.weight, []
    for name in [name for name, _ in model.named_parameters()]:
        value = _turned(name, stored.get_tensor(names[name]).float())
        if not torch.isfinite(value).all():
            faults.append(f"{name} is not finite")
        place, _, last = name.rpartition(".")
        setattr(model.get_submodule(place), last, nn.Parameter(value))
    if tied:
        model.lm_head.weight = model.wte.weight
    return faults
