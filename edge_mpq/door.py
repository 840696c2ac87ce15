"""A family's door: its methods are the files of its folder, found by listing it."""
import importlib
import os

from edge_mpq.errors import UsageError


def names(package):
    """Every method of ``package`` (an imported family), alphabetically."""
    folder = os.path.dirname(package.__file__)
    stems = [name[:-3] for name in os.listdir(folder) if name.endswith(".py") and not name.startswith("_")]
    return sorted(stem for stem in stems if stem != "base")


def get(package, name):
    """The module of method ``name``; a dotted name loads a method from anywhere."""
    family = package.__name__.rsplit(".", 1)[-1]
    if "." in name:
        try:
            return importlib.import_module(name)
        except ImportError as error:
            what = "cannot import {} {!r} ({})".format(family, name, error)
            raise UsageError(what, "is it on PYTHONPATH?") from error
    if name not in names(package):
        raise UsageError(
            "there is no {!r} in {}".format(name, family), "choose one of {}".format(", ".join(names(package)))
        )
    return importlib.import_module(package.__name__ + "." + name)
