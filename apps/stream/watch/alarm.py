"""When an alarm is raised and lowered again: pure, over one frame after another.

Raised once k of the last n frames hit, lowered once at most j of them do.  Between the two
lie at least k - j frames, as a frame changes the count by one: a flickering answer cannot
make the alarm flicker.
"""

import math
import re
from collections import deque
from typing import Deque, NamedTuple, Optional

from edge_mpq.errors import UsageError

RAISED, LOWERED = "raised", "lowered"
MOST_FRAMES = 100000


class Condition(NamedTuple):
    """What makes a frame a hit: the label ``named``; where ``above`` is given, a fact ``named`` that exceeds it."""

    named: str
    above: Optional[float] = None

    def hit(self, answer, facts):
        """Whether the Answer and the facts of a frame fulfil it; a fact that is missing or is text does not."""
        if self.above is None:
            return answer.label == self.named
        value = facts.get(self.named)
        return isinstance(value, (int, float)) and value > self.above


class When(NamedTuple):
    """Raised at ``raised_at`` or more of the last ``frames``, lowered at ``lowered_at`` or fewer."""

    raised_at: int
    frames: int
    lowered_at: int


USUAL = When(5, 8, 1)


def parse_condition(text):
    """The Condition in ``CLASS`` or ``FACT>NUMBER``; UsageError where it is none."""
    named, sign, number = (part.strip() for part in text.partition(">"))
    try:
        above = float(number) if sign else None
    except ValueError:
        above = math.nan
    if not named or (above is not None and not math.isfinite(above)):
        raise UsageError("--alarm is {!r}".format(text), "write a class, such as Fire, or FACT>NUMBER")
    return Condition(named, above)


def check(condition, classes, facts):
    """Raise UsageError unless ``condition`` can be met by a model of ``classes`` and a view of ``facts``."""
    if condition.above is not None:
        if condition.named not in facts:
            what = "--alarm waits for the fact {!r}".format(condition.named)
            raise UsageError(what, "this view tells " + (", ".join(facts) or "none"))
    elif classes and condition.named not in classes:
        what = "--alarm waits for the class {!r}".format(condition.named)
        raise UsageError(what, "the bundle has " + ", ".join(str(label) for label in classes))


def parse_when(text):
    """The When in ``K/N`` or ``K/N/J``; without J it is lowered below half of K.  UsageError where it is none."""
    found = re.match(r"(\d{1,6})/(\d{1,6})(?:/(\d{1,6}))?\Z", text)
    raised_at, frames, lowered_at = (int(part or -1) for part in found.groups()) if found else (0, 0, 0)
    if found and found.group(3) is None:
        lowered_at = (raised_at - 1) // 2
    if not 0 <= lowered_at < raised_at <= frames <= MOST_FRAMES:
        what = "--alarm-when is {!r}".format(text)
        raise UsageError(what, "write K/N or K/N/J, such as 5/8/1, where 0 <= J < K <= N <= {}".format(MOST_FRAMES))
    return When(raised_at, frames, lowered_at)


class Alarm(object):
    """The state of one alarm.  up: whether it is raised; at first it is not."""

    def __init__(self, when=USUAL):
        self._when, self.up = when, False
        self._last: Deque[bool] = deque(maxlen=when.frames)
        self._hits = 0

    def see(self, hit):
        """Take one frame: RAISED or LOWERED where it changes the state, else None."""
        if len(self._last) == self._when.frames:
            self._hits -= self._last[0]
        self._last.append(bool(hit))
        self._hits += bool(hit)
        if not self.up and self._hits >= self._when.raised_at:
            self.up = True
            return RAISED
        if self.up and self._hits <= self._when.lowered_at:
            self.up = False
            return LOWERED
        return None
