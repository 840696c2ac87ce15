"""``edge-mpq train wildfire-table``: one wildfire model trained and deployed in every way, measured side by side.

Trains in fp32 and in mixed precision (AMP), quantizes after training (PTQ) and while training
(QAT), uniformly and by a plan, builds every engine and times them in turns.  Writes
DIR/comparison.json, .md and .html; a run that was cut goes on where it stopped.
"""

import argparse
import shlex

from apps.terminal import finish
from apps.wildfire import train_arguments
from edge_mpq.records import target as targets


def main(argv: list[str]) -> int:
    """Run the task."""
    parser = argparse.ArgumentParser(prog="edge-mpq train wildfire-table", description=__doc__.split(": ", 1)[1])
    parser.add_argument("--task", choices=("classify", "segment"), required=True, help="what the model is for")
    parser.add_argument("--model", metavar="M", help="as wildfire-classify and wildfire-segment take it")
    parser.add_argument("--weights", metavar="W", help=".pt or .safetensors state dict to start from")
    train_arguments.add_task(parser)
    parser.add_argument("--photos", metavar="DIR", help="real photographs in Fire/ and No_Fire/, to answer as well")
    parser.add_argument("--target", default="cpu-x86-vnni", metavar="T", help="one of " + ", ".join(targets.names()))
    parser.add_argument("--budget", metavar="B", help="of the mixed plans (5 bits a weight, or what comes closest)")
    parser.add_argument("--formats", nargs="+", metavar="F", help="their choice (w8a8 w4a8; without integers all)")
    parser.add_argument("--calibration", type=int, default=256, metavar="N", help="pictures to calibrate on (256)")
    parser.add_argument("--qat-epochs", type=int, metavar="N", help="epochs on the grids (a quarter of --epochs)")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="threads of the engines (1)")
    train_arguments.add_training(parser)
    args = parser.parse_args(argv)
    args.model = args.model or train_arguments.MODELS[args.task]

    from apps.wildfire import compare_ways

    return finish(compare_ways.compare(args, "edge-mpq train wildfire-table " + shlex.join(argv)), args.json)
