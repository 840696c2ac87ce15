"""Reading tradeoffs that a person names, and writing one in every form: page, CSV, PNG and SVG."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from edge_mpq.errors import RecordError
from edge_mpq.records import document
from edge_mpq.records import tradeoff as records
from edge_mpq.records.tradeoff import Tradeoff
from edge_mpq.report import comparison, files, tradeoff, tradeoff_figure, tradeoff_page

NAME = "tradeoff.json"


class Side(NamedTuple):
    """One run, under the name it has beside others."""

    label: str
    run: Tradeoff


def located(path: str | Path) -> Path:
    """The tradeoff that ``path`` names: itself, or ``tradeoff.json`` in it where it is a folder."""
    path = Path(path)
    return path / NAME if path.is_dir() else path


def is_one(path: str | Path) -> bool:
    """Whether ``path`` names a tradeoff: by its kind, or as a folder that holds one and no report."""
    if Path(path).is_dir() and files.located(path).exists():
        return False
    return document.kind_of(located(path)) == records.KIND


def sides(paths: Sequence[str]) -> list[Side]:
    """The runs at ``paths`` under short names that differ; RecordError where one is missing or torn."""
    found = [located(path) for path in paths]
    # As a report's: the folder, where the file has its usual name.
    named = [str(path.absolute().with_name("report.json") if path.name == NAME else path.absolute()) for path in found]
    return [Side(label, read(path)) for label, path in zip(comparison.labels(named), found, strict=True)]


def read(path: str | Path) -> Tradeoff:
    """The tradeoff at ``path``; RecordError where it is missing, torn, or there is nothing in it to draw."""
    run = records.load(path)
    try:
        tradeoff.metric([run])
    except RecordError as error:
        raise RecordError(f"{path}: {error.what}", error.mend) from error
    return run


def write(folder: str | Path, run: Tradeoff) -> dict[str, str]:
    """Write ``run`` as page, CSV, PNG and SVG into ``folder``; form -> path, the record's own with them."""
    stem = os.path.join(folder, "tradeoff")
    written = {"record": stem + ".json", "page": stem + ".html", "csv": stem + ".csv"}
    write_page(written["page"], tradeoff_page.render(run), [])
    document.write_bytes(written["csv"], tradeoff.table(run).encode("utf-8"))
    for form, data in tradeoff_figure.draw(run).items():
        written[form] = f"{stem}.{form}"
        document.write_bytes(written[form], data)
    return written


def write_page(path: str | Path, page: str, sources: Sequence[str]) -> None:
    """Write ``page`` whole or not at all; UsageError where it would replace one of ``sources``."""
    files.write(path, page, [located(source) for source in sources])
