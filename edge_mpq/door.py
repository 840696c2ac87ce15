"""A family's door: its methods are the files of its folder, found by listing it."""

import importlib
import os
import pkgutil
import sys

from edge_mpq.errors import UsageError


def names(package):
    """Every method of ``package`` (an imported family), alphabetically."""
    # pkgutil also lists a folder inside a zip, which a bundle's code is.
    stems = [module.name for module in pkgutil.iter_modules(package.__path__) if not module.ispkg]
    return sorted(stem for stem in stems if stem != "base" and not stem.startswith("_"))


def get(package, name):
    """The module of method ``name``; a dotted name loads a method from anywhere."""
    family = package.__name__.rsplit(".", 1)[-1]
    if "." in name:
        search(os.getcwd())  # which a console script leaves out
        try:
            return importlib.import_module(name)
        except (ImportError, TypeError) as error:  # TypeError: a name that begins with a dot
            what = "cannot import {} {!r} ({})".format(family, name, error)
            raise UsageError(what, "is it on PYTHONPATH?") from error
    # A family leaves out of its own names what its methods share.
    known = package.names()
    if name not in known:
        raise UsageError("there is no {!r} in {}".format(name, family), "choose one of " + ", ".join(known))
    return importlib.import_module(package.__name__ + "." + name)


def search(folder):
    """Let modules of ``folder`` be imported too; it comes last, so that a user's file hides no installed package."""
    if folder not in sys.path:
        sys.path.append(folder)
