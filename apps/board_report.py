"""A report in words, for a terminal on a board; the page with its pictures is drawn on the host."""

import argparse
import os
import shutil
import sys

from edge_mpq.errors import RecordError
from edge_mpq.records import report as report_record

NAME = "report.json"


def text(report):
    """Title, machine, a line a variant, what the engines did not run as planned, and the facts."""
    lines = ["{} ({})".format(report.title, report.created)]
    lines += ["  {}: {}".format(name, value) for name, value in report.machine.items()]
    if report.variants:
        heads = "  {:10s} {:>9s} {:>9s} {:>9s} {:>8s} {:>9s}"
        lines.append(heads.format("", "p50 ms", "p99 ms", "FPS", "speedup", "file MiB"))
    for variant in report.variants:
        row = "  {0.name:10s} {0.p50_ms:9.3f} {0.p99_ms:9.3f} {0.fps:9.1f} {0.speedup:8.2f} {0.file_mib:9.2f}"
        lines.append(row.format(variant))
        other = [row for row in variant.layers if row.got not in (row.asked, "unknown")]
        lines += ["    {0.layer}: asked {0.asked}, got {0.got}".format(row) for row in other]
    if report.stream:
        lines.append(
            "  {0.source}: {0.frames} frames, {0.fps:.1f} FPS, p50 {0.p50_ms:.2f} ms, p99 {0.p99_ms:.2f} ms, "
            "{0.dropped} dropped".format(report.stream)
        )
    lines += ["  {}: {}".format(name, _short(value)) for name, value in report.facts.items()]
    return "\n".join(lines)


def _short(value):
    return "{:.4g}".format(value) if isinstance(value, float) else value


def main(argv, own=None, prog="report"):
    """Print a report, and save a copy.  own: the one to take where none is named and none lies here."""
    parser = argparse.ArgumentParser(prog=prog, description="Print a report.json, and save a copy of it.")
    parser.add_argument("path", metavar="FILE", nargs="?", help="default: report.json here, else the bundle's own")
    parser.add_argument("--out", metavar="FILE", help="where to save a copy")
    parser.add_argument("--json", action="store_true", help="print the report as it stands in its file")
    args = parser.parse_args(argv)
    path = args.path or (NAME if os.path.isfile(NAME) else own)
    if path is None:
        raise RecordError("there is no {} here, and none in the bundle".format(NAME), "measure first: bench")
    report = report_record.load(path)
    if args.out and os.path.abspath(args.out) != os.path.abspath(path):
        report_record.save(args.out, report)
    if args.json:
        with open(path, encoding="utf-8") as stream:
            shutil.copyfileobj(stream, sys.stdout)
    else:
        sys.stdout.write(text(report) + "\n")
    return 0
