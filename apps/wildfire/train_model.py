"""``edge-mpq train wildfire-classify`` and ``wildfire-segment``: a model of fire, from FLAME's folders or drawn scenes.

Writes DIR/model.safetensors with the weights of the best epoch, DIR/training.json, and
DIR/report.html: figures, confusion matrix, precision against recall, and the worst errors.
"""

import argparse
import shlex

from apps.terminal import finish
from apps.wildfire import train_arguments


def classify(argv: list[str]) -> int:
    """Train a classifier of fire and no fire."""
    return _train("classify", "resnet20_flame, xception_small, xception_flame", argv)


def segment(argv: list[str]) -> int:
    """Train a segmenter of fire."""
    return _train("segment", "unet", argv)


def _train(task: str, others: str, argv: list[str]) -> int:
    prog = "edge-mpq train wildfire-" + task
    parser = argparse.ArgumentParser(prog=prog, description=__doc__.split(": ", 1)[1])
    train_arguments.add_model(parser, train_arguments.MODELS[task], others)
    train_arguments.add_task(parser)
    train_arguments.add_training(parser)
    parser.set_defaults(task=task)
    args = parser.parse_args(argv)

    from apps.wildfire import training

    written = training.train(args, f"{prog} {shlex.join(argv)}")
    return 0 if written is None else finish(written, args.json)
