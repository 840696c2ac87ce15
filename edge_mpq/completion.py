"""What the shell may put behind a half-written ``edge-mpq`` line: verbs, their options, and names of methods.

    eval "$(register-python-argcomplete edge-mpq)"      # in ~/.bashrc or ~/.zshrc

The shell runs the program with the line in its environment; argcomplete answers from a parser.
Each stage makes its parser itself, so the stage runs up to where it would parse, and no further.
"""

import argparse
import importlib
import os
from types import SimpleNamespace

from edge_mpq import door, engines
from edge_mpq.records import formats, target

# Options whose values are the methods of a family, by its folder.
FAMILIES = {
    "sensitivity": "sensitivity",
    "allocator": "allocators",
    "transform": "transforms",
    "rounding": "rounding",
    "observer": "observers",
    "recipe": "recipes",
    "recipes": "recipes",
}
# So common that a bare line of formats offers them.
COMMON_FORMATS = ("fp32", "fp16", "w8a8", "w4a8", "w4b32")


def answer(verbs, stages):
    """Answer the shell and end the program.

    verbs: name -> (module of its stage, its line).  stages: makes the stages importable.
    """
    line = os.environ["COMP_LINE"][: int(os.environ["COMP_POINT"])]
    complete = line.split() if line.endswith(" ") else line.split()[:-1]
    if len(complete) < 2 or complete[1] not in verbs:
        parser = argparse.ArgumentParser(prog="edge-mpq")
        parser.add_argument("verb", choices=sorted(verbs))
        return _ask(parser)
    stages()
    os.environ["_ARGCOMPLETE"] = "2"  # where the verb's own words begin
    argparse.ArgumentParser.parse_args = _ask  # type: ignore[method-assign]
    argparse.ArgumentParser.parse_intermixed_args = _ask  # type: ignore[method-assign]
    return importlib.import_module(verbs[complete[1]][0]).main(complete[2:])


def _ask(parser, words=None, namespace=None):
    import argcomplete

    tasks = [action for action in parser._actions if action.dest == "task" and words]
    if tasks and words[0] in tasks[0].choices:
        # A verb of several tasks: the task's own parser comes next.
        os.environ["_ARGCOMPLETE"] = "3"
        return argparse.Namespace(task=words[0])
    for action in parser._actions:
        if action.choices is None and action.dest in FAMILIES:
            action.completer = _named(_methods(FAMILIES[action.dest]))
        elif action.choices is None and action.dest == "backend":
            action.completer = _named(engines.names())
        elif action.dest == "target":
            action.completer = _named(target.names())
        elif action.dest == "formats":
            action.completer = _named([*COMMON_FORMATS, *formats.FORMATS])
        elif action.dest == "model":
            action.completer = _models
    return argcomplete.autocomplete(parser, always_complete_options="long")


def _named(names):
    """A completer that offers ``names``."""
    return lambda **_: names


def _methods(family):
    """The names of a family's files; importing the family would import torch."""
    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), family)
    return door.names(SimpleNamespace(__path__=[folder]))


def _models(prefix, **_):
    """The names of the zoo, and files."""
    from argcomplete.completers import FilesCompleter

    zoo = importlib.import_module("apps.models").NAMES
    return [*zoo, *FilesCompleter(["py"])(prefix)]
