"""Tuning: what a search over configurations measured, in order; later searches on other models learn from it."""

import itertools
from typing import Dict, NamedTuple, Tuple

from edge_mpq.records import document

KIND, VERSION = "tuning", 1

# One value of each axis, in the order of the axes.
Configuration = Tuple[str, ...]


class Space(NamedTuple):
    """axis -> the values it may take; a configuration is one value of each.

    features: numbers that tell the model searched for from others.
    """

    axes: Dict[str, Tuple[str, ...]]
    features: Dict[str, float] = {}

    def configurations(self):
        """Every configuration, the last axis varying fastest."""
        return list(itertools.product(*self.axes.values()))


class Trial(NamedTuple):
    """One configuration and what was measured of it; more is better."""

    configuration: Configuration
    score: float


class Tuning(NamedTuple):
    """The trials of one search, in the order of measuring, no configuration twice."""

    space: Space
    trials: Tuple[Trial, ...]

    @property
    def best(self):
        """The trial of greatest score, the earliest of several."""
        return max(self.trials, key=lambda trial: trial.score)

    def best_so_far(self):
        """The greatest score after each trial: it never falls."""
        return list(itertools.accumulate((trial.score for trial in self.trials), max))


def save(path, tuning):
    """Write the tuning to ``path``."""
    axes = [{"axis": name, "values": list(values)} for name, values in tuning.space.axes.items()]
    trials = [{"configuration": list(trial.configuration), "score": trial.score} for trial in tuning.trials]
    document.save(path, KIND, VERSION, {"axes": axes, "features": tuning.space.features, "trials": trials})


def load(path):
    """Read a tuning; RecordError names every fault."""
    fields = document.load(path, KIND, VERSION)
    space = Space(_axes(fields), fields.take("features", dict, {}))
    for name, value in space.features.items():
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            fields.fault("feature {!r} is no number".format(name))
    tuning = Tuning(space, tuple(_trials(fields, space)))
    fields.done()
    return tuning


def _axes(fields):
    axes = {}  # type: Dict[str, Tuple[str, ...]]
    for index, row in enumerate(fields.take("axes", list, [])):
        inner = document.Fields(row, "axis {}".format(index))
        name, values = inner.take("axis", str), inner.take("values", list, [])
        if name in axes:
            inner.fault("{!r} stands twice".format(name))
        if not values or not all(isinstance(value, str) for value in values) or len(set(values)) < len(values):
            inner.fault("its values are not different names")
        _tell(inner, fields)
        axes[name] = tuple(value for value in values if isinstance(value, str))
    return axes


def _trials(fields, space):
    measured = set()
    for index, row in enumerate(fields.take("trials", list, [])):
        inner = document.Fields(row, "trial {}".format(index))
        configuration, score = tuple(inner.take("configuration", list, [])), inner.take("score", float, 0.0)
        whole = len(configuration) == len(space.axes)
        if not whole or any(value not in values for value, values in zip(configuration, space.axes.values())):
            inner.fault("its configuration is not of these axes")
        elif configuration in measured:
            inner.fault("it repeats a configuration")
        else:
            measured.add(configuration)
        _tell(inner, fields)
        yield Trial(configuration, score)


def _tell(inner, fields):
    for fault in inner.faults:
        fields.fault("{} {}".format(inner.where, fault))
