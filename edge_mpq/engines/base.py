"""What an engine is: something opened once, asked many times, closed.

A backend is a file of this folder with two functions::

    build(onnx_path, engine_path, target, plan=None, threads=1) -> EngineCard
    open(engine_path, threads=1) -> Engine

``build`` writes the engine and its card (``engine_path`` + ``.json``) whole or not
at all.  ``open`` refuses an engine whose card is missing, whose bytes were changed,
or that was built on another device.
"""

import os
from typing import NamedTuple, Optional, Tuple

from edge_mpq.errors import EngineError
from edge_mpq.records import bundle, document
from edge_mpq.records import engine as engine_record
from edge_mpq.records import plan as plans


class TensorSpec(NamedTuple):
    """An input or output: None stands for an extent that is free (the batch)."""

    name: str
    shape: Tuple[Optional[int], ...]
    dtype: str


class LayerTime(NamedTuple):
    """Mean time of one planned layer, with the kernels fused into it; other work is layer ''."""

    layer: str
    ms: float


class Engine(object):
    """An opened engine.  Use it in a ``with`` block or call :meth:`close`."""

    card = None  # type: Optional[engine_record.EngineCard]
    inputs = ()  # type: Tuple[TensorSpec, ...]
    outputs = ()  # type: Tuple[TensorSpec, ...]

    def infer(self, batch):
        """Run one float32 array [N, C, H, W]; the list of output arrays.

        Raises EngineError when the shape does not fit the engine's input.
        """
        raise EngineError("{} cannot infer".format(type(self).__name__), "use a backend of edge_mpq.engines")

    def profile(self, batch, runs=50):
        """[LayerTime] of ``runs`` inferences of ``batch``, or [] where it cannot tell."""
        return []

    def close(self):
        """Free what the engine holds; twice is harmless."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def check(self, batch):
        """Raise EngineError unless ``batch`` fits the first input."""
        spec = self.inputs[0]
        fits = len(batch.shape) == len(spec.shape) and all(
            want is None or want == have for want, have in zip(spec.shape, batch.shape)
        )
        if not fits or str(batch.dtype) != spec.dtype:
            raise EngineError(
                "input {!r} takes {} {}, not {} {}".format(
                    spec.name, spec.dtype, list(spec.shape), batch.dtype, list(batch.shape)
                ),
                "prepare frames with the recipe of the engine's bundle",
            )


def asked_of(plan):
    """layer -> short name of what a plan asks, {} for None."""
    return {} if plan is None else {name: plans.describe(choice) for name, choice in plan.choices.items()}


def keep(engine_path, data, card):
    """Write an engine's bytes and its card; the card, with digest and length of the bytes filled in."""
    document.write_bytes(str(engine_path), data)
    card = card._replace(engine_sha256=bundle.digest(str(engine_path)), engine_bytes=len(data))
    engine_record.save(card_path(engine_path), card)
    return card


def card_path(engine_path):
    """Where the card of an engine lies."""
    return str(engine_path) + ".json"


def verified_card(engine_path, backend, device):
    """The card of ``engine_path``; EngineError when it is of other bytes, backend or device."""
    engine_path = str(engine_path)
    if not os.path.isfile(engine_path):
        raise EngineError("no engine at {}".format(engine_path), "build it with edge-mpq build")
    card = engine_record.load(card_path(engine_path))
    if card.backend != backend:
        raise EngineError("{} is an engine of {}".format(engine_path, card.backend), "open it with that backend")
    if card.device != device:
        raise EngineError(
            "{} was built on {!r}, this is {!r}".format(engine_path, card.device, device),
            "build it again here from its ONNX",
        )
    if bundle.digest(engine_path) != card.engine_sha256:
        raise EngineError("{} is torn or was changed after it was built".format(engine_path), "build it again")
    return card
