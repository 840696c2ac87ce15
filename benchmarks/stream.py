"""How much of its engine's rate a stream keeps: frames a second of the whole loop and of the bare engine, in turns.

    python -m benchmarks.stream --make BUNDLE --model mobilenet_v2     # 224 x 224, random weights: only times are told
    python -m benchmarks.stream BUNDLE --role fp32 [--video V.mp4] [--turns 20] [--seconds 1] [--pin]

``bare``: the engine alone, on one prepared frame again and again.  ``loop``: the test scene (640 x
480), every frame in order, to no sink; ``newest``: the newest frame only, of a camera of 1.5 times the engine's rate;
``jsonl``: with a line of JSON a frame; ``report``: with a report's sample pictures; ``overlay``: with
a video of every picture; ``video``: from the file V instead of the scene.  ``streams_N``: N scenes on
the engine, frames of all of them.  ``ratio``: frames a second against the ``bare`` of the same turn, [lower
quartile, median, upper quartile] of the turns.  ``of_medians``: the same of the median time from call to
call of the engine, of each picture of a call: other programs disturb it less.  ``stages_ms``: medians of
the last turn.

--pin: the engine's thread keeps to one core and all others to another.  An idle machine's scheduler
does so by itself; on one that other programs keep busy, it may set a thread behind the engine's.
"""

import argparse
import contextlib
import json
import os
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import cv2

from apps.stream import loop, sinks
from apps.stream.cameras.again import Again
from apps.stream.cameras.capture import Capture
from apps.stream.cameras.frames import Paced, Source, Synthetic
from apps.stream.cameras.several import Several
from apps.stream.cameras.sources import open_source
from apps.stream.engine_from_bundle import ROLES, open_engine
from apps.stream.readers import Whole
from edge_mpq.engines import inputs
from edge_mpq.engines.base import Engine
from edge_mpq.records import bundle as bundles

CLASSES = 1000


def make(folder: Path, name: str, size: int) -> None:
    """Write a bundle of the zoo's model ``name`` with random weights, as its fp32 engine alone."""
    import torch

    from edge_mpq import graph
    from edge_mpq.loading import load_model
    from export import onnx_from_torch

    torch.manual_seed(0)
    traced = graph.trace(load_model(name).eval(), torch.zeros(2, 3, size, size))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "fp32.onnx").write_bytes(onnx_from_torch.onnx_from_graph(traced, 17).SerializeToString())
    recipe = inputs.to_json(inputs.Recipe(size, size))
    bundles.seal(folder, bundles.Bundle(name, "cpu-x86-vnni", "classify", recipe, [], {"fp32": "fp32.onnx"}))


class Timed(Engine):
    """An engine that notes when it is called."""

    def __init__(self, engine: Engine) -> None:
        self.card, self.inputs, self.outputs, self._engine = engine.card, engine.inputs, engine.outputs, engine
        self.calls: list[tuple[float, int]] = []

    def infer(self, batch):
        self.calls.append((time.perf_counter(), len(batch)))
        return self._engine.infer(batch)

    def picture_ms(self) -> float:
        """Median time from call to call, for each picture of a call; the times are forgotten."""
        calls, self.calls = self.calls, []
        pairs = zip(calls, calls[1:], strict=False)
        return 1e3 * statistics.median((late - soon) / count for (soon, count), (late, _) in pairs)


class Pinned(sinks.Sink):
    """A reader and a sink that keep the threads they are called from, but for the main one, to ``core``."""

    def __init__(self, reader: Whole, core: int) -> None:
        self._reader, self._core, self._done = reader, core, set[threading.Thread]()
        self.decode = reader.decode

    def prepare(self, pixels):
        """As the reader's."""
        self._keep()
        return self._reader.prepare(pixels)

    def write(self, shown):
        self._keep()

    def _keep(self) -> None:
        thread = threading.current_thread()
        if thread not in self._done and thread is not threading.main_thread():
            self._done.add(thread)
            os.sched_setaffinity(0, {self._core})


def bare(engine: Engine, reader: Whole, seconds: float) -> float:
    """Frames a second of ``engine`` alone."""
    batch = reader.prepare(Synthetic().read())
    engine.infer(batch)
    begun, frames = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        engine.infer(batch)
        frames += 1
    return frames / (time.perf_counter() - begun)


def ways(video: str | None, fps: float) -> dict[str, Any]:
    """name -> (sources, newest, folder -> sinks)."""

    def none(folder: str) -> list[sinks.Sink]:
        return []

    found: dict[str, Any] = {
        "loop": (lambda: [Synthetic()], False, none),
        "newest": (lambda: [Paced(Synthetic(), 1.5 * fps)], None, none),
        "jsonl": (lambda: [Synthetic()], False, lambda folder: [sinks.JsonLines(folder + "/out.jsonl")]),
        "report": (lambda: [Synthetic()], False, lambda folder: [sinks.Sampler()]),
        "overlay": (lambda: [Synthetic()], False, lambda folder: [sinks.VideoFile(folder + "/out.avi", 25, False)]),
    }
    if video is not None:
        found["video"] = (lambda: [Again(lambda: open_source(video))], False, none)
    found["streams_2"] = (lambda: [Synthetic() for _ in range(2)], False, none)
    found["streams_4"] = (lambda: [Synthetic() for _ in range(4)], False, none)
    return found


def whole(engine: Engine, reader: Any, way: Any, seconds: float, first: list[sinks.Sink]):
    """The Stream of one turn."""
    opened, newest, made = way
    found: list[Source] = opened()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        capture = stack.enter_context(Capture(found[0], newest) if len(found) == 1 else Several(found, newest))
        outs = made(folder)
        for out in outs:
            stack.callback(out.close)
        return loop.run(capture, engine, reader, first + outs, seconds=seconds)


def main() -> None:
    """Print a line a way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--make", action="store_true", help="write the bundle first, of --model")
    parser.add_argument("--model", default="mobilenet_v2")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--role", choices=[role for role, _ in ROLES], default="fp32")
    parser.add_argument("--video")
    parser.add_argument("--only", nargs="+", help="these ways alone")
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--pin", action="store_true")
    args = parser.parse_args()
    if args.make:
        return make(args.bundle, args.model, args.size)
    cv2.setNumThreads(1)
    record = bundles.open_folder(args.bundle)
    plain = Whole(record)
    reader: Any = plain
    first: list[sinks.Sink] = []
    if args.pin:
        own, other = sorted(os.sched_getaffinity(0))[:2]
        os.sched_setaffinity(0, {own})
        reader = Pinned(plain, other)
        first = [reader]
    with open_engine(args.bundle, record, args.role) as opened:
        rate = bare(opened, plain, 1.0)
    table = {name: way for name, way in ways(args.video, rate).items() if not args.only or name in args.only}
    ratios: dict[str, list[float]] = {name: [] for name in table}
    medians: dict[str, list[float]] = {name: [] for name in table}
    stages: dict[str, dict[str, float]] = {}
    alone: list[float] = []
    with open_engine(args.bundle, record, args.role) as opened:
        engine = Timed(opened)
        for turn in range(args.turns):
            alone.append(bare(engine, plain, args.seconds))
            bare_ms = engine.picture_ms()
            names = list(table)
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                stream = whole(engine, reader, table[name], args.seconds, first)
                ratios[name].append(stream.fps / alone[-1])
                medians[name].append(bare_ms / engine.picture_ms())
                stages[name] = {stage: round(ms, 3) for stage, ms in stream.stages_p50_ms.items()}
    told: dict[str, Any] = {"bare_fps": round(statistics.median(alone), 1)}
    for name in table:
        told[name] = {"ratio": spread(ratios[name]), "of_medians": spread(medians[name]), "stages_ms": stages[name]}
    return print("\n".join(f"{name}: {json.dumps(value)}" for name, value in told.items()))


def spread(values: list[float]) -> list[float]:
    """[lower quartile, median, upper quartile]."""
    return [round(value, 3) for value in statistics.quantiles(values, n=4)]


if __name__ == "__main__":
    main()
