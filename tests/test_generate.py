"""``edge-mpq generate``: one table of four forms, text that a seed decides, and errors for what cannot be read."""

import contextlib
import io
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from apps import decoding, text_generation
from apps.data.vocabulary import Characters, open_vocabulary
from apps.decoding import Writer
from apps.models import gpt_checkpoint
from edge_mpq import __main__ as launcher
from edge_mpq.engines import onnxruntime
from tests import trained_language as language


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trained GPT as a checkpoint."""
    folder = tmp_path_factory.mktemp("gpt")
    gpt_checkpoint.save(str(folder), language.gpt())
    vocabulary = language.source().vocabulary
    assert isinstance(vocabulary, Characters)
    vocabulary.save(str(folder))
    return folder


@pytest.fixture(scope="module")
def run(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """What one run tells and keeps, with an integer cache; few windows and rounds, as speed is not judged here."""
    folder, told = tmp_path_factory.mktemp("kept"), io.StringIO()
    argv = ["generate", "--model", str(trained), "--window", "64", "--tokens", "30", "--budget", "size<=5bits"]
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(told):
        for name, value in (("VALIDATION", 32), ("CALIBRATION", 2), ("ROUNDS", 3), ("TIMED", 4)):
            patch.setattr(text_generation, name, value)
        assert launcher.main([*argv, "--cache-bits", "8", "--out", str(folder), "--json"]) == 0
    return json.loads(told.getvalue()), folder


def test_four_forms_are_told_side_by_side(run: tuple[dict[str, Any], Path]) -> None:
    told = run[0]["variants"]
    assert list(told) == ["fp32", "int8", "int4", "mixed"]
    assert [told[name]["weight_bits"] for name in ("fp32", "int8", "int4")] == [32, 8, 4]
    assert 4 < told["mixed"]["weight_bits"] <= 5
    assert set(told["mixed"]["layers"].values()) == {"w4b32", "w8b32"}
    expected = math.exp(language.loss(language.gpt(), 2))
    assert told["fp32"]["perplexity"] == pytest.approx(expected, rel=0.01)
    assert abs(told["int8"]["perplexity"] / expected - 1) < 0.02
    assert told["int4"]["file_mib"] < told["mixed"]["file_mib"] < told["int8"]["file_mib"] < told["fp32"]["file_mib"]
    assert all(row["tokens_per_s"] > 0 for row in told.values())
    assert run[0]["text"].startswith("The ") and len(run[0]["text"]) == 4 + 30


def test_what_is_kept_writes_the_same_text_again(run: tuple[dict[str, Any], Path]) -> None:
    result, kept = run
    names = {path.name for path in kept.iterdir()}
    assert names >= {"config.json", "model.safetensors", "characters.json", "mixed.onnx", "mixed.plan.json"}
    words = open_vocabulary(str(kept))
    prompt = words.encoded("The ").tolist()
    with Writer(onnxruntime.open(kept / "mixed.engine"), 64) as writer:
        assert writer.nothing(2)[0].numpy().dtype == np.int8
        planned = result["variants"]["mixed"]["layers"]
        assert writer.card is not None and {name: writer.card.got[name] for name in planned} == planned
        assert "The " + words.decoded(decoding.written(writer, prompt, 30, 0.7, 0)) == result["text"]
        drawn = [decoding.written(writer, prompt, 80, 0.7, seed) for seed in (0, 0, 1)]
        assert drawn[0] == drawn[1] != drawn[2] and len(drawn[0]) == 80  # beyond the context of 64
        assert decoding.written(writer, prompt, 9, 0.0, 0) == decoding.written(writer, prompt, 9, 0.0, 1)


@torch.no_grad()
def test_what_an_engine_finds_likeliest_is_so_to_the_model(run: tuple[dict[str, Any], Path]) -> None:
    model, prompt = language.gpt(), language.source().vocabulary.encoded("The ").tolist()
    with Writer(onnxruntime.open(run[1] / "fp32.engine"), 64) as writer:
        said = decoding.written(writer, prompt, 40, 0.0, 0)
        least = decoding.written(writer, prompt, 40, 50.0, 0)  # nearly any token, by contrast
    for text, is_likeliest in ((said, True), (least, False)):
        logits = model(torch.tensor([[*prompt, *text[:-1]]]))[0, :, len(prompt) - 1 :].T
        short = logits.amax(1) - logits[torch.arange(40), torch.tensor(text)]
        assert bool((short < 0.05).all()) == is_likeliest  # the integer cache moves logits a little


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["--data", "nowhere"], "there is no text at 'nowhere'"),
        (["--model", "nowhere"], "nowhere has no config.json and no model.safetensors"),
        (["--target", "jetson-nano"], "a decoder runs on ONNX Runtime"),
        (["--target", "moon"], "there is no target 'moon'"),
        (["--formats", "w8a8", "w4b32"], "w8a8 round activations"),
        (["--formats", "w4b77", "--budget", "size<=many"], "w4b77.*|size<=many"),
        (["--temperature", "-1"], "--temperature -1.0"),
        (["--prompt", ""], "--prompt is empty"),
        (["--recipe", "magic"], "there is no .*'magic'"),
        (["--window", "40000"], "hold no window of 40000"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(argv, told, capsys, tmp_path):
    out = tmp_path / "out"
    assert launcher.main(["generate", *argv, "--steps", "1", "--out", str(out)]) == 2
    assert re.search(told, capsys.readouterr().err)
    assert not out.exists()
