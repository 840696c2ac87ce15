"""Number formats: how many bits, what range, in which container they travel.

A plan names a format for the weights and one for the activations of each layer.
``int8`` says eight bits of integer; whether they are stored as uint8 with a zero
point or symmetric int8 is the target's scheme (records/target.py).  ``fp8`` is E4M3 and
``fp4`` E2M1; other small floats say in their names how many bits are exponent and mantissa.
``int4b32`` are block-wise weights, one scale for every 32 inputs of an output; ``uint4b32`` have a
zero point a block as well.
"""

import re
from typing import NamedTuple

from edge_mpq.errors import PlanError


class Format(NamedTuple):
    """One number format.

    bits: nominal width.  container_bits: width of the smallest tensor type that
    engines store it in (3 bits travel in int4, 5 to 7 in int8 or fp8).  largest: greatest
    finite magnitude in units of the scale for integers, of 1.0 for floats.  block: how many
    consecutive inputs of one output share a scale, 0 where channels or tensors do.  unsigned:
    blocks have a zero point too.
    """

    name: str
    bits: int
    container_bits: int
    is_float: bool
    largest: float
    block: int = 0
    unsigned: bool = False


def container(bits):
    """The width of the smallest tensor type that holds codes of so many bits; 32, of a float, is its own."""
    return next(width for width in (2, 4, 8, 32) if bits <= width)


def _integer(bits):
    return Format("int{}".format(bits), bits, container(bits), False, float(2 ** (bits - 1) - 1))


FORMATS = {
    form.name: form
    for form in [
        Format("fp32", 32, 32, True, 3.4028234663852886e38),
        Format("fp16", 16, 16, True, 65504.0),
        Format("bf16", 16, 16, True, 3.3895313892515355e38),
        Format("fp8", 8, 8, True, 448.0),
        Format("fp8_e5m2", 8, 8, True, 57344.0),
        Format("fp7_e3m3", 7, 8, True, 30.0),
        Format("fp6_e3m2", 6, 8, True, 28.0),
        Format("fp6_e2m3", 6, 8, True, 7.5),
        Format("fp5_e2m2", 5, 8, True, 7.0),
        Format("fp4", 4, 4, True, 6.0),
    ]
    + [_integer(bits) for bits in range(8, 1, -1)]
}


# Blocks that some engine or publication knows; sums of blocks of 16 are the finest a kernel takes.
BLOCKS = (16, 32, 64, 128)
_BLOCKED = re.compile(r"(u?)int([2348])b({})".format("|".join(map(str, BLOCKS))))


def is_known(name):
    """Whether ``name`` is a number format."""
    return name in FORMATS or _BLOCKED.fullmatch(name) is not None


def shown(names):
    """A list of formats for a message: block-wise ones, of which there are many, as one word."""
    plain = [name for name in names if name in FORMATS]
    return ", ".join(plain + ["block-wise integers"] * (len(plain) < len(names)))


def get(name):
    """The :class:`Format` called ``name``; PlanError when there is none."""
    if name in FORMATS:
        return FORMATS[name]
    found = _BLOCKED.fullmatch(name)
    if found is None:
        raise PlanError(
            "there is no number format {!r}".format(name),
            "known: " + ", ".join(FORMATS) + ", and block-wise ones like int4b32 and uint4b32",
        )
    unsigned, (bits, block) = bool(found.group(1)), (int(text) for text in found.groups()[1:])
    plain = _integer(bits)
    largest = float(2**bits - 1) if unsigned else plain.largest
    return plain._replace(name=name, largest=largest, block=block, unsigned=unsigned)
