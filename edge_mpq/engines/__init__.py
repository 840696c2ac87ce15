"""Engines: one file per backend, listed by the door.  See base.py for the contract."""

import sys

from edge_mpq import door


def names():
    """Every backend there is a file for."""
    return [name for name in door.names(sys.modules[__name__]) if name not in ("inputs", "cuda")]


def get(name):
    """The module of backend ``name``."""
    return door.get(sys.modules[__name__], name)
