"""A recipe's own options as words behind its name: ``gradient_ptq:unit=block,dof=rounding+scale``.

They are the arguments of its ``run`` beside task and progress, and the fields of those that are
tuples with names.  What no word can say (functions, mappings) is left to Python.
"""

import inspect
import math
import types
import typing
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Union

from edge_mpq.errors import UsageError

# Of everything that is drawn there is one seed, the task's.
NOT_SAID = {"task", "progress", "seed"}


class Setting(NamedTuple):
    """path: an argument of ``run``, then fields in it.  kind: bool, int, float or str, of each if ``several``."""

    path: tuple[str, ...]
    kind: type
    several: bool
    default: Any

    @property
    def written(self) -> str:
        """The default as a word; '' where there is none."""
        values = self.default if self.several else () if self.default is None else (self.default,)
        return "+".join(str(value).lower() if self.kind is bool else str(value) for value in values)


def settings_of(run: Callable[..., Any]) -> dict[str, Setting]:
    """Name -> Setting of all that words may say to ``run``."""
    hints, found = typing.get_type_hints(run), {}
    for name, argument in inspect.signature(run).parameters.items():
        found.update(_below((name,), hints.get(name), argument.default))
    return found


def spoken(recipe: str, run: Callable[..., Any], words: str) -> dict[str, Any]:
    """The keywords for ``run`` that ``words`` (``key=value,key=value``) come to.

    Raises UsageError, naming every fault at once, for a setting that ``recipe`` has not, one said twice,
    and a value of another kind.
    """
    known, values, faults = settings_of(run), {}, []
    for word in words.split(","):
        key, equals, text = word.partition("=")
        if key not in known or not equals:
            faults.append(f"{word!r} sets nothing of it")
        elif key in values:
            faults.append(f"{key} is said twice")
        else:
            try:
                values[key] = _value(known[key], text)
            except ValueError as error:
                faults.append(f"{key}={text}: {error}")
    if faults:
        there = ", ".join(f"{name}={setting.written}" for name, setting in known.items())
        mend = f"write {recipe}:KEY=VALUE,KEY=VALUE of {there}" if known else "it has no settings"
        raise UsageError(f"recipe {recipe}: {'; '.join(faults)}", mend)
    return _keywords(run, {known[key].path: value for key, value in values.items()})


def _below(path: tuple[str, ...], hint: Any, default: Any) -> dict[str, Setting]:
    """The settings of one argument or field, by the name of the last step of their path."""
    if path[-1] in NOT_SAID:
        return {}
    if hasattr(hint, "_fields"):
        hints, found = typing.get_type_hints(hint), {}
        for name in hint._fields:
            found.update(_below((*path, name), hints[name], getattr(default, name)))
        return found
    several = typing.get_origin(hint) in (tuple, Sequence)
    kinds = [kind for kind in typing.get_args(hint) if kind not in (type(None), Ellipsis)]
    if not several and typing.get_origin(hint) not in (Union, types.UnionType):
        kinds = [hint]
    if len(kinds) != 1 or kinds[0] not in (bool, int, float, str):
        return {}
    return {path[-1]: Setting(path, kinds[0], several, default)}


def _value(setting: Setting, text: str) -> Any:
    """``text`` as the setting's kind; ValueError, saying what it is not."""
    if setting.several:
        return tuple(_one(setting.kind, part) for part in text.split("+"))
    return _one(setting.kind, text)


def _one(kind: type, text: str) -> Any:
    if kind is bool:
        if text not in ("true", "false"):
            raise ValueError("neither true nor false")
        return text == "true"
    if not text:
        raise ValueError("nothing is said")
    if kind is str:
        return text
    try:
        value = kind(text)
    except ValueError:
        raise ValueError("no whole number" if kind is int else "no number") from None
    # Whole numbers are counts: epochs, trials, steps, bits.  No number of a recipe lies below zero.
    if not math.isfinite(value) or value < (1 if kind is int else 0):
        raise ValueError("less than one" if kind is int else "not a number from zero on")
    return value


def _keywords(run: Callable[..., Any], values: dict[tuple[str, ...], Any]) -> dict[str, Any]:
    """The arguments that ``values`` change, each a default of ``run`` with its fields replaced."""
    arguments: dict[str, Any] = {}
    for (name, *fields), value in values.items():
        before = arguments.get(name, inspect.signature(run).parameters[name].default)
        arguments[name] = _replaced(before, fields, value)
    return arguments


def _replaced(before: Any, fields: Sequence[str], value: Any) -> Any:
    if not fields:
        return value
    return before._replace(**{fields[0]: _replaced(getattr(before, fields[0]), fields[1:], value)})
