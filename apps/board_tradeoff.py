"""``python3 NAME.pyz tradeoff``: a bundle's engines at every setting of threads, batch and power mode, on a board.

Accuracy is not known there: the share of answers to the bundle's frames on which an engine
says what fp32 does stands in its place.  ``edge-mpq tradeoff --compare`` on the host draws it.
"""

import argparse
import json
import shlex
import sys
import time

import numpy as np

from apps import board_bench, board_power_mode, board_sweep, board_timing
from apps.board_bench import say
from apps.board_sweep import Group
from apps.stream.engine_from_bundle import ROLES, open_engine
from apps.stream.options import above_zero
from apps.stream.power import Sampler
from edge_mpq.engines import inputs
from edge_mpq.errors import BundleError
from edge_mpq.records import bundle as bundle_record
from edge_mpq.records import tradeoff as tradeoff_record
from edge_mpq.records.tradeoff import Tradeoff

NAME = "tradeoff.json"


def measure(folder, bundle, frames, args, sampler, say):
    """Build what is missing, measure every setting, and give the Tradeoff."""
    names = {role: name for role, name in ROLES if role in bundle.files}
    if "fp32" not in names:
        raise BundleError("the bundle {} has no fp32 to be held against".format(folder), "make it again")
    modes = board_power_mode.asked(args.power_mode)
    recipe = inputs.from_json(bundle.recipe)
    pictures = board_bench.frames_of(frames, recipe)
    noise = np.random.RandomState(0).randn(1, 3, recipe.height, recipe.width)
    picture = (pictures[0] if pictures else noise).astype(np.float32)
    # fp32 answers one picture in any case: that is what all are held against.
    opened, made, asked = {}, [], [1] + args.batch
    try:
        for role, name in names.items():
            for threads in args.threads:
                opened[name, threads] = open_engine(folder, bundle, role, args.backend, threads, say, asked)
        first = {name: opened[name, min(args.threads)] for name in names.values()}
        board_sweep.refuse_batches(first, args.batch)
        agreed = {name: board_timing.agreement(one, first["fp32"], pictures) for name, one in first.items()}
        one = first["fp32"].inputs[0].shape[0] or 1
        wanted = board_sweep.settings(list(names.values()), args.threads, args.batch, "fp32", one)
        with board_power_mode.PowerModes() as power:
            for mode in modes or [None]:
                if mode:
                    power.take(*mode)
                now = mode[1] if mode else board_bench.machine_of(first["fp32"].card, 1).get("power_mode", "")
                say("timing {} settings in {} turns {}".format(len(wanted), args.turns, now).strip())
                taken = board_sweep.timed(wanted, opened, picture, args.turns, args.warm, sampler)
                made += board_sweep.points(Group(recipe.width, recipe.height, now), taken, wanted[0])
        plans = [board_sweep.facts_of(folder, bundle, role, name, first[name], picture) for role, name in names.items()]
        machine = board_bench.machine_of(first["fp32"].card, min(args.threads))
    finally:
        for engine in opened.values():
            engine.close()
    # The points tell threads and power mode, of which there may be several.
    machine = {name: text for name, text in machine.items() if name not in ("threads", "power_mode")}
    return Tradeoff(
        title="{} on {}".format(bundle.title, machine.get("board", machine["processor"])),
        created=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        task=bundle.task,
        data="frames of the bundle",
        pictures=len(pictures),
        reference="fp32",
        machine=machine,
        commands=[],
        plans=plans,
        points=[point._replace(agreement=agreed[point.plan]) for point in made],
    )


def text(tradeoff):
    """Title and machine, then a line a point."""
    lines = ["{} ({})".format(tradeoff.title, tradeoff.created)]
    lines += ["  {}: {}".format(name, value) for name, value in tradeoff.machine.items()]
    heads = "  {:10s} {:>7s} {:>5s} {:>10s} {:>9s} {:>9s} {:>9s} {:>8s} {:>9s}"
    lines.append(heads.format("", "threads", "batch", "mode", "p50 ms", "p99 ms", "FPS", "speedup", "agrees"))
    row = "  {0.plan:10s} {0.threads:7d} {0.batch:5d} {0.power_mode:>10s} {0.p50_ms:9.3f} {0.p99_ms:9.3f} {0.fps:9.1f}"
    row += " {0.speedup:8.2f} "
    for point in tradeoff.points:
        agrees = "-" if point.agreement is None else "{:.2%}".format(point.agreement)
        lines.append(row.format(point) + "{:>9s}".format(agrees))
    return "\n".join(lines)


def main(argv, frames=None, prog="tradeoff"):
    """Run the verb on the bundle folder that ``argv`` begins with; frames: a folder of pictures to answer."""
    parser = argparse.ArgumentParser(prog=prog, description="Measure a bundle's engines at several settings.")
    parser.add_argument("bundle", help="folder that holds bundle.json")
    parser.add_argument("--backend", help="run on another backend than the target's, such as onnxruntime")
    parser.add_argument("--threads", type=above_zero(int), nargs="+", default=[1], metavar="N",
                        help="threads of an engine on a processor (1)")  # fmt: skip
    parser.add_argument("--batch", type=above_zero(int), nargs="+", default=[1], metavar="N",
                        help="pictures in a call (1)")  # fmt: skip
    parser.add_argument("--power-mode", nargs="+", default=[], metavar="M",
                        help="power modes to measure in, by name or number; wants root (the one there is)")  # fmt: skip
    parser.add_argument("--turns", type=above_zero(int), default=20, metavar="N", help="turns of each setting (20)")
    parser.add_argument("--warm", type=float, default=1.0, metavar="S", help="seconds each runs beforehand (1)")
    parser.add_argument("--out", default=NAME, metavar="FILE", help="what to write ({})".format(NAME))
    parser.add_argument("--json", action="store_true", help="print the points as one line on stdout")
    args = parser.parse_args(argv)
    if not 0 <= args.warm < 3600:
        parser.error("--warm is 0 to 3600 seconds")
    args.threads, args.batch = sorted(set(args.threads)), sorted(set(args.batch))
    bundle = bundle_record.open_folder(args.bundle)
    made = measure(args.bundle, bundle, frames, args, Sampler(), say)
    made = made._replace(commands=["{} {}".format(prog, " ".join(shlex.quote(word) for word in argv[1:])).strip()])
    tradeoff_record.save(args.out, made)
    say(text(made))
    say("tradeoff: {}".format(args.out))
    if args.json:
        sys.stdout.write(json.dumps([point._asdict() for point in made.points]) + "\n")
    return 0
