"""Measure a bundle's engines on a board: latency in interleaved turns, and energy where it can be read.

Times are of one frame from the host's memory to its answer there, without camera and
preprocessing.  docs/bundle.md says how each figure is made.
"""

import argparse
import json
import os
import shlex
import sys
import time

import cv2
import numpy as np

from apps import board_report, board_timing, doctor_facts
from apps.stream import jetson
from apps.stream.engine_from_bundle import ROLES, open_engine, roles_of
from apps.stream.power import Sampler
from edge_mpq.engines import inputs
from edge_mpq.errors import SourceError
from edge_mpq.records import bundle as bundle_record
from edge_mpq.records import plan as plan_record
from edge_mpq.records import report as report_record
from edge_mpq.records.report import LayerRow, RunReport, Variant
from export.engine_from_onnx import source_of

MIB = 2.0**20
IDLE_S = 2.0


def variant(name, timed, reference, engine, file_bytes, weights, rows, profile, agreement):
    """The Variant of one engine.

    weights: (MiB, mean bits).  rows: what is known of its layers beforehand.  profile:
    [LayerTime] of the engine.
    """
    p50, p99 = (float(np.percentile(timed.calls_ms, rank)) for rank in (50, 99))
    got = engine.card.got if engine.card else {}
    times = {item.layer: item.ms for item in profile}
    return Variant(
        name=name,
        file_mib=file_bytes / MIB,
        weight_mib=weights[0],
        weight_bits=weights[1],
        p50_ms=p50,
        p99_ms=p99,
        fps=1e3 / p50,
        speedup=board_timing.speedup(reference, timed),
        agreement=agreement,
        layers=[row._replace(got=got.get(row.layer, "unknown"), measured_ms=times.get(row.layer)) for row in rows],
    )


def planned_rows(plan):
    """Layer rows of a plan alone: how many weights and operations a layer has stays with the host (0)."""
    return [
        LayerRow(name, plan_record.describe(choice), "unknown", 0, 0, why=choice.why)
        for name, choice in plan.choices.items()
    ]


def nominal_weights(role, plan, file_bytes):
    """(MiB, mean bits) of a role's weights, where the host measured nothing: by the plan, else by the file."""
    predicted = plan.predicted if plan else {}
    bits, mib = predicted.get("weight_bits"), predicted.get("size_mib")
    if not bits or mib is None:
        return file_bytes / MIB, 32.0
    mine = {"fp32": 32.0, "int8": 8.0, "calibrated": 8.0}.get(role, bits)
    return mib / bits * mine, mine


def frames_of(folder, recipe):
    """The pictures of ``folder`` as inputs [1, 3, H, W]; [] where there is no such folder."""
    names = sorted(os.listdir(folder)) if folder and os.path.isdir(folder) else []
    pictures = [(name, cv2.imread(os.path.join(folder, name), cv2.IMREAD_COLOR)) for name in names]
    for name, picture in pictures:
        if picture is None:
            raise SourceError("{} in {} is no picture".format(name, folder), "make the bundle again")
    return [inputs.batch([picture], recipe) for _, picture in pictures]


def machine_of(card, threads):
    """What a report says of the machine: board, system, modes and versions."""
    told = {"processor": card.device, "threads": str(threads), "python": "{}.{}.{}".format(*sys.version_info[:3])}
    board = jetson.read()
    if board:
        told.update(board=board.model, jetpack=board.jetpack, l4t=".".join(map(str, board.l4t)))
        told["power_mode"] = doctor_facts.power_modes()[0] or "not told"
        for name, mhz in zip(("cpu_mhz", "gpu_mhz"), doctor_facts.clocks()):
            told[name] = "{} to {}".format(*mhz) if mhz else "not told"
    return dict(told, **card.versions)


def measure(folder, bundle, frames, args, sampler, say):
    """Build what is missing, measure, and give the RunReport."""
    recipe = inputs.from_json(bundle.recipe)
    batches = frames_of(frames, recipe)
    batch = batches[0] if batches else np.random.RandomState(0).randn(1, 3, recipe.height, recipe.width)
    plan = plan_record.load(os.path.join(folder, bundle.files["plan"])) if "plan" in bundle.files else None
    idle = _idle(sampler, say)
    engines, roles = {}, roles_of(folder, bundle)
    try:
        for role, _ in roles:
            engines[role] = open_engine(folder, bundle, role, args.backend, args.threads, say)
        reference = "fp32" if "fp32" in engines else "model"
        agreed = {role: board_timing.agreement(engine, engines[reference], batches) for role, engine in engines.items()}
        say("timing {} in {} turns".format(", ".join(engines), args.turns))
        batch = batch.astype(np.float32)
        timed = board_timing.interleaved(engines, batch, args.turns, args.warm, sampler)
        made, known = [], before(folder)
        for role, name in roles:
            size = os.path.getsize(os.path.join(folder, bundle.files[source_of(role)]))
            weights, rows = known_of(role, known.get(name), plan, size)
            profile = engines[role].profile(batch) if rows else []
            spent = timed[role], timed[reference]
            made.append(variant(name, *spent, engines[role], size, weights, rows, profile, agreed[role]))
        machine = machine_of(engines["model"].card, args.threads)
    finally:
        for engine in engines.values():
            engine.close()
    return RunReport(
        title="{} on {}".format(bundle.title, machine.get("board", machine["processor"])),
        created=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        target=bundle.target,
        machine=machine,
        variants=made,
        facts=_facts(timed, idle, args.turns, len(batches), plan),
    )


def known_of(role, told, plan, file_bytes):
    """((MiB, mean bits) of the weights, layer rows) of a role: as the host ``told``, else by the plan."""
    if told is not None:
        return (told.weight_mib, told.weight_bits), told.layers
    return nominal_weights(role, plan, file_bytes), planned_rows(plan) if plan and role == "model" else []


def _idle(sampler, say):
    """The Power of the board that does nothing, or None where it cannot be read."""
    if not sampler.reads_power:
        return None
    say("idle for {:.0f} s, to know what the board takes".format(IDLE_S))
    sampler.start()
    time.sleep(IDLE_S)
    return sampler.stop()


def before(folder):
    """Report name -> Variant as the host knew it, {} where it measured and planned none."""
    path = os.path.join(folder, board_report.NAME)
    return {made.name: made for made in report_record.load(path).variants} if os.path.isfile(path) else {}


def _facts(timed, idle, turns, frames, plan):
    facts = {"turns": turns, "frames_compared": frames}
    if plan is not None:
        facts["model_fingerprint"] = plan.model
    if idle is not None:
        facts["idle_w"] = idle.mean_w
    for role, name in ROLES:
        if role in timed:
            facts[name + "_calls"] = int(timed[role].calls_ms.size)
        if role in timed and timed[role].mean_w is not None:
            facts[name + "_mean_w"] = timed[role].mean_w
            facts[name + "_frame_j"] = timed[role].frame_j
    hottest = [power.max_c for one in timed.values() for power in one.powers if power.max_c is not None]
    if hottest:
        facts["hottest_c"] = max(hottest)
    return facts


def say(line):
    """One line for the person who watches."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def main(argv, frames=None, prog="bench"):
    """Run the verb on the bundle folder that ``argv`` begins with; frames: a folder of pictures to time on."""
    parser = argparse.ArgumentParser(prog=prog, description="Measure a bundle's engines on this board.")
    parser.add_argument("bundle", help="folder that holds bundle.json")
    parser.add_argument("--backend", help="run on another backend than the target's, such as onnxruntime")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="threads of an engine on a processor (1)")
    parser.add_argument("--turns", type=int, default=20, metavar="N", help="turns of each engine, 0.5 s or more (20)")
    parser.add_argument("--warm", type=float, default=2.0, metavar="S", help="seconds an engine runs beforehand (2)")
    parser.add_argument("--out", default=board_report.NAME, metavar="FILE", help="the report (report.json)")
    parser.add_argument("--json", action="store_true", help="print the variants as one line on stdout")
    args = parser.parse_args(argv)
    if args.turns < 1 or args.threads < 1 or not 0 <= args.warm < 3600:
        parser.error("--turns and --threads are at least 1, --warm is 0 to 3600 seconds")
    bundle = bundle_record.open_folder(args.bundle)
    report = measure(args.bundle, bundle, frames, args, Sampler(), say)
    report = report._replace(commands=["{} {}".format(prog, " ".join(shlex.quote(word) for word in argv[1:])).strip()])
    report_record.save(args.out, report)
    say(board_report.text(report))
    say("report: {}".format(args.out))
    if args.json:
        told = {made.name: dict(made._asdict(), layers=len(made.layers)) for made in report.variants}
        sys.stdout.write(json.dumps(dict(told, facts=report.facts)) + "\n")
    return 0
