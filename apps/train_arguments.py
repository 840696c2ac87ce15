"""What every training task asks on the command line."""

import argparse
import math


def add_training(parser: argparse.ArgumentParser) -> None:
    """How long, how fast, in what precision, where, and where to write."""
    parser.add_argument("--epochs", type=_whole, default=20, metavar="N", help="times through the pictures (20)")
    parser.add_argument("--batch", type=_whole, default=64, metavar="N", help="pictures a step, of all processes (64)")
    rates = "peak learning rate (0.002; under a plan 0.0003, from --weights 0.0001)"
    parser.add_argument("--rate", type=_positive, metavar="X", help=rates)
    parser.add_argument("--weight-decay", type=float, default=5e-4, metavar="X", help="of AdamW (0.0005)")
    parser.add_argument(
        "--precision", default="auto", metavar="P", help="of matrix work: auto, fp32, bf16 or fp16 (auto)"
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), help="where to train (cuda where there is one)")
    parser.add_argument("--seed", type=_whole, default=0, metavar="N", help="of order, augmentation and weights (0)")
    parser.add_argument("--out", required=True, metavar="DIR", help="where to write")
    parser.add_argument("--resume", action="store_true", help="go on from DIR/checkpoints, if there is one")
    parser.add_argument("--save-every", type=_whole, metavar="N", help="steps between checkpoints (each epoch)")
    parser.add_argument("--json", action="store_true", help="one line of results on stdout")


def add_augmentation(parser: argparse.ArgumentParser) -> None:
    """How training pictures are changed at random."""
    parser.add_argument("--no-mirror", action="store_true", help="never exchange left and right")
    parser.add_argument("--shift", type=_whole, metavar="PX", help="by so many pixels (0)")
    parser.add_argument("--contrast", type=float, metavar="X", help="plus or minus (0.2)")
    parser.add_argument("--brightness", type=float, metavar="X", help="plus or minus (0)")


def _whole(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is below 0")
    return value


def _positive(text: str) -> float:
    value = float(text)
    if not (value > 0 and math.isfinite(value)):
        raise argparse.ArgumentTypeError(f"{text} is no rate")
    return value
