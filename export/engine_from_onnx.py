"""``edge-mpq build``: build the engines of a bundle on the machine that will run them.

A board file: it needs what the engine needs, and no torch.  Some options are TensorRT's
alone: memory, batch, effort, a DLA core, and calibration on the board, which builds an int8
engine from the float model where its ONNX carries no Q/DQ.
"""

import argparse
import json
import os
import sys
import time

from apps.stream.options import above_zero
from edge_mpq import engines
from edge_mpq.engines import inputs
from edge_mpq.errors import BundleError, EngineError, UsageError
from edge_mpq.records import bundle as bundles
from edge_mpq.records import plan as plans
from edge_mpq.records import target as targets

ROLES = ("model", "fp32", "int8")
# The engine that calibration on the board builds, from the float model.
CALIBRATED = "calibrated"
# Which plan a role's engine is built by; fp32 is by none.
PLANNED = {"model": "plan", CALIBRATED: "plan"}
BATCH = 16
# A build of minutes says where it is this often.
EVERY_S = 5.0
TENSORRT = "--workspace, --batch, --level, --calibrate, --dla and --prefer"


def source_of(role):
    """The role whose ONNX the engine of ``role`` is built from."""
    return "fp32" if role == CALIBRATED else role


def engine_path(folder, role):
    """Where the engine of a role lies in its bundle."""
    return os.path.join(str(folder), "engines", role + ".engine")


def cache_path(folder, role):
    """Where the calibration cache lies that an engine was measured with, its sidecar beside it."""
    return os.path.join(str(folder), "engines", role + ".cache")


def build(folder, role="model", backend=None, threads=1, **more):
    """Build the engine of ``role`` in the bundle at ``folder``; its card.

    backend: another one than the target's.  more: for the backend's own build.  What its
    calibration measured stays beside the engine.  Raises BundleError for a torn bundle or a role
    it does not have, EngineError when the backend cannot build here.
    """
    bundle = bundles.open_folder(folder)
    target = targets.get(bundle.target)
    source, planned = source_of(role), PLANNED.get(role)
    if source not in bundle.files:
        raise BundleError("{} has no {!r} model".format(folder, source), "it has " + ", ".join(sorted(bundle.files)))
    if target.backend == "simulation" and backend is None:
        raise EngineError("target simulation deploys nothing", "quantize for a board, or give --backend onnxruntime")
    plan = plans.load(os.path.join(str(folder), bundle.files[planned])) if planned in bundle.files else None
    path = engine_path(folder, role)
    if not os.path.isdir(os.path.dirname(path)):
        os.makedirs(os.path.dirname(path))
    module = engines.get(backend or target.backend)
    if not hasattr(module, "build"):
        known = [name for name in engines.names() if name != "replay"]
        raise UsageError("{} builds no engine".format(backend), "choose one of " + ", ".join(known))
    onnx_path = os.path.join(str(folder), bundle.files[source])
    card = module.build(onnx_path, path, target, plan, threads, **more)
    if more.get("calibration") is not None:
        from calibrators import cache

        recipe = inputs.fingerprint(inputs.from_json(bundle.recipe))
        cache.keep(cache_path(folder, role), more["calibration"], onnx_path, recipe)
    return card


def calibration_of(folder, method, frames=None):
    """The calibration of ``method``: from the bundle's cache, or measured over the pictures at ``frames``."""
    import calibrators
    from calibrators import batches, cache

    calibrator = calibrators.get(method)
    bundle = bundles.open_folder(folder)
    recipe = inputs.from_json(bundle.recipe)
    if frames is not None:
        return calibrator.calibration(batches=batches.Batches(batches.frames_of(frames), recipe, BATCH))
    if "cache" not in bundle.files:
        raise BundleError("{} has no calibration cache".format(folder), "give --frames DIR to calibrate on pictures")
    paths = [os.path.join(str(folder), bundle.files[role]) for role in ("cache", "fp32")]
    scales, _ = cache.load(paths[0], paths[1], inputs.fingerprint(recipe))
    return calibrator.calibration(cache=scales)


def watched(say, clock=time.time):
    """What a build of TensorRT tells of its progress, to ``say`` in a line every EVERY_S seconds.

    A ``tell(phase, step, steps)`` as its build takes it.  Phases lie within each other, so the
    lines do not count up to one end.
    """
    told = [clock()]

    def tell(phase, step, steps):
        now = clock()
        if now - told[0] >= EVERY_S:
            told[0] = now
            say("  {}: {} of {}".format(phase, step, steps))

    return tell


def _for_tensorrt(args, backend):
    """What the options that are TensorRT's alone ask of its build; UsageError for another backend, or in vain."""
    if args.frames is not None and args.calibrate is None:
        raise UsageError("--frames is what --calibrate looks at, and that is not given", "give both or neither")
    if args.engine is not None and args.calibrate is not None:
        what = "--calibrate builds an engine of its own, --engine {} asks for another".format(args.engine)
        raise UsageError(what, "leave out one or the other")
    given = {
        "workspace_mib": args.workspace, "batch": args.batch and tuple(args.batch), "level": args.level,
        "dla_core": args.dla, "prefer": args.prefer or None,
    }  # fmt: skip
    given = {name: value for name, value in given.items() if value is not None}
    if backend != "tensorrt":
        if given or args.calibrate is not None:
            raise UsageError("{} are for TensorRT, and the backend is {}".format(TENSORRT, backend), "drop them")
        return {}
    from edge_mpq.engines import tensorrt

    more = {"options": tensorrt.Options(**given), "tell": watched(_say)}
    if args.calibrate is not None:
        more["calibration"] = calibration_of(args.bundle, args.calibrate, args.frames)
    return more


def _say(line):
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def _parser():
    parser = argparse.ArgumentParser(prog="edge-mpq build", description="Build the engines of a bundle here.")
    parser.add_argument("bundle", metavar="DIR", help="a folder written by edge-mpq quantize or export")
    parser.add_argument("--engine", choices=ROLES, help="build one of them (default: all the bundle has)")
    parser.add_argument("--backend", metavar="B", help="another backend than the target's, such as onnxruntime")
    parser.add_argument("--threads", type=above_zero(int), default=1, metavar="N", help="threads of the engine (1)")
    parser.add_argument("--calibrate", metavar="METHOD", help="TensorRT: calibrate fp32.onnx by entropy2, minmax, ...")
    parser.add_argument("--frames", metavar="DIR", help="pictures to calibrate on (default: the bundle's cache)")
    parser.add_argument("--workspace", type=int, metavar="MIB", help="TensorRT: memory a kernel may use while it runs")
    parser.add_argument(
        "--batch", type=int, nargs=3, metavar=("LEAST", "BEST", "MOST"), help="TensorRT: pictures at once (1 1 1)"
    )
    parser.add_argument("--level", type=int, metavar="N", help="TensorRT 8.6 on: effort of the builder, 0 to 5 (3)")
    parser.add_argument("--dla", type=int, metavar="CORE", help="TensorRT: build for this DLA core")
    parser.add_argument("--prefer", action="store_true", help="TensorRT: planned formats are wishes, not orders")
    parser.add_argument("--json", action="store_true", help="one line of results on stdout")
    return parser


def main(argv):
    """Run the verb."""
    args = _parser().parse_args(argv)
    bundle = bundles.open_folder(args.bundle)
    backend = args.backend or targets.get(bundle.target).backend
    more = _for_tensorrt(args, backend)
    if args.calibrate is not None:
        roles = [CALIBRATED]
    else:
        # A DLA runs no fp32.
        every = [role for role in ROLES if role in bundle.files and not (role == "fp32" and args.dla is not None)]
        roles = [args.engine] if args.engine else every
    results = {}
    for role in roles:
        card = build(args.bundle, role, args.backend, args.threads, **more)
        results[role] = dict(card._asdict(), path=engine_path(args.bundle, role))
        _say("built {} ({:.1f} s)".format(results[role]["path"], card.build_s))
        for layer, asked, got in card.mismatches():
            _say("  {}: asked {}, got {}".format(layer, asked, got))
    if args.json:
        sys.stdout.write(json.dumps(results) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
