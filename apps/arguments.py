"""What several verbs ask on the command line.  Parsers import no framework, so that --help answers at once."""

import argparse

from apps.stream.options import above_zero
from edge_mpq.errors import EdgeMpqError, UsageError
from edge_mpq.records import target as targets
from edge_mpq.records.bundle import FITS


def add_model(parser: argparse.ArgumentParser) -> None:
    """--model and --weights."""
    parser.add_argument(
        "--model", required=True, metavar="M", help="package.module:factory, path/to/file.py:factory, or a zoo name"
    )
    parser.add_argument("--weights", metavar="W", help=".pt or .safetensors state dict (random weights without it)")


def add_data(parser: argparse.ArgumentParser) -> None:
    """--data and how pictures become inputs."""
    parser.add_argument(
        "--data",
        required=True,
        metavar="D",
        help="a folder with one subfolder per class, an .npz, a FLAME folder, module:factory, or synthetic",
    )
    add_inputs(parser)


def add_inputs(parser: argparse.ArgumentParser, size: int | None = None) -> None:
    """How pictures become inputs; ``size``: unless told otherwise, None for the picture's own."""
    usual = "the picture's" if size is None else size
    parser.add_argument("--size", type=int, nargs="+", default=size and [size], metavar="PX",
                        help=f"input width and height ({usual})")  # fmt: skip
    parser.add_argument("--fit", choices=FITS, default="stretch", help="how a picture of another shape is fitted")
    parser.add_argument("--mean", type=float, nargs=3, default=(0.485, 0.456, 0.406), metavar=("R", "G", "B"))
    parser.add_argument("--std", type=float, nargs=3, default=(0.229, 0.224, 0.225), metavar=("R", "G", "B"))


def add_task(parser: argparse.ArgumentParser) -> None:
    """What a plan is for: target, budget, formats and calibration."""
    parser.add_argument("--target", default="cpu-x86-vnni", metavar="T", help="one of " + ", ".join(targets.names()))
    parser.add_argument("--budget", metavar="B", help="for example size<=5bits,drop<=0.5%% (the size of 8-bit weights)")
    parser.add_argument("--formats", nargs="+", metavar="F", help="formats to choose from, such as w8a8 w4a8 fp32")
    add_calibration(parser)


def add_calibration(parser: argparse.ArgumentParser) -> None:
    """--calibration."""
    parser.add_argument(
        "--calibration", type=above_zero(int), default=512, metavar="N", help="pictures to calibrate on (512)"
    )


def add_plan(parser: argparse.ArgumentParser) -> None:
    """What a plan is made for and by."""
    add_task(parser)
    parser.add_argument("--sensitivity", default="fisher", metavar="S", help="fisher, kl, sqnr or module.path")
    parser.add_argument("--allocator", default="milp", metavar="A", help="milp, greedy or module.path")
    parser.add_argument(
        "--transform", nargs="+", default=[], metavar="X", help="rewrites of the float model, in order (none)"
    )
    parser.add_argument(
        "--rounding",
        default="feedback",
        metavar="R",
        help="feedback, asymmetric, learned, nearest, for block-wise weights slim and learned_clipping, or module.path",
    )
    parser.add_argument("--observer", default="mse", metavar="O", help="minmax, percentile, entropy or mse")


def check_plan(args: argparse.Namespace) -> None:
    """Look up all that :func:`add_plan` lets a person name, before minutes of work; every fault is told at once."""
    from edge_mpq import allocators, menu, observers, rounding, sensitivity, transforms
    from edge_mpq import budget as budgets
    from edge_mpq.records import target as targets

    named = [
        (budgets.parse, [args.budget] if args.budget is not None else []),
        (menu.parse, args.formats or []),
        (sensitivity.get, [args.sensitivity]),
        (allocators.get, [args.allocator]),
        (transforms.get, args.transform),
        (rounding.get, [args.rounding]),
        (observers.get, [args.observer]),
    ]
    faults = []
    for look_up, names in named:
        for name in names:
            try:
                look_up(name)
            except EdgeMpqError as error:
                faults.append(error)
    if faults:
        raise faults[0] if len(faults) == 1 else UsageError("; ".join(map(str, faults)))
    menu.runnable(targets.get(args.target), args.formats)


def add_json(parser: argparse.ArgumentParser) -> None:
    """--json."""
    parser.add_argument("--json", action="store_true", help="one line of results on stdout")
