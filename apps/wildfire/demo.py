"""``edge-mpq demo``: the whole path once, on wildfire pictures.

Draws a data set in the FLAME layout, trains a small classifier, plans its precision layer
by layer, quantizes, exports, builds the engine, flies a camera over a burning forest
with it, and writes a page that says what all of it measured.
"""

import argparse
import shlex

from apps.stream.options import above_zero
from apps.terminal import finish


def main(argv: list[str]) -> int:
    """Run the verb."""
    parser = argparse.ArgumentParser(prog="edge-mpq demo", description=__doc__.split(": ", 1)[1])
    parser.add_argument("--out", default="runs/demo", metavar="DIR", help="where to write (runs/demo)")
    parser.add_argument("--photos", metavar="DIR", help="real photographs in Fire/ and No_Fire/, to measure on as well")
    parser.add_argument(
        "--scale", type=above_zero(float), default=1.0, metavar="X", help="pictures and epochs times X (1)"
    )
    parser.add_argument("--json", action="store_true", help="one line of results on stdout")
    args = parser.parse_args(argv)

    from apps.wildfire import demonstration

    command = "edge-mpq demo" + (" " + shlex.join(argv) if argv else "")
    return finish(demonstration.run(args.out, args.photos, args.scale, command), args.json)
