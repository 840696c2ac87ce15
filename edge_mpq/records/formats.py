"""Number formats: how many bits, what range, in which container they travel.

A plan names a format for the weights and one for the activations of each layer.
``int8`` says eight bits of integer; whether they are stored as uint8 with a zero
point or symmetric int8 is the target's scheme (records/target.py).  ``fp8`` is E4M3 and
``fp4`` E2M1; other small floats say in their names how many bits are exponent and mantissa.
"""
from typing import NamedTuple

from edge_mpq.errors import PlanError


class Format(NamedTuple):
    """One number format.

    bits: nominal width.  container_bits: width of the smallest tensor type that
    engines store it in (3 bits travel in int4, 5 to 7 in int8 or fp8).  largest: greatest
    finite magnitude in units of the scale for integers, of 1.0 for floats.
    """

    name: str
    bits: int
    container_bits: int
    is_float: bool
    largest: float


def _integer(bits):
    container = 2 if bits == 2 else 4 if bits <= 4 else 8
    return Format("int{}".format(bits), bits, container, False, float(2 ** (bits - 1) - 1))


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


def get(name):
    """The :class:`Format` called ``name``; PlanError when there is none."""
    if name not in FORMATS:
        raise PlanError("there is no number format {!r}".format(name), "known: " + ", ".join(FORMATS))
    return FORMATS[name]
