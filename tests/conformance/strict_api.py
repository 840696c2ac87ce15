"""A ``tensorrt`` module of any version from 8.0.1 to 11.4 that has its names and arities, and nothing else.

It is built from ``api.json.gz``, a table of every public class, method, property and enumeration
of the Python bindings: for a method its overloads as [required, most, argument names, what it
returns], for a property ``r:`` or ``w:`` and its type.  What is not in the table raises as the
real bindings do: AttributeError for a name, TypeError for arguments or a constructor.

What objects answer is by type (1, True, '', an object of the class) unless ``answers`` says
otherwise: ``{"ICudaEngine.num_io_tensors": 2, "Builder.build_serialized_network": function}``; a
function is called with the object and the arguments.  Every call and every property set is
written to the module's ``calls``.

Runs on Python 3.6, so that board code can be driven through it there.
"""

import enum
import functools
import gzip
import json
import os
import types
from typing import Any

TABLE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "api.json.gz")


@functools.lru_cache(maxsize=1)
def table():
    """version -> {classes, enums, functions}."""
    with gzip.open(TABLE, "rt", encoding="utf-8") as stream:
        return json.load(stream)


def versions():
    """Every version in the table, oldest first."""
    return sorted(table(), key=lambda version: [int(part) for part in version.split(".")])


class _Enum(enum.Enum):
    """As pybind11 makes them: they convert to int, and are none."""

    def __int__(self):
        return self.value

    __index__ = __int__


_ENUM: Any = _Enum  # called with a table of members, which is no type


@functools.lru_cache(maxsize=1)
def everything():
    """Every ``Class.member`` and function of any version."""
    found = set()
    for facts in table().values():
        found.update(facts["functions"])
        found.update(name + "." + member for name, kind in facts["classes"].items() for member in kind["m"])
    return found


def module(version, answers=None):
    """The module of ``version``."""
    return _Maker(version, answers or {}).made


@functools.lru_cache(maxsize=12)
def _enums(version):
    # Enumerations hold nothing of one module, and are slow to make.
    facts = table()[version]["enums"]
    return {name: _ENUM(name.split(".")[-1], members) for name, members in facts.items()}


class _Maker:
    def __init__(self, version, answers):
        self.facts, self.answers = table()[version], answers
        made: Any = types.ModuleType("tensorrt")
        made.__version__, made.calls = version, []
        self.made = made
        self.known = dict(_enums(version))
        for name in self.facts["classes"]:
            self._class(name)
        for name, value in self.known.items():
            owner, _, short = name.rpartition(".")
            setattr(self.known[owner] if owner else self.made, short, value)
        severities = self.known.get("ILogger.Severity") or self.known["Logger.Severity"]
        for member in severities:
            setattr(self.made.Logger, member.name, member)
        for name, overloads in self.facts["functions"].items():
            setattr(self.made, name, self._function(name, overloads))
        assert not set(answers) - everything(), sorted(set(answers) - everything())

    def _class(self, name):
        if name in self.known:
            return self.known[name]
        facts = self.facts["classes"][name]
        bases = tuple(self._class(base) for base in facts["bases"] if base in self.facts["classes"])[:1]
        body = {"__module__": "tensorrt", "__qualname__": name, "_made_here": name}
        for member, kind in facts["m"].items():
            path = name + "." + member
            if member == "__init__":
                body[member] = self._constructor(name, kind)
            elif isinstance(kind, str):
                body[member] = self._property(path, member, kind)
            elif member not in ("__del__", "__bool__", "__nonzero__"):
                body[member] = self._method(path, kind)
        body["__setattr__"] = _strict_setattr
        self.known[name] = type(name.split(".")[-1], bases, body)
        return self.known[name]

    def _constructor(self, name, overloads):
        def initialize(this, *args, **kwargs):
            if not isinstance(overloads, list):
                raise TypeError(f"{name}: No constructor defined!")
            self._record(name + ".__init__", overloads, args, kwargs)
            this.__dict__["_initialized"] = True
            answer = self.answers.get(name + ".__init__")
            if answer is not None:
                answer(this, *args, **kwargs)

        return initialize

    def _method(self, path, overloads):
        def call(this, *args, **kwargs):
            kind = self._record(path, overloads, args, kwargs)
            answer = self.answers.get(path, _NO_ANSWER)
            if answer is _NO_ANSWER:
                return self._value(kind)
            return answer(this, *args, **kwargs) if callable(answer) else answer

        return call

    def _function(self, name, overloads):
        method = self._method(name, overloads)
        return lambda *args, **kwargs: method(None, *args, **kwargs)

    def _property(self, path, member, kind):
        def read(this):
            if member in this.__dict__.setdefault("_set", {}):
                return this.__dict__["_set"][member]
            answer = self.answers.get(path, _NO_ANSWER)
            if answer is _NO_ANSWER:
                return self._value(kind[2:])
            return answer(this) if callable(answer) else answer

        def write(this, value):
            _check(path, (value,))
            self.made.calls.append((path + "=", (value,)))
            this.__dict__.setdefault("_set", {})[member] = value

        return property(read, write if kind.startswith("w") else None)

    def _record(self, path, overloads, args, kwargs):
        """Note a call and check it; the type it returns."""
        _check(path, args + tuple(kwargs.values()))
        self.made.calls.append((path, args + tuple(kwargs.values())))
        if not isinstance(overloads, list):
            return "?"
        count = len(args) + len(kwargs)
        for required, most, names, kind in overloads:
            if required <= count and (most < 0 or count <= most) and set(kwargs) <= set(names):
                return kind
        raise TypeError(f"{path}(): incompatible function arguments {args} {kwargs}")

    def _value(self, kind):
        short = kind.rsplit("::", 1)[-1]
        short = {"IEngineInspector": "EngineInspector", "IParserError": "ParserError"}.get(short, short)
        if short in self.known:
            known = self.known[short]
            return list(known)[0] if issubclass(known, enum.Enum) else self.new(short)
        plain = {"bool": True, "int": 1, "float": 1.0, "str": ""}
        return [] if kind.lower().startswith(("list", "tuple")) else plain.get(short)

    def new(self, name):
        """An object of class ``name`` as the library would hand it out."""
        return self.known[name].__new__(self.known[name])


_NO_ANSWER = object()


def new(made, of_class, **attributes):
    """An object of a class of the module ``made``, past its constructor.

    attributes: what its properties answer, read-only ones too.
    """
    thing = getattr(made, of_class).__new__(getattr(made, of_class))
    for attribute in attributes:
        assert hasattr(type(thing), attribute), f"{of_class} has no {attribute}"
    thing.__dict__["_set"] = dict(attributes)
    return thing


def _strict_setattr(this, name, value):
    # A class written in Python over one of these has a dictionary of its own.
    if "_made_here" in type(this).__dict__ and not hasattr(type(this), name):
        raise AttributeError(f"{type(this)._made_here!r} object has no attribute {name!r}")
    object.__setattr__(this, name, value)


def _check(path, values):
    """pybind11 refuses an object whose class, written in Python, forgot to call the base's constructor."""
    for value in values:
        kind = type(value)
        if hasattr(kind, "_made_here") and "_made_here" not in kind.__dict__ and not value.__dict__.get("_initialized"):
            raise TypeError(f"{path}: {kind._made_here}.__init__() must be called when overriding __init__")
