"""``edge-mpq train wildfire-classify``: a classifier of fire and no fire, from FLAME's folders or drawn scenes.

Writes DIR/model.safetensors with the weights of the best epoch, DIR/training.json, and
DIR/report.html: figures, confusion matrix, precision against recall, and the worst errors.
"""

import argparse
import shlex

from apps.terminal import finish
from apps.wildfire import train_arguments

MODEL, OTHERS = "mobilenet_v2_flame", "resnet20_flame, xception_small, xception_flame"


def main(argv: list[str]) -> int:
    """Run the task."""
    parser = argparse.ArgumentParser(prog="edge-mpq train wildfire-classify", description=__doc__.split(": ", 1)[1])
    train_arguments.add_model(parser, MODEL, OTHERS)
    train_arguments.add_task(parser)
    train_arguments.add_training(parser)
    parser.set_defaults(task="classify")
    args = parser.parse_args(argv)

    from apps.wildfire import training

    written = training.train(args, "edge-mpq train wildfire-classify " + shlex.join(argv))
    return 0 if written is None else finish(written, args.json)
