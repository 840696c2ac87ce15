"""``edge-mpq bundle``: pack a bundle into one file that a board runs: ``python3 NAME.pyz``."""

import argparse
import os
import sys

import edge_mpq
from apps.terminal import bar, finish, say
from edge_mpq.errors import UsageError
from edge_mpq.records import bundle as bundles
from export import bundle_from_engine_inputs

SUFFIX = ".pyz"


def main(argv: list[str]) -> int:
    """Run the verb."""
    parser = argparse.ArgumentParser(prog="edge-mpq bundle", description="Pack a bundle into one file a board runs.")
    parser.add_argument("bundle", metavar="DIR", help="a folder written by edge-mpq quantize")
    parser.add_argument("--out", required=True, metavar="NAME.pyz", help="the file to write")
    parser.add_argument("--json", action="store_true", help="one line of results on stdout")
    args = parser.parse_args(argv)
    if not args.out.endswith(SUFFIX):
        raise UsageError(f"--out is {args.out!r}", f"name it NAME{SUFFIX}")
    contents = bundle_from_engine_inputs.write(args.bundle, args.out, edge_mpq.__version__, bar)
    size = os.path.getsize(args.out)
    say(f"{args.out}: {size / 2**20:.2f} MiB for {contents.target}")
    say(f"on the board: python3 {os.path.basename(args.out)} doctor, then build, run, bench, report")
    result = {
        "out": args.out,
        "bytes": size,
        "sha256": bundles.digest(args.out),
        "target": contents.target,
        "entries": len(contents.size) + 1,
        "frames": sum(name.startswith(bundle_from_engine_inputs.FRAMES + "/") for name in contents.size),
    }
    return finish(result, args.json)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
