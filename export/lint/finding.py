"""What a rule says: which node, what is there, and the mend."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from edge_mpq.records.target import Target

if TYPE_CHECKING:
    from export.lint.reading import Reading

# From worst to mildest.  refused: the engine is not built.  wrong: it is built and computes
# something else.  slow: it runs slower than it could.  note: worth knowing.
SEVERITIES = ("refused", "wrong", "slow", "note")
# What a model may not hold if it is to be deployed.
FAILING = ("refused", "wrong")


class Finding(NamedTuple):
    """One place in a model that breaks a rule.  node: its name, '' for the whole model."""

    rule: str
    severity: str
    node: str
    what: str
    mend: str
    source: str


# node name, what is there, the mend
Found = tuple[str, str, str]


class Rule(NamedTuple):
    """One thing that an engine refuses, misreads or runs slowly.

    text: the rule in one sentence, for docs/lint.md.  on: the engines it holds for, in words;
    ``holds`` decides it for a target.  find: every place that breaks it.  source: who says so.
    """

    name: str
    severity: str
    text: str
    on: str
    holds: Callable[[Target], bool]
    find: Callable[["Reading", Target], Iterator[Found]]
    source: str


def tensorrt(target: Target) -> bool:
    """Every TensorRT."""
    return target.backend == "tensorrt"


def before(*version: int) -> Callable[[Target], bool]:
    """TensorRT older than ``version``."""
    return lambda target: tensorrt(target) and target.tensorrt < version


def since(*version: int) -> Callable[[Target], bool]:
    """TensorRT of ``version`` or newer."""
    return lambda target: tensorrt(target) and target.tensorrt >= version


def version_text(version: tuple[int, ...]) -> str:
    """(8, 2, 1) -> 8.2"""
    return ".".join(str(part) for part in version[:2])
