"""``edge-mpq compare --recipes``: run recipes on one task and rank them."""

import argparse
import shlex

from apps import arguments
from apps.terminal import finish
from edge_mpq.errors import UsageError


def main(argv: list[str]) -> int:
    """Run the verb."""
    parser = argparse.ArgumentParser(
        prog="edge-mpq compare", description="Run recipes on one model, data, budget and target, and rank them."
    )
    parser.add_argument(
        "--recipes",
        nargs="+",
        required=True,
        metavar="R",
        help="all, or names of recipes, NAME:KEY=VALUE,... with settings",
    )
    arguments.add_model(parser)
    arguments.add_data(parser)
    arguments.add_task(parser)
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="each recipe with seeds 0 to N - 1 (1)")
    parser.add_argument("--pictures", type=int, metavar="N", help="test pictures to judge on (all)")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="threads of the engines (1)")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="trials at once (1)")
    parser.add_argument("--cluster", metavar="URL", help="run trials on dask://host:port or ray://host:port")
    parser.add_argument("--out", default="runs/leaderboard", metavar="DIR", help="where to write (runs/leaderboard)")
    arguments.add_json(parser)
    args = parser.parse_args(argv)

    from apps import leaderboard
    from edge_mpq import budget as budgets
    from edge_mpq import recipes

    args.recipes = recipes.names() if args.recipes == ["all"] else args.recipes
    for name in args.recipes:
        recipes.get(name)
    if args.budget is not None:
        budgets.parse(args.budget)
    if args.seeds < 1 or args.workers < 1:
        raise UsageError(f"--seeds {args.seeds} --workers {args.workers}", "give one at least of each")
    return finish(leaderboard.compare(args, "edge-mpq compare " + shlex.join(argv)), args.json)
