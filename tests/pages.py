"""What the Markdown pages promise: links, commands and make targets, read out of their text."""

import itertools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
_FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)
_CODE = re.compile(r"`[^`\n]*`")
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


class Command(NamedTuple):
    """One command line of a page: the program and its arguments."""

    page: str
    words: tuple[str, ...]


def pages(root: Path = ROOT) -> list[Path]:
    """Every page of the project: at the top, and below every folder that is part of it."""
    tops = [path for path in root.iterdir() if path.is_dir() and path.name[0] != "." and path.name != "runs"]
    below = (page for top in tops for page in top.rglob("*.md"))
    return sorted([*root.glob("*.md"), *below])


def links(page: Path) -> Iterator[str]:
    """Targets of a page's links and images, outside of code."""
    yield from _LINK.findall(_CODE.sub("", _FENCE.sub("", page.read_text(encoding="utf-8"))))


def anchors(page: Path) -> set[str]:
    """What a link may name behind ``#``: the headings, spelled as GitHub does."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    heads = re.findall(r"^#+ +(.+?) *$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def dead_links(page: Path, root: Path = ROOT) -> list[str]:
    """The relative links of a page that lead nowhere or out of the project."""
    dead = []
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        goal = (page.parent / path).resolve() if path else page
        if not goal.exists() or not goal.is_relative_to(root.resolve()):
            dead.append(link)
        elif anchor and goal.suffix == ".md" and anchor not in anchors(goal):
            dead.append(link)
    return dead


def commands(page: Path) -> Iterator[Command]:
    """Every shell command of a page's fenced blocks; a long one may go on behind ``\\``."""
    for language, block in _FENCE.findall(page.read_text(encoding="utf-8")):
        if language not in ("", "sh", "bash", "shell", "console"):
            continue
        for line in block.replace("\\\n", " ").splitlines():
            for words in _parts(line.strip().removeprefix("$ ")):
                while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                    words = words[1:]
                if words:
                    yield Command(page.name, tuple(words))


def _parts(line: str) -> list[list[str]]:
    # `a && b | c  # why` is three; shlex keeps operators apart and drops comments.
    lexer = shlex.shlex(line, posix=True, punctuation_chars="&|;")
    lexer.whitespace_split, lexer.commenters = True, "#"
    try:
        words = list(lexer)
    except ValueError:  # an apostrophe in prose: no command
        return []
    parts: list[list[str]] = [[]]
    for word in words:
        if word and set(word) <= set("&|;"):
            parts.append([])
        else:
            parts[-1].append(word)
    return parts


def verb_of(command: Command) -> str | None:
    """The verb of an ``edge-mpq VERB``, ``python`` or ``torchrun ... -m edge_mpq VERB`` command, else None."""
    words = command.words
    if Path(words[0]).name == "edge-mpq":
        rest = words[1:]
    elif Path(words[0]).name.startswith(("python", "torchrun")) and ("-m", "edge_mpq") in itertools.pairwise(words):
        rest = words[words.index("edge_mpq") + 1 :]
    else:
        return None
    return rest[0] if rest else ""


def task_of(command: Command, verb: str) -> tuple[str, ...]:
    """The word behind the verb, of a verb that has tasks; nothing where an option stands."""
    rest = command.words[command.words.index(verb) + 1 :]
    return rest[:1] if rest and not rest[0].startswith("-") else ()


def options_of(command: Command) -> list[str]:
    """The long options a command uses, without their values; those of a launcher before it (torchrun) left out."""
    words = command.words
    words = words[words.index("edge_mpq") :] if "edge_mpq" in words else words
    return [word.partition("=")[0] for word in words if re.match(r"--[a-z]", word)]
