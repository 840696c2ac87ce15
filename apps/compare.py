"""Stage ``compare``: hold two or more runs of one model, or every recipe, against each other.

Shown are the accuracy, size and speed of every variant with the differences from the
first run, planned against measured time, and the precision asked against what ran.
"""

import argparse
import sys
from pathlib import Path

from apps import compare_recipes, terminal
from edge_mpq.errors import UsageError
from edge_mpq.report import comparison, comparison_page, comparison_text, files, tradeoff_files


def main(argv: list[str]) -> int:
    """Run the stage; errors propagate to the launcher."""
    if any(word.split("=")[0] == "--recipes" for word in argv):
        return compare_recipes.main(argv)
    parser = argparse.ArgumentParser(
        prog="edge-mpq compare",
        description="Hold runs of one model against each other.",
        epilog="With --recipes it runs recipes on one task and ranks them: edge-mpq compare --recipes all --help.",
    )
    parser.add_argument("first", metavar="A", help="a report.json or the folder of a run; the others differ from it")
    parser.add_argument("others", metavar="B", nargs="+", help="further reports or folders")
    parser.add_argument(
        "--out", metavar="FILE", default="compare.html", help="the page to write (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="one line of results on stdout")
    options = parser.parse_args(argv)

    told = [path for path in [options.first, *options.others] if tradeoff_files.is_one(path)]
    if told:
        raise UsageError(f"{told[0]} is a tradeoff, not a report", "compare such with edge-mpq tradeoff --compare")
    sources = [files.located(path) for path in [options.first, *options.others]]
    labels = comparison.labels([str(source.absolute()) for source in sources])
    sides = [comparison.Side(label, files.read(source)) for label, source in zip(labels, sources, strict=True)]
    result = comparison.compare(sides)
    out = Path(options.out)
    files.write(out, comparison_page.render(result), sources)
    terminal.say(comparison_text.summary(result))
    terminal.say(f"page: {out}")
    return terminal.finish({"page": str(out), **comparison.as_json(result)}, options.json)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
