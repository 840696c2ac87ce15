"""Stage ``report``: draw a run's report.json as one HTML page beside it, and say its main figures.

The page is self-contained; opening it asks nothing of any network.
"""

import argparse
import sys
from pathlib import Path

from apps import terminal
from edge_mpq.report import figures, files, page, text, tradeoff, tradeoff_files, tradeoff_page


def main(argv: list[str]) -> int:
    """Run the stage; errors propagate to the launcher."""
    parser = argparse.ArgumentParser(prog="edge-mpq report", description="Draw a run's report as one HTML page.")
    parser.add_argument("path", metavar="PATH", help="a report.json or tradeoff.json, or a folder that holds one")
    parser.add_argument("--out", metavar="FILE", help="the page to write (default: report.html beside the report)")
    parser.add_argument("--json", action="store_true", help="one line of results on stdout")
    options = parser.parse_args(argv)

    if tradeoff_files.is_one(options.path):
        return terminal.finish(_tradeoff(options), options.json)
    source = files.located(options.path)
    out = Path(options.out) if options.out else source.with_suffix(".html")
    report = files.read(source)
    files.write(out, page.render(report), [source])
    terminal.say(text.summary(report))
    terminal.say(f"page: {out}")
    result = {
        "report": str(source),
        "page": str(out),
        "headlines": [
            {"label": line.label, "value": str(line.value) if line.value else None, "details": list(line.details)}
            for line in figures.headlines(report)
        ],
        "variants": [
            {metric.field: getattr(variant, metric.field) for metric in figures.METRICS} | {"name": variant.name}
            for variant in report.variants
        ],
    }
    return terminal.finish(result, options.json)


def _tradeoff(options: argparse.Namespace) -> dict[str, str]:
    """Draw a tradeoff again, such as one that came back from a board."""
    source = tradeoff_files.located(options.path)
    out = Path(options.out) if options.out else source.with_suffix(".html")
    run = tradeoff_files.read(source)
    tradeoff_files.write_page(out, tradeoff_page.render(run), [str(source)])
    terminal.say(tradeoff.text(run))
    terminal.say(f"page: {out}")
    return {"tradeoff": str(source), "page": str(out)}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
