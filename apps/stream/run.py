"""``edge-mpq run``: a bundle's model on a camera, a video, a folder of pictures or a stream.

Opens the engine beside the bundle, builds it first where there is none for this machine,
and shows every frame with label, confidence, mask and speed, in a window, on a page, in a
video, lines of JSON or a report.
"""

import argparse
import contextlib
import functools
import json
import platform
import shlex
import sys
import time

import cv2
import numpy as np

from apps.stream import decode, loop, sinks
from apps.stream.cameras import sources
from apps.stream.cameras.again import GIVE_UP_S, Again
from apps.stream.cameras.capture import Capture
from apps.stream.cameras.frames import Paced
from apps.stream.cameras.several import Several
from apps.stream.engine_from_bundle import ROLES, open_engine
from apps.stream.options import above_zero
from apps.stream.page import access, web
from apps.stream.power import Sampler
from apps.stream.switch import Switch
from apps.stream.watch import watch_options
from edge_mpq.engines import inputs
from edge_mpq.errors import SourceError
from edge_mpq.records import bundle as bundle_record
from edge_mpq.records import report as report_record

# Where the source does not tell its own rate.
VIDEO_FPS = 25.0


def main(argv):
    """Run the verb: 0, or after all is written SourceError where the source went too early."""
    args = _parser().parse_args(argv)
    bundle = bundle_record.open_folder(args.bundle)
    decode.check(bundle)
    inputs.from_json(bundle.recipe)
    cv2.setNumThreads(args.threads)
    with contextlib.ExitStack() as stack:
        # Source and sinks come first: what is missing there is to be known before an
        # engine is built, which takes minutes on a board.
        opened = [_source(args, spec) for spec in args.source]
        newest = None if args.mode is None else args.mode == "latency"
        capture = stack.enter_context(Capture(opened[0], newest) if len(opened) == 1 else Several(opened, newest))
        watching = watch_options.made(args, bundle, opened, say)
        for watch in watching.sinks:
            stack.callback(watch.close)
        switch = stack.enter_context(Switch(functools.partial(_engine, args, bundle), bundle, args.engine, say))
        outs, live = [], None
        if args.web is not None:
            live = stack.enter_context(web.served(args.web, bundle, switch, capture, say))
            outs.append(live)
        for sink in _sinks(args, opened, bundle):
            stack.callback(sink.close)
            outs.append(sink)
        outs += watching.sinks
        engine = switch.turn()
        say("{} ({}) on {}, frames from {}".format(bundle.title, args.engine, engine.card.device, capture.source.name))
        sampler = Sampler()
        sampler.start()
        stack.callback(sampler.stop)
        stream = loop.run(
            capture, engine, watching.reader, outs,
            frames=args.frames, seconds=args.seconds, live=live, view=watching.view,
        )  # fmt: skip
        power = sampler.stop()
        chosen = dict(_chosen(switch, live), **watch_options.facts(args, watching))
    say(_summary(stream))
    if args.report:
        pictures = [picture for sink in outs if isinstance(sink, sinks.Sampler) for picture in sink.pictures()]
        report_record.save(args.report, _report(args, argv, bundle, engine.card, stream, power, pictures, chosen))
    if args.json:
        sys.stdout.write(json.dumps(stream._asdict()) + "\n")
    if capture.vanished and stream.ended == capture.ended:
        raise SourceError("{}: {}".format(capture.source.name, stream.ended), "check the source; what came is kept")
    return 0


def say(line):
    """One line for the person who watches."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def _source(args, spec):
    opened = functools.partial(sources.open_source, spec, time.perf_counter, args.fps)
    if args.web is not None:
        return Again(opened, say=say)
    source = opened()
    # What only plays as a camera has an end.
    if not source.live or isinstance(source, Paced):
        return source
    first = [source]
    return Again(lambda: first.pop() if first else opened(), replay=False, give_up_s=GIVE_UP_S, say=say)


def _engine(args, bundle, role, tell):
    return open_engine(args.bundle, bundle, role, args.backend, args.threads, tell)


def _chosen(switch, live):
    """What was chosen on the page, as facts of a report: every engine that answered, and the threshold."""
    facts = {"engine": ", ".join(role for role in switch.names if switch.opened(role))}
    if live is not None and live.threshold != 0.5:
        facts["threshold"] = live.threshold
    return facts


class Status(sinks.Sink):
    """One line on a terminal that is written over once a second."""

    def __init__(self):
        self._next_s = 1.0

    def write(self, shown):
        if shown.time_s >= self._next_s:
            self._next_s = shown.time_s + 1.0
            answer = shown.answer
            line = "{:6d} frames  {:.1f} ms  {} {:.0f} %".format(
                shown.number + 1, shown.ms, answer.label, 100 * answer.confidence
            )
            sys.stderr.write("\r" + line[:78].ljust(78))
            sys.stderr.flush()

    def close(self):
        sys.stderr.write("\r" + " " * 78 + "\r")


def _sinks(args, opened, bundle):
    if not args.headless and args.web is None:
        yield sinks.Window(bundle.title)
    if args.video:
        live = any(source.live for source in opened)
        yield sinks.VideoFile(args.video, max(source.fps for source in opened) or VIDEO_FPS, live)
    if args.jsonl:
        yield sinks.JsonLines(args.jsonl)
    if args.report:
        yield sinks.Sampler()
    if sys.stderr.isatty():
        yield Status()


def _summary(stream):
    lines = ["{} frames in {:.1f} s ({})".format(stream.frames, stream.seconds, stream.ended)]
    lines += ["  " + _counts(part, part["source"]) for part in stream.parts]
    lines[0] += ": " + _counts(stream._asdict())
    stages = ", ".join("{} {:.2f}".format(name, ms) for name, ms in stream.stages_p50_ms.items())
    return "\n".join(lines + [stages + " ms"])


def _counts(told, source=""):
    """The figures of a stream, or of one ``source`` of several, in words."""
    lost = ", lost {} times".format(told["losses"]) if told["losses"] else ""
    return "{}{:.1f} FPS, p50 {:.2f} ms, p99 {:.2f} ms, {} dropped, {} torn{}".format(
        source and source + ": ", told["fps"], told["p50_ms"], told["p99_ms"], told["dropped"], told["torn"], lost
    )


def _report(args, argv, bundle, card, stream, power, pictures, chosen=()):
    machine = {"processor": card.device, "system": platform.platform(), "threads": str(args.threads)}
    versions = {"python": platform.python_version(), "numpy": np.__version__, "opencv": cv2.__version__}
    facts = {"engine": args.engine, "backend": card.backend, "engine_mib": card.engine_bytes / 1024.0**2}
    facts.update(chosen)
    energy = {"mean_w": power.mean_w, "frame_j": power.frame_j(stream.frames), "hottest_c": power.max_c}
    shown = [watch_options.without_secrets(args, sources.shown(word)) for word in argv]
    words = ["edge-mpq", "run"] + [shlex.quote(word) for word in shown]
    return report_record.RunReport(
        title=bundle.title,
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        target=bundle.target,
        machine=dict(machine, **dict(versions, **card.versions)),
        stream=stream,
        facts=dict(facts, **{name: value for name, value in energy.items() if value is not None}),
        pictures=pictures,
        commands=[" ".join(words)],
    )


def _parser():
    parser = argparse.ArgumentParser(prog="edge-mpq run", description="A bundle's model on whatever gives pictures.")
    parser.add_argument("bundle", help="folder that holds bundle.json")
    parser.add_argument(
        "--source", required=True, action="append", metavar="S",
        help="0 or /dev/video0, csi://0, usb:///dev/video0, rtsp://..., a video, a folder of pictures, "
        "a GStreamer pipeline, or synthetic; once more for each further stream on the same engine",
    )  # fmt: skip
    parser.add_argument(
        "--mode", choices=("latency", "throughput"),
        help="the newest frame, as of cameras, or every frame in order, as of files; by the source",
    )  # fmt: skip
    parser.add_argument("--fps", type=above_zero(float), help="play what is no camera as one of this rate")
    roles = [role for role, _ in ROLES]
    parser.add_argument("--engine", choices=roles, default="model", help="which of the bundle's (model)")
    parser.add_argument("--backend", help="run on another backend than the target's: onnxruntime, openvino, replay")
    parser.add_argument("--threads", type=above_zero(int), default=1, help="of the engine and of OpenCV (1)")
    parser.add_argument("--frames", type=above_zero(int), metavar="N", help="stop after N frames")
    parser.add_argument("--seconds", type=above_zero(float), metavar="T", help="stop after T seconds")
    parser.add_argument(
        "--web", nargs="?", type=access.parse, const=access.parse(""), metavar="HOST:PORT",
        help="serve a page with picture, figures and a switch between the engines, in place of the window "
        "(127.0.0.1:8080); what ends is opened again",
    )  # fmt: skip
    parser.add_argument("--headless", action="store_true", help="open no window")
    parser.add_argument("--video", metavar="OUT.mp4", help="write the frames with their overlay")
    parser.add_argument("--jsonl", metavar="OUT.jsonl", help="write one JSON object a frame")
    parser.add_argument("--report", metavar="REPORT.json", help="write what was measured, with sample frames")
    parser.add_argument("--json", action="store_true", help="print what was measured as one line on stdout")
    watch_options.add(parser)
    return parser
