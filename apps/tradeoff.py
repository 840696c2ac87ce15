"""``edge-mpq tradeoff``: frames a second against accuracy, of every plan at every setting, in one picture."""

import argparse
import os
import shlex
import shutil
from typing import Any

from apps import arguments
from apps.stream.options import above_zero
from apps.terminal import finish, say
from edge_mpq.errors import UsageError

# Every engine runs so long before it is timed.
WARM_S = 0.3


def main(argv: list[str]) -> int:
    """Run the verb."""
    parser = argparse.ArgumentParser(
        prog="edge-mpq tradeoff",
        description="Measure plans at settings of threads, batch, resolution and power mode, and draw frames a second "
        "against accuracy; or hold such runs against each other.",
    )
    parser.add_argument("bundles", metavar="DIR", nargs="*", help="bundles of one task, as edge-mpq quantize writes")
    parser.add_argument("--data", metavar="D", help="data whose test pictures are answered; loose ones have no labels")
    whole = above_zero(int)
    parser.add_argument("--threads", type=whole, nargs="+", default=[1], metavar="N", help="threads of an engine (1)")
    parser.add_argument("--batch", type=whole, nargs="+", default=[1], metavar="N", help="pictures in a call (1)")
    parser.add_argument(
        "--resolution", nargs="+", metavar="PX", help="input sizes, such as 96 or 128x96 (the bundle's own)"
    )
    parser.add_argument(
        "--power-mode", nargs="+", default=[], metavar="M",
        help="power modes of a Jetson, by name or number; wants root (the one there is)",
    )  # fmt: skip
    parser.add_argument("--pictures", type=whole, metavar="N", help="test pictures to answer (all)")
    parser.add_argument("--turns", type=whole, default=20, metavar="N", help="turns of each setting (20)")
    parser.add_argument("--backend", metavar="B", help="another backend than the target's, such as onnxruntime")
    parser.add_argument("--out", default="runs/tradeoff", metavar="DIR", help="where to write (runs/tradeoff)")
    parser.add_argument("--compare", nargs="+", metavar="FILE", help="two or more tradeoff.json, in place of bundles")
    arguments.add_json(parser)
    args = parser.parse_intermixed_args(argv)  # bundles may stand behind the options too
    if (args.compare is None) == (not args.bundles):
        raise UsageError("neither bundles nor runs were given" if args.compare is None else "bundles and --compare",
                         "give bundles to measure, or --compare with two tradeoff.json")  # fmt: skip
    if args.compare is not None:
        return finish(_compare(args), args.json)
    if args.data is None:
        raise UsageError("--data is missing", "name the data whose pictures are answered")
    return finish(_measure(args, "edge-mpq tradeoff " + shlex.join(argv)), args.json)


def _measure(args: argparse.Namespace, command: str) -> dict[str, Any]:
    """Measure, write every form of the result, and tell it."""
    sizes = [size_of(text) for text in args.resolution or []]

    from apps import tradeoff_plans, tradeoff_sweep
    from apps.data.opening import check_classes, open_data
    from apps.data.unlabelled import open_unlabelled
    from edge_mpq.records import tradeoff as records
    from edge_mpq.report import tradeoff as figures
    from edge_mpq.report import tradeoff_files

    found = tradeoff_plans.contenders(args.bundles)
    own = list(dict.fromkeys(one.size for one in found))
    if not sizes and len(own) > 1:
        told = ", ".join("{} x {}".format(*size) for size in own)
        raise UsageError(f"the bundles are of several input sizes ({told})", "say which with --resolution")
    data = open_unlabelled(args.data) or open_data(args.data, found[0].bundle.task)
    check_classes(data, args.data, found[0].bundle.classes)
    options = tradeoff_sweep.Options(
        data=args.data,
        threads=sorted(set(args.threads)),
        batches=sorted(set(args.batch)),
        sizes=list(dict.fromkeys(sizes)) or own,
        power_modes=args.power_mode,
        pictures=args.pictures,
        turns=args.turns,
        warm_s=WARM_S,
        backend=args.backend,
        out=args.out,
    )
    made = tradeoff_sweep.sweep(found, data, options, command)
    records.save(os.path.join(args.out, tradeoff_files.NAME), made)
    # They are for a run that is cut; the next whole one measures anew.
    shutil.rmtree(os.path.join(args.out, "parts"), ignore_errors=True)
    written = tradeoff_files.write(args.out, made)
    say(figures.text(made))
    say(f"page: {written['page']}")
    return {**written, "points": [point._asdict() for point in made.points]}


def _compare(args: argparse.Namespace) -> dict[str, Any]:
    """Hold runs against each other, write the page, and tell the ratios."""
    from edge_mpq.report import tradeoff_compare, tradeoff_compare_page, tradeoff_files

    if len(args.compare) < 2:
        raise UsageError("one run alone was given to --compare", "give two; edge-mpq report draws one alone")
    sides = tradeoff_files.sides(args.compare)
    result = tradeoff_compare.compare(sides)
    page = os.path.join(args.out, "compare.html")
    tradeoff_files.write_page(page, tradeoff_compare_page.render(result), args.compare)
    say(tradeoff_compare.text(result))
    say(f"page: {page}")
    return {"page": page, **tradeoff_compare.as_json(result)}


def size_of(text: str) -> tuple[int, int]:
    """(width, height) of ``96`` or ``128x96``; UsageError for anything else."""
    words = text.lower().split("x")
    if len(words) > 2 or not all(word.isdigit() and 1 <= int(word) <= 16384 for word in words):
        raise UsageError(f"--resolution {text!r} is no size", "give pixels, such as 96 or 128x96")
    return int(words[0]), int(words[-1])
