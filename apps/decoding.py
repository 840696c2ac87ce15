"""A decoder's engine at work: text, perplexity, and a passage to time.

Axis letters: N texts, T tokens, P tokens before them, V words.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from edge_mpq.engines.base import Engine
from edge_mpq.engines.onnxruntime import OrtEngine, library
from edge_mpq.progress import Progress, silent

Past = list[Any]  # of ONNX Runtime's own tensors, which stay where they are


class Writer(Engine):
    """The engine of an ONNX of export/decoder_onnx_from_torch.py, for texts of ``context`` tokens at most."""

    def __init__(self, engine: OrtEngine, context: int) -> None:
        self.context, self.card, self.inputs, self.outputs = context, engine.card, engine.inputs, engine.outputs
        self._engine = engine

    def nothing(self, texts: int) -> Past:
        """The past of ``texts`` texts before their first token."""
        free = (texts, None, 0, None)  # the extents that an ONNX leaves free are texts and tokens
        shapes = [[known if known is not None else extent or 0 for known, extent in zip(spec.shape, free, strict=True)]
                  for spec in self.inputs[1:]]  # fmt: skip
        empty = [np.zeros(shape, spec.dtype) for shape, spec in zip(shapes, self.inputs[1:], strict=True)]
        return [library().OrtValue.ortvalue_from_numpy(array) for array in empty]

    def step(self, tokens: np.ndarray, past: Past) -> tuple[np.ndarray, Past]:
        """Tokens int64 [N, T] behind ``past`` -> logits [N, V] of the last, and the past of what comes next."""
        given = library().OrtValue.ortvalue_from_numpy(np.ascontiguousarray(tokens))
        feeds = {spec.name: value for spec, value in zip(self.inputs, [given, *past], strict=True)}
        logits, *present = self._engine.session.run_with_ort_values([spec.name for spec in self.outputs], feeds)
        return logits.numpy(), present

    def infer(self, batch: np.ndarray) -> list[np.ndarray]:
        """Read tokens int64 [N, T] one after the other, as when they are written: what is timed."""
        past = self.nothing(len(batch))
        for place in range(batch.shape[1]):
            logits, past = self.step(batch[:, place : place + 1], past)
        return [logits]

    def close(self) -> None:
        """Free the engine."""
        self._engine.close()


def written(
    writer: Writer, prompt: Sequence[int], count: int, temperature: float, seed: int, progress: Progress = silent
) -> list[int]:
    """``count`` tokens that go on from ``prompt`` (one token at least), drawn at ``temperature``; at 0 the likeliest.

    Where the context is full, the later half of it is read again and the rest forgotten.
    """
    draw = np.random.default_rng(seed)
    text = list(prompt)
    unread, past, held = text[-writer.context :], writer.nothing(1), 0
    for _ in progress(range(count), "writing", count):
        if held + len(unread) > writer.context:
            unread, past, held = text[-(writer.context // 2) :], writer.nothing(1), 0
        logits, past = writer.step(np.array([unread], np.int64), past)
        held += len(unread)
        unread = [_chosen(logits[0], temperature, draw)]
        text += unread
    return text[len(prompt) :]


def _chosen(logits: np.ndarray, temperature: float, draw: np.random.Generator) -> int:
    """One of the words by its logits [V]."""
    if temperature == 0:
        return int(logits.argmax())
    shares = np.exp((logits - logits.max()).astype(np.float64) / temperature)
    return int(draw.choice(len(shares), p=shares / shares.sum()))


def perplexity(
    writer: Writer, batches: Sequence[tuple[torch.Tensor, torch.Tensor]], progress: Progress = silent
) -> float:
    """exp of the mean cross entropy of next tokens, each window [N, T] read token by token through the cache."""
    loss, count = 0.0, 0
    for tokens, following in progress(batches, "perplexity"):
        past = writer.nothing(len(tokens))
        for place in range(tokens.shape[1]):
            logits, past = writer.step(tokens[:, place : place + 1].numpy(), past)
            told = torch.nn.functional.cross_entropy(torch.from_numpy(logits), following[:, place], reduction="sum")
            loss, count = loss + told.item(), count + len(tokens)
    return math.exp(loss / count)
