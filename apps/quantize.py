"""``edge-mpq quantize``: plan, quantize, export and build in one go.

DIR then holds plan.json, model.onnx, fp32.onnx, ranges.json, report.json and, where the
target's engine runs on this machine, its engines.
"""

import argparse
import shlex

from apps import arguments
from apps.stream.options import above_zero
from apps.terminal import finish, say
from edge_mpq.errors import UsageError

# What a recipe brings itself.
METHODS = ("sensitivity", "allocator", "transform", "rounding", "observer")


def main(argv: list[str]) -> int:
    """Run the verb."""
    parser = argparse.ArgumentParser(
        prog="edge-mpq quantize", description="Plan, quantize, export and build in one go."
    )
    arguments.add_model(parser)
    arguments.add_data(parser)
    arguments.add_plan(parser)
    parser.add_argument(
        "--recipe",
        metavar="R",
        help="a published system in place of the methods above, NAME:KEY=VALUE,... with settings; compare lists them",
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="the bundle to write")
    parser.add_argument("--threads", type=above_zero(int), default=1, metavar="N", help="threads of the engine (1)")
    arguments.add_json(parser)
    args = parser.parse_args(argv)
    arguments.check_plan(args)
    if args.recipe is not None:
        _check_recipe(parser, args)

    from apps import measure, whole_path, work
    from apps.chosen import Options
    from edge_mpq.report import text

    options = Options(
        args.budget,
        args.sensitivity,
        args.allocator,
        args.formats,
        args.observer,
        args.rounding,
        args.threads,
        args.transform,
        args.recipe,
    )
    command = "edge-mpq quantize " + shlex.join(argv)
    report = whole_path.quantize_into(args.out, work.work_of(args), options, [command])
    say(text.summary(report))
    return finish({"bundle": args.out, **report.facts, "variants": measure.summaries(report)}, args.json)


def _check_recipe(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """UsageError for a recipe that there is not, or methods asked for beside it."""
    from edge_mpq import recipes

    recipes.get(args.recipe)
    others = [name for name in METHODS if getattr(args, name) != parser.get_default(name)]
    if others:
        what = f"recipe {args.recipe} brings its own methods, --{' and --'.join(others)} asks for others"
        raise UsageError(what, "leave out one or the other")
