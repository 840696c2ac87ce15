"""The budget language: ``size<=5bits,latency<=0.6x``, and what it means for an allocator.

A budget is terms joined by commas, each a quantity once.  A plan must keep all of them::

    size<=5bits    average nominal bits a weight        size<=1.5MiB   weights at nominal bits
    size<=0.25x    share of the fp32 weights            bitops<=0.2x   share of fp32's bit operations
    latency<=4ms   one picture                          latency<=0.6x  share of fp32's time
    drop<=0.5%     points of accuracy lost, verified on held-out data by the planner
"""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from edge_mpq.allocators import ChangeTable, Limit
from edge_mpq.cost import CostTable, Menu, Pair
from edge_mpq.errors import PlanError
from edge_mpq.records import formats
from edge_mpq.records.layer import LayerSpec

UNITS = {"size": ("bits", "x", "MiB"), "latency": ("ms", "x"), "bitops": ("x",), "drop": ("%",)}
_TABLE_UNIT = {"size": "MiB", "latency": "ms", "bitops": "GBOPs"}
_FP32: Pair = ("fp32", "fp32")
_GRAMMAR = "write terms like size<=5bits, size<=0.25x, size<=1.5MiB, latency<=4ms, latency<=0.6x, bitops<=0.2x, " \
           "drop<=0.5%, joined by commas"  # fmt: skip
_TERM = re.compile(r"([a-z]+)\s*<=\s*((?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([A-Za-z%]+)", re.ASCII)


class Term(NamedTuple):
    """``quantity`` must be at most ``most``, in ``unit``; ``x`` is a share of fp32's."""

    quantity: str
    most: float
    unit: str

    def __str__(self) -> str:
        number = repr(self.most)
        return f"{self.quantity}<={number.removesuffix('.0')}{self.unit}"


class Budget(NamedTuple):
    """Terms in the order of ``UNITS``, every quantity at most once; ``str()`` writes it canonically."""

    terms: tuple[Term, ...]

    def __str__(self) -> str:
        return ",".join(str(term) for term in self.terms)

    def drop(self) -> float | None:
        """The accuracy that may be lost, as a share: 0.005 for ``drop<=0.5%``; None if it is free."""
        return next((term.most / 100 for term in self.terms if term.quantity == "drop"), None)


def parse(text: str) -> Budget:
    """The budget written in ``text``; PlanError names every fault and shows the grammar."""
    terms: dict[str, Term] = {}
    faults = []
    for part in text.split(","):
        match = _TERM.fullmatch(part.strip())
        if match is None:
            faults.append(f"{part.strip()!r} is no budget term" if part.strip() else "a term is empty")
            continue
        term = Term(match[1], float(match[2]), match[3])
        fault = _fault(term)
        if fault:
            faults.append(f"{part.strip()!r}: {fault}")
        elif term.quantity in terms:
            faults.append(f"{term.quantity!r} stands twice")
        else:
            terms[term.quantity] = term
    if faults:
        raise PlanError("; ".join(faults), _GRAMMAR)
    return Budget(tuple(terms[quantity] for quantity in UNITS if quantity in terms))


def of_costs(text: str, whose: str) -> Budget:
    """The budget written in ``text`` for ``whose`` search, which measures no accuracy; PlanError for one of that."""
    wanted = parse(text)
    if wanted.drop() is not None:
        raise PlanError(f"budget {wanted} speaks of accuracy", f"give {whose} a size, bitops or latency")
    return wanted


def _fault(term: Term) -> str:
    if term.quantity not in UNITS:
        return f"there is no quantity {term.quantity!r}"
    if term.unit not in UNITS[term.quantity]:
        return f"{term.quantity} is counted in {' or '.join(UNITS[term.quantity])}, not {term.unit}"
    if not 0 < term.most < math.inf:
        return "the limit is not above zero and finite"
    if term.unit == "%" and term.most > 100:
        return "no more than 100 % can be lost"
    return ""


def usual(layers: Sequence[LayerSpec], menu: Menu) -> Budget:
    """The budget where none is given: the size that all weights have in 8 bits, as a share of fp32.

    A layer that the target runs in nothing so narrow (a transposed convolution on a CPU, any layer
    of a board without int8) counts with the narrowest format on its menu that has 8 bits or more,
    or, where all have fewer, with the widest.  Rounded up to four digits, so that it can be kept.
    """
    shared: dict[str, set[Pair]] = {}
    for layer in layers:  # tied layers take a pair that all of them may take
        key = layer.tie or layer.name
        shared[key] = shared.get(key, set(menu[layer.name])) & set(menu[layer.name])
    spent = sum(layer.weights * _bits(shared[layer.tie or layer.name] or set(menu[layer.name])) for layer in layers)
    share = spent / (32 * sum(layer.weights for layer in layers))
    return Budget((Term("size", math.ceil(share * 1e4 - 1e-6) / 1e4, "x"),))


def _bits(pairs: Collection[Pair]) -> int:
    widths = sorted(formats.get(weight).bits for weight, _ in pairs)
    return next((width for width in widths if width >= 8), widths[-1])


def limits(
    budget: Budget,
    layers: Sequence[LayerSpec],
    tables: Mapping[str, CostTable],
    other_ms: float = 0.0,
    changes: ChangeTable = MappingProxyType({}),
) -> list[Limit]:
    """The terms that allocators can hold, as limits on sums of layer costs; ``drop`` is not among them.

    tables: ``size`` in MiB at nominal bits, ``latency`` in ms, ``bitops`` in GBOPs, as the
    cost models make them.  A term in ``x`` needs the (fp32, fp32) entry of every layer.
    other_ms: time of a picture outside these layers, which no choice of formats changes;
    it counts against the latency allowed.  changes: what neighbours of unlike formats cost in ms.
    Raises PlanError when a table, an fp32 entry or any
    time for the layers is missing.
    """
    made = []
    for term in budget.terms:
        if term.quantity == "drop":
            continue
        if term.quantity not in tables:
            raise PlanError(f"budget {term} needs the {term.quantity} of every layer", "choose a cost model for it")
        table = tables[term.quantity]
        fixed = other_ms if term.quantity == "latency" else 0.0
        most = term.most
        if term.unit == "bits":
            most = term.most * sum(layer.weights for layer in layers) / (8 * 2**20)
        elif term.unit == "x":
            most = term.most * (_fp32_total(term, layers, table) + fixed)
        if most <= fixed:
            raise PlanError(
                f"budget {term} allows {most:.4g} ms, and {fixed:.4g} ms pass outside the layers", "allow more"
            )
        what = str(term) if term.unit == _TABLE_UNIT[term.quantity] else f"{term} (in {_TABLE_UNIT[term.quantity]})"
        made.append(Limit(table, most - fixed, what, changes if term.quantity == "latency" else {}))
    return made


def _fp32_total(term: Term, layers: Sequence[LayerSpec], table: CostTable) -> float:
    missing = [layer.name for layer in layers if _FP32 not in table.get(layer.name, {})]
    if missing:
        raise PlanError(
            f"budget {term} is a share of fp32, whose {term.quantity} is not known for {', '.join(missing[:8])}",
            "put fp32 on every layer's menu of costs, or give the limit in units",
        )
    return sum(table[layer.name][_FP32] for layer in layers)
