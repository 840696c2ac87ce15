"""Numbers as people read them: rounded, grouped, and with their unit."""

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple


class Quantity(NamedTuple):
    """A rounded number and its unit.

    >>> str(ms(12.3456))
    '12.3 ms'
    """

    number: str
    unit: str = ""

    def __str__(self) -> str:
        return f"{self.number} {self.unit}".rstrip()


Rule = Callable[[float], Quantity]


def significant(value: float, digits: int = 3) -> str:
    """``value`` to that many digits, thousands grouped; an exponent where zeros would hide it."""
    if value == 0:
        return "0"
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    if -4 <= int(exponent) < 15:
        return fixed(float(f"{mantissa}e{exponent}"), max(0, digits - 1 - int(exponent)))
    return f"{mantissa}e{int(exponent)}".replace("-", "\u2212")


def decimals(values: Iterable[float | None], digits: int = 2) -> int:
    """Decimals that show the smallest of ``values`` to ``digits`` digits: one for a whole column."""
    known = [abs(value) for value in values if value]
    if not known:
        return 0
    return min(6, max(0, digits - 1 - math.floor(math.log10(min(known)))))


def fixed(value: float, places: int) -> str:
    """``value`` with ``places`` decimals, thousands grouped, never a minus before zero."""
    text = f"{value:,.{places}f}"
    return text.lstrip("-") if not text.strip("-0.,") else text.replace("-", "\u2212")


def percent(share: float) -> Quantity:
    """A share of 1 in percent."""
    return Quantity(fixed(100 * share, 2), "%")


def points(difference: float) -> Quantity:
    """A difference of two shares in percentage points, signed."""
    return Quantity(signed(100 * difference, 2), "points")


def change(ratio: float) -> Quantity:
    """A ratio as the signed percentage by which it differs from 1."""
    return Quantity(signed(100 * (ratio - 1), 1), "%")


def signed(value: float, places: int) -> str:
    """:func:`fixed` with a plus before what is above zero."""
    text = fixed(value, places)
    return "+" + text if value > 0 and text.strip("0.,") else text


def ms(value: float) -> Quantity:
    """Milliseconds."""
    return Quantity(significant(value), "ms")


def seconds(value: float) -> Quantity:
    """Seconds."""
    return Quantity(significant(value), "s")


def mib(value: float) -> Quantity:
    """Mebibytes."""
    return Quantity(significant(value), "MiB")


def bits(value: float) -> Quantity:
    """Bits a weight."""
    return Quantity(fixed(value, 2), "bits")


def rate(value: float) -> Quantity:
    """Pictures a second."""
    return Quantity(f"{value:,.0f}" if value >= 1000 else significant(value), "FPS")


def times(value: float) -> Quantity:
    """A ratio."""
    return Quantity(fixed(value, 2) if value >= 0.01 or value == 0 else significant(value), "\u00d7")


def count(value: float) -> Quantity:
    """How many of a thing that needs no unit."""
    return Quantity(f"{value:,.0f}")


def millions(value: float) -> Quantity:
    """A large count in millions."""
    return Quantity(significant(value / 1e6), "M")
