"""Views: what is told of an answer beside its label, one file each, listed by the door.

A view is a file with

- ``look(frame, answer, scene)``: a pure function, the View (base.py) of one Answer;
- ``TASKS``: of the bundles it is for, of ``classify`` and ``segment``;
- ``FACTS``: the names its facts may have;
- ``MASK``: whether it wants the answer's mask of every frame, and not only of those drawn.
"""

import math
import sys
from types import SimpleNamespace

import numpy as np

from apps.stream.views.base import View
from edge_mpq import door
from edge_mpq.errors import UsageError

CONTRACT = ("look", "TASKS", "FACTS", "MASK")


def names():
    """Every view there is a file for."""
    return door.names(sys.modules[__name__])


def get(name):
    """The module of view ``name``; a dotted name loads one from anywhere.  UsageError where it is no view."""
    module = door.get(sys.modules[__name__], name)
    missing = [part for part in CONTRACT if not hasattr(module, part)]
    if missing:
        what = "{} is no view: it has no {}".format(name, ", ".join(missing))
        raise UsageError(what, "docs/adding.md shows a view")
    return module


def bound(name, task, scene):
    """View ``name``, or where that is None the usual one of ``task``, with ``look(frame, answer)`` into ``scene``.

    What it tells is made plain here, once for all who write it as JSON or hold it against a number.
    Raises UsageError where it is not for ``task``.
    """
    name = "wildfire_" + task if name is None else name
    module = get(name)
    if task not in module.TASKS:
        fit = [other for other in names() if task in get(other).TASKS]
        raise UsageError("view {} is not for a bundle that is to {}".format(name, task), "choose " + ", ".join(fit))

    def look(frame, answer):
        seen = module.look(frame, answer, scene)
        facts = {fact: _plain(value) for fact, value in seen.facts.items()}
        return View(facts, [tuple(_plain(value) for value in box) for box in seen.boxes])

    return SimpleNamespace(look=look, MASK=module.MASK, FACTS=tuple(module.FACTS))


def _plain(value):
    """``value`` as JSON has it: a number of NumPy as one of Python, and what is no finite number as text."""
    if isinstance(value, (np.generic, np.ndarray)) and value.size == 1:
        value = value.item()
    return value if isinstance(value, (int, float)) and math.isfinite(value) else str(value)
