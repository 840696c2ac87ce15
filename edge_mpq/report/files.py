"""Reading the reports a person names and writing the page they asked for."""

import os
from pathlib import Path

from edge_mpq.errors import RecordError, UsageError
from edge_mpq.records import document
from edge_mpq.records import report as report_record
from edge_mpq.records.report import RunReport
from edge_mpq.report import checks

REPORT_NAME = "report.json"


def located(path: str | Path) -> Path:
    """The report that ``path`` names: itself, or ``report.json`` in it where it is a folder."""
    path = Path(path)
    return path / REPORT_NAME if path.is_dir() else path


def read(path: str | Path) -> RunReport:
    """The report at ``path``, fit to be drawn; RecordError where it is missing, torn or not drawable."""
    try:
        report = report_record.load(located(path))
    except OSError as error:
        raise RecordError(f"cannot read {path} ({error.strerror})", "check the path and its permissions") from error
    try:
        checks.check(report)
    except RecordError as error:
        raise RecordError(f"{path}: {error.what}", error.mend) from error
    return report


def write(path: str | Path, page: str, sources: list[Path]) -> None:
    """Write ``page`` whole or not at all; UsageError where it cannot be, or would replace one of ``sources``."""
    for source in sources:
        if os.path.exists(path) and os.path.samefile(path, source):
            raise UsageError(f"{path} is the report itself", "name another file with --out")
    try:
        document.write_bytes(path, page.encode("utf-8"))
    except OSError as error:
        raise UsageError(f"cannot write {path} ({error.strerror})", "name another file with --out") from error
