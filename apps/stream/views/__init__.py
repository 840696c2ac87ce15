"""Views: what is told of an answer beside its label, one file each, listed by the door.

A view has a pure function ``look(frame, answer)`` that gives the View (base.py), and
``MASK``, whether it wants the answer's mask of every frame, and not only of those drawn.
"""

import sys

from edge_mpq import door


def names():
    """Every view there is a file for."""
    return door.names(sys.modules[__name__])


def get(name):
    """The module of view ``name``."""
    return door.get(sys.modules[__name__], name)
