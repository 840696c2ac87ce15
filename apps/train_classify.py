"""``edge-mpq train classify``: train a classifier, in floating point or, with --plan, as its engine will compute.

Floating point writes DIR/model.safetensors, which --weights of every verb reads; a plan
writes DIR/bundle, quantized on the grids that were learned.
"""

import argparse
import shlex

from apps import arguments, train_arguments
from apps.terminal import finish
from edge_mpq.errors import UsageError


def main(argv: list[str]) -> int:
    """Run the task."""
    parser = argparse.ArgumentParser(prog="edge-mpq train classify", description=__doc__.split(": ", 1)[1])
    arguments.add_model(parser)
    arguments.add_data(parser)
    train_arguments.add_training(parser)
    train_arguments.add_augmentation(parser)
    parser.add_argument(
        "--hold-out", type=float, default=0.0, metavar="X", help="share of training pictures to choose the epoch by (0)"
    )
    parser.add_argument("--plan", metavar="FILE", help="train under this plan.json (quantization-aware)")
    parser.add_argument("--calibration", type=int, default=512, metavar="N", help="pictures a plan starts from (512)")
    parser.add_argument("--observer", default="mse", metavar="O", help="minmax, percentile, entropy or mse")
    args = parser.parse_args(argv)
    if not 0 <= args.hold_out < 1 or (args.hold_out and args.plan):
        raise UsageError(f"--hold-out {args.hold_out}", "give a share below 1, and none with --plan")

    from apps import classifier_training

    written = classifier_training.train(args, "edge-mpq train classify " + shlex.join(argv))
    return 0 if written is None else finish(written, args.json)
