"""The side-car log of a flight: where the camera was, second by second.

CSV with a line of names, or one JSON object a line, with the columns of ``Fix``; docs/watch.md
says what they mean.  Between two rows everything changes evenly, angles the shorter way round.
"""

import bisect
import csv
import io
import json
import math
import os
from typing import List, NamedTuple

from edge_mpq.errors import DataError

MOST_BYTES = 64 << 20
# Least and most of each column.  At a pole there is no east; barometers start a little below nought.
LIMITS = {
    "time_s": (0.0, 1e9),
    "lat": (-89.0, 89.0),
    "lon": (-180.0, 180.0),
    "alt_m": (-100.0, 20000.0),
    "heading": (-180.0, 360.0),
    "pitch": (-90.0, 90.0),
}
NEEDED = tuple(LIMITS)[:5]


class Fix(NamedTuple):
    """Where the camera was at one time.

    time_s: since the first frame.  lat, lon: degrees north and east.  alt_m: above the ground.
    heading: degrees clockwise from north, of the picture's upper edge.  pitch: degrees of the
    lens above the horizon, -90 straight down.
    """

    time_s: float
    lat: float
    lon: float
    alt_m: float
    heading: float
    pitch: float = -90.0


class Flight(object):
    """The Fixes of one log, at least one, in order of time."""

    def __init__(self, fixes):
        self.fixes = list(fixes)
        self._times = [fix.time_s for fix in self.fixes]

    def at(self, time_s):
        """The Fix at ``time_s``, or None before the first row and after the last."""
        if not self._times[0] <= time_s <= self._times[-1]:
            return None
        index = bisect.bisect_left(self._times, time_s)
        after = self.fixes[index]
        if after.time_s == time_s:
            return after
        before = self.fixes[index - 1]
        part = (time_s - before.time_s) / (after.time_s - before.time_s)

        def between(name):
            low, high = getattr(before, name), getattr(after, name)
            return low + part * (high - low)

        def around(name):
            low, high = getattr(before, name), getattr(after, name)
            return low + part * ((high - low + 180.0) % 360.0 - 180.0)

        lon, heading = (around("lon") + 180.0) % 360.0 - 180.0, around("heading") % 360.0
        return Fix(time_s, between("lat"), lon, between("alt_m"), heading, between("pitch"))


def load(path):
    """The Flight in the log at ``path``; DataError names the line of the first fault."""
    path = str(path)
    if not os.path.isfile(path):
        raise DataError("there is no flight log {}".format(path), "check the path")
    if os.path.getsize(path) > MOST_BYTES:
        raise DataError("{} is larger than {} MiB".format(path, MOST_BYTES >> 20), "it is no flight log")
    try:
        with io.open(path, encoding="utf-8-sig", newline="") as stream:
            text = stream.read()
        rows = _json_lines(text) if text.lstrip().startswith("{") else _csv(text)
        return Flight(_checked(rows))
    except (ValueError, RecursionError, csv.Error) as error:
        raise DataError("the flight log {} {}".format(path, error), "docs/watch.md shows its columns") from error


def _csv(text):
    """(number of the line, {name: text}) of every row."""
    lines = csv.reader(io.StringIO(text), strict=True)
    names = [name.strip() for name in next(lines, [])]
    _check_names(names, 1)
    for row in lines:
        if any(row):
            if len(row) != len(names):
                raise ValueError("has {} values for {} columns in line {}".format(len(row), len(names), lines.line_num))
            yield lines.line_num, dict(zip(names, row))


def _json_lines(text):
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                row = json.loads(line)
            except ValueError as error:
                raise ValueError("is no JSON in line {}".format(number)) from error
            if not isinstance(row, dict):
                raise ValueError("holds no object in line {}".format(number))
            _check_names(row, number)
            yield number, row


def _check_names(names, number):
    if len(set(names)) != len(names) or not set(NEEDED) <= set(names) <= set(LIMITS):
        shown = ", ".join(sorted(str(name)[:20] for name in names)[:12]) or "nothing"
        wanted = "{} and, if at all, pitch".format(", ".join(NEEDED))
        raise ValueError("has the columns {} in line {}, not {}".format(shown, number, wanted))


def _checked(rows):
    """The Fixes in ``rows``; ValueError for what is no number, out of its range or out of order."""
    fixes: List[Fix] = []
    for number, row in rows:
        values = {}
        for name, given in row.items():
            value = _number(given)
            low, high = LIMITS[name]
            if value is None or not low <= value <= high:
                shown = repr(given)[:30]
                raise ValueError("has {} {} in line {}, not {:g} to {:g}".format(name, shown, number, low, high))
            values[name] = value
        fix = Fix(**values)
        if fixes and fix.time_s <= fixes[-1].time_s:
            raise ValueError("goes back in time in line {}".format(number))
        fixes.append(fix)
    if not fixes:
        raise ValueError("has no rows")
    return fixes


def _number(given):
    try:
        value = float(given) if type(given) in (int, float, str) else math.nan
    except (ValueError, OverflowError):
        return None
    return value if math.isfinite(value) else None
