"""Which arithmetic a pair of formats runs on: both timing models must agree on it."""

from edge_mpq.cost import Pair
from edge_mpq.records import formats
from edge_mpq.records.target import Target


def compute_format(pair: Pair, target: Target) -> str:
    """The format of the multiply-adds of ``pair``: a key of ``target.peak_tops``.

    Operands of unlike formats meet in the wider one (4-bit weights are unpacked to
    their fp16 or int8 activations).  Where the target has no such arithmetic, the
    narrowest that is wide enough serves, integer for integer if there is a choice.
    """
    wanted = max((formats.get(name) for name in pair), key=lambda form: (form.bits, form.is_float))
    there = [formats.get(name) for name in target.peak_tops]
    enough = [form for form in there if form.bits >= wanted.bits]
    if not enough:
        return max(there, key=lambda form: form.bits).name
    return min(enough, key=lambda form: (form.bits, form.is_float != wanted.is_float, form.name != wanted.name)).name
