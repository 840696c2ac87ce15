"""What the wildfire tasks of ``edge-mpq train`` ask on the command line."""

import argparse

from apps import arguments, train_arguments

# Trained unless told otherwise.
MODELS = {"classify": "mobilenet_v2_flame", "segment": "light_segmenter"}


def add_task(parser: argparse.ArgumentParser) -> None:
    """The data, and how pictures become inputs."""
    parser.add_argument(
        "--data", required=True, metavar="D", help="a FLAME folder, or synthetic: pictures drawn into DIR/data"
    )
    parser.add_argument("--pictures", type=int, default=1600, metavar="N", help="synthetic training pictures (1600)")
    arguments.add_inputs(parser, size=96)


def add_model(parser: argparse.ArgumentParser, usual: str, others: str) -> None:
    """--model and --weights; usual: unless told otherwise; others: what else the zoo has for the task."""
    parser.add_argument("--model", default=usual, metavar="M", help=f"{others}, or package.module:factory ({usual})")
    parser.add_argument("--weights", metavar="W", help=".pt or .safetensors state dict to start from")


def add_training(parser: argparse.ArgumentParser) -> None:
    """How training goes, and where it is written."""
    parser.add_argument("--hold-out", type=float, default=0.15, metavar="X",
                        help="the later share of every training sequence, to choose the epoch by (0.15)")  # fmt: skip
    parser.add_argument("--no-balance", action="store_true", help="learn from rare classes as rarely as they come")
    train_arguments.add_training(parser)
    train_arguments.add_augmentation(parser)
