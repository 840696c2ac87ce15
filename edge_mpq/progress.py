"""How long work tells the outside how far it is, without printing itself.

A library function takes ``progress``: a callable ``progress(iterable, what, total)`` that
yields the same items.  :func:`silent` is the default; apps/terminal.py draws a bar.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")
Progress = Callable[..., Iterator]


def silent(items: Iterable[Item], what: str, total: int | None = None) -> Iterator[Item]:
    """Yield ``items``, telling nobody."""
    return iter(items)
