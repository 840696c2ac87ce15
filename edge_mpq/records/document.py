"""How every record is written to and read from a file: one JSON object a file.

``{"kind": "plan", "version": 1, ...fields}``.  Writing goes to a temporary name and
is renamed, so a killed process or a full disk never leaves half a file.  Reading
collects every fault of the object before it complains.
"""

import json
import math
import os
import tempfile
from typing import Dict, List, Optional

from edge_mpq.errors import RecordError

MAX_BYTES = 64 * 1024 * 1024


def write_bytes(path, data):
    """Write ``data`` to ``path`` whole or not at all."""
    folder = os.path.dirname(os.path.abspath(str(path)))
    if not os.path.isdir(folder):
        os.makedirs(folder)
    handle, temporary = tempfile.mkstemp(prefix=".half-", dir=folder)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
        os.chmod(temporary, 0o644)
        os.replace(temporary, str(path))
    except BaseException:
        os.unlink(temporary)
        raise


def save(path, kind, version, body):
    """Write ``body`` (a dict of JSON values) as a record of ``kind``."""
    record = {"kind": kind, "version": version}
    record.update(body)
    text = json.dumps(record, indent=1, allow_nan=False)
    write_bytes(path, (text + "\n").encode("utf-8"))


def load(path, kind, version):
    """Read a record and return its fields as :class:`Fields`.

    Raises RecordError when the file is missing, too large, torn, of another kind, or
    of a newer version, or holds NaN, infinity or an integer beyond 64 bits.
    """
    path = str(path)
    if not os.path.isfile(path):
        raise RecordError("no {} at {}".format(kind, path), "check the path")
    if os.path.getsize(path) > MAX_BYTES:
        raise RecordError("{} is larger than {} MiB".format(path, MAX_BYTES >> 20), "it is no " + kind)
    try:
        with open(path, encoding="utf-8") as stream:
            body = json.load(stream, parse_constant=_finite, parse_float=_finite, parse_int=_whole)
    except (ValueError, RecursionError) as error:
        raise RecordError(
            "{} is not a whole JSON file ({})".format(path, error), "write it again; it is torn or edited"
        ) from error
    return parse(body, kind, version, path)


def kind_of(path):
    """The kind that the record at ``path`` says it is, '' where there is none or it is torn; nothing is checked."""
    try:
        if os.path.getsize(str(path)) > MAX_BYTES:
            return ""
        with open(str(path), encoding="utf-8") as stream:
            body = json.load(stream)
    except (OSError, ValueError, RecursionError):
        return ""
    kind = body.get("kind") if isinstance(body, dict) else ""
    return kind if isinstance(kind, str) else ""


def _finite(text):
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("{} is no finite number".format(text[:20]))
    return value


def _whole(text):
    # Twenty signs hold every 64-bit integer; longer ones overflow a float or take minutes to convert.
    if len(text) > 20:
        raise ValueError("an integer of {} digits".format(len(text)))
    return int(text)


def parse(body, kind, version, where):
    """Check kind and version of a decoded record; ``where`` names it in errors."""
    if not isinstance(body, dict):
        raise RecordError("{} holds a JSON {}".format(where, type(body).__name__), "a record is an object")
    if body.get("kind") != kind:
        what = "{} is a record of kind {}".format(where, _short(body.get("kind")))
        raise RecordError(what, "a {!r} is wanted".format(kind))
    if body.get("version") != version:
        raise RecordError(
            "{} is {} version {}".format(where, kind, _short(body.get("version"))),
            "this program reads version {}; make the file again with it".format(version),
        )
    return Fields(body, where)


def _short(value):
    # What a file holds where a name or number belongs; never megabytes of it.
    return repr(value)[:60] if isinstance(value, (str, int, float)) else "of type " + type(value).__name__


class Fields(object):
    """The fields of one JSON object, taken by name and type; faults are told together.

    >>> fields = Fields({"bits": 8}, "plan.json")
    >>> fields.take("bits", int)
    8
    >>> fields.done()
    """

    def __init__(self, body, where):
        self.body, self.where, self.faults = body, where, []
        if not isinstance(body, dict):
            self.faults.append("is a JSON {}, not an object".format(type(body).__name__))
            self.body = {}

    def take(self, name, kind, default=None, optional=False):
        """The value of field ``name`` if it is a ``kind``; else note a fault, give ``default``."""
        if name not in self.body or (optional and self.body[name] is None):
            if not optional:
                self.faults.append("has no field {!r}".format(name))
            return default
        value = self.body[name]
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            self.faults.append("field {!r} is a {}, not a {}".format(name, type(value).__name__, kind.__name__))
            return default
        if isinstance(value, float) and not math.isfinite(value):
            self.faults.append("field {!r} is {}".format(name, value))
            return default
        return value

    def fault(self, text):
        """Note a fault found by the caller."""
        self.faults.append(text)

    def done(self):
        """Raise RecordError with every fault noted so far."""
        if self.faults:
            raise RecordError("{}: {}".format(self.where, "; ".join(self.faults)), "write the record again")


# What JSON holds for each annotation of a record's field, and whether null will do.
_TAKEN = {
    str: (str, False),
    int: (int, False),
    float: (float, False),
    bool: (bool, False),
    Optional[float]: (float, True),
    Dict[str, float]: (dict, False),
    Dict[str, str]: (dict, False),
    List[str]: (list, False),
}


def named(kind, body, where, fields):
    """A NamedTuple ``kind`` from a JSON object; its faults are told to ``fields``, and None given.

    Lists of further records stay lists of JSON values, for the caller to decode.
    """
    inner = Fields(body, where)
    defaults = getattr(kind, "_field_defaults", {})
    values = {}
    for name, annotation in kind.__annotations__.items():
        if name in inner.body or name not in defaults:
            form, optional = _TAKEN.get(annotation, (list, False))
            values[name] = inner.take(name, form, {} if form is dict else None, optional)
        if annotation == Dict[str, float] and not all(
            isinstance(value, (int, float)) for value in values[name].values()
        ):
            inner.fault("field {!r} holds something that is no number".format(name))
    for name in inner.body:
        if name not in kind._fields:
            inner.fault("has the unknown field {!r}".format(name))
    for fault in inner.faults:
        fields.fault("{} {}".format(where, fault))
    return None if inner.faults else kind(**values)
