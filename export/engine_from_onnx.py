"""``edge-mpq build``: build the engines of a bundle on the machine that will run them.

A board file: it needs what the engine needs, and no torch.
"""

import argparse
import json
import os
import sys

from edge_mpq import engines
from edge_mpq.errors import BundleError, EngineError
from edge_mpq.records import bundle as bundles
from edge_mpq.records import plan as plans
from edge_mpq.records import target as targets

# Which plan a role's ONNX carries; fp32 carries none.
PLANNED = {"model": "plan"}
ROLES = ("model", "fp32", "int8")


def engine_path(folder, role):
    """Where the engine of a role lies in its bundle."""
    return os.path.join(str(folder), "engines", role + ".engine")


def build(folder, role="model", backend=None, threads=1):
    """Build the engine of ``role`` in the bundle at ``folder``; its card.

    backend: another one than the target's.  Raises BundleError for a torn bundle or a role it
    does not have, EngineError when the backend cannot build here.
    """
    bundle = bundles.open_folder(folder)
    target = targets.get(bundle.target)
    if role not in bundle.files:
        raise BundleError("{} has no {!r} model".format(folder, role), "it has " + ", ".join(sorted(bundle.files)))
    if target.backend == "simulation" and backend is None:
        raise EngineError("target simulation deploys nothing", "quantize for a board, or give --backend onnxruntime")
    plan = plans.load(os.path.join(str(folder), bundle.files["plan"])) if PLANNED.get(role) in bundle.files else None
    path = engine_path(folder, role)
    if not os.path.isdir(os.path.dirname(path)):
        os.makedirs(os.path.dirname(path))
    module = engines.get(backend or target.backend)
    return module.build(os.path.join(str(folder), bundle.files[role]), path, target, plan, threads)


def main(argv):
    """Run the verb."""
    parser = argparse.ArgumentParser(prog="edge-mpq build", description="Build the engines of a bundle here.")
    parser.add_argument("bundle", metavar="DIR", help="a folder written by edge-mpq quantize or export")
    parser.add_argument("--engine", choices=ROLES, help="build one of them (default: all the bundle has)")
    parser.add_argument("--backend", metavar="B", help="another backend than the target's, such as onnxruntime")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="threads of the engine (1)")
    parser.add_argument("--json", action="store_true", help="one line of results on stdout")
    args = parser.parse_args(argv)
    held = bundles.open_folder(args.bundle).files
    results = {}
    for role in [args.engine] if args.engine else [role for role in ROLES if role in held]:
        card = build(args.bundle, role, args.backend, args.threads)
        results[role] = dict(card._asdict(), path=engine_path(args.bundle, role))
        sys.stderr.write("built {} ({:.1f} s)\n".format(results[role]["path"], card.build_s))
        for layer, asked, got in card.mismatches():
            sys.stderr.write("  {}: asked {}, got {}\n".format(layer, asked, got))
    if args.json:
        sys.stdout.write(json.dumps(results) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
