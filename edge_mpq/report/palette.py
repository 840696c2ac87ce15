"""Which colour a layer takes: one for each width of weights, the same on every page.

The colours themselves stand in style.css.  Wide floats are greys, integers run from
blue (8 bits) to red (2 bits) over amber, small floats are greens: told apart with every
common colour blindness and in grey.  Activations of another width than the usual
show as stripes over the colour.
"""

import re
from collections.abc import Iterable

from edge_mpq.records.formats import FORMATS

_SHORT = re.compile(r"[wu](\d+)[ab](\d+)")
_WIDE = {32: "fp32", 16: "fp16"}


def key(short: str) -> str:
    """The format of the weights in a short name: ``w4a8`` is int4; ``other`` where it is none known."""
    if short in FORMATS:
        return short
    found = _SHORT.fullmatch(short)
    bits = int(found.group(1)) if found and len(short) < 12 else 0
    name = _WIDE.get(bits, f"int{bits}")
    return name if name in FORMATS else "other"


def classes(shorts: Iterable[str]) -> dict[str, str]:
    """Short name -> CSS classes, in the order of a legend: wide formats first.

    Of the names that share a colour all but the commonest are striped.
    """
    tally: dict[str, int] = {}
    for short in shorts:
        tally[short] = tally.get(short, 0) + 1
    order = list(FORMATS) + ["other"]
    result: dict[str, str] = {}
    taken: dict[str, int] = {}
    for short in sorted(tally, key=lambda name: (order.index(key(name)), -tally[name], name)):
        colour = key(short)
        stripes = taken.get(colour, 0)
        taken[colour] = stripes + 1
        result[short] = f"format-{colour}" + (f" striped-{min(stripes, 2)}" if stripes else "")
    return result


def side(index: int) -> str:
    """The CSS class of the ``index``-th report of a comparison; six colours, counted round."""
    return f"side-{index % 6}"
