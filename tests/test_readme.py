"""Every link, verb, option and make target on a page is there."""

import contextlib
import functools
import io
import re
from pathlib import Path

import pytest

from edge_mpq import __main__ as launcher
from tests import pages
from tests.pages import Command

PAGES = pages.pages()
COMMANDS = [command for page in PAGES for command in pages.commands(page)]
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", (pages.ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def _named(command: Command) -> str:
    return f"{command.page}: {' '.join(command.words)}"


@functools.cache
def _options(*verb: str) -> frozenset[str]:
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        assert launcher.main([*verb, "--help"]) == 0
    return frozenset(re.findall(r"--[a-z][a-z0-9-]*", shown.getvalue()))


def test_there_are_pages() -> None:
    assert {"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "bundle.md", "adding.md", "targets.md"} <= {
        page.name for page in PAGES
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    assert pages.dead_links(page) == []


@pytest.mark.parametrize("command", [line for line in COMMANDS if pages.verb_of(line) is not None], ids=_named)
def test_every_verb_and_option_is_known(command: Command) -> None:
    verb = pages.verb_of(command)
    if verb in ("", "VERB") or verb in ("--help", "--version"):
        return
    assert verb in launcher.VERBS
    pytest.importorskip("torch")
    task = pages.task_of(command, verb) if verb == "train" else ()
    if "--recipes" in command.words:  # the options of compare are others then
        task = ("--recipes", "all")
    assert [option for option in pages.options_of(command) if option not in _options(verb, *task)] == []


@pytest.mark.parametrize("command", [line for line in COMMANDS if line.words[0] == "make"], ids=_named)
def test_every_make_target_is_in_the_makefile(command: Command) -> None:
    wanted = [word for word in command.words[1:] if "=" not in word]
    assert wanted and set(wanted) <= TARGETS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_make_target_and_verb_in_the_prose_is_known(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert set(re.findall(r"`make ([a-z]+)", text)) <= TARGETS
    assert set(re.findall(r"`edge-mpq ([a-z]+)", text)) <= set(launcher.VERBS)


def test_every_verb_an_error_sends_to_is_known() -> None:
    files = [path for top in ("edge_mpq", "export", "apps") for path in (pages.ROOT / top).rglob("*.py")]
    named = {verb for path in files for verb in re.findall(r"edge-mpq ([a-z]+) --", path.read_text(encoding="utf-8"))}
    assert named <= set(launcher.VERBS)


def test_the_reader_of_pages_sees_what_is_wrong(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# One two\n[a](page.md#one-two) [b](#none) [c](none.md) [d](../..) [e](https://x.y) `[f](g)`\n"
        "```sh\n$ edge-mpq plan --budget 'size<=5bits' \\\n    --json | head  # why\n"
        "A=1 .venv/bin/python -m edge_mpq nope\nmake demo && make test\n"
        "torchrun --nnodes 2 -m edge_mpq train classify --epochs 3\n```\n"
        "```python\nedge-mpq no command\n```\n",
        encoding="utf-8",
    )
    assert pages.dead_links(page, tmp_path) == ["#none", "none.md", "../.."]
    first, head, second, third, fourth, fifth = pages.commands(page)
    assert (pages.verb_of(first), pages.options_of(first)) == ("plan", ["--budget", "--json"])
    assert pages.verb_of(second) == "nope"
    assert head.words == ("head",) and pages.verb_of(head) is None
    assert [third.words, fourth.words] == [("make", "demo"), ("make", "test")]
    assert (pages.verb_of(fifth), pages.options_of(fifth)) == ("train", ["--epochs"])
    assert (pages.task_of(fifth, "train"), pages.task_of(first, "plan")) == (("classify",), ())
