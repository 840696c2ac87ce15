"""What a stage says to a person: bars and lines on stderr, one JSON line on stdout."""

import functools
import json
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

# rich takes longer to import than --help may take to answer.
if TYPE_CHECKING:
    from rich.console import Console

Item = TypeVar("Item")


@functools.cache
def console() -> "Console":
    """The one console, on stderr."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def say(line: str) -> None:
    """One line for the person who watches."""
    console().print(line, markup=False, soft_wrap=True)


def bar(items: Iterable[Item], what: str, total: int | None = None) -> Iterator[Item]:
    """Yield ``items`` while a bar on stderr shows how many are done."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    if total is None and hasattr(items, "__len__"):
        total = len(items)  # type: ignore[arg-type]
    columns = (TextColumn("{task.description:<34}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console(), transient=False) as progress:
        task = progress.add_task(what, total=total)
        for item in items:
            yield item
            progress.advance(task)


def finish(result: dict[str, Any], as_json: bool) -> int:
    """End a stage: with ``--json`` the result as one line on stdout; exit code 0."""
    if as_json:
        sys.stdout.write(json.dumps(result) + "\n")
    return 0
