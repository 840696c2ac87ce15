"""Further figures of a run: the unit ends the name (``quantize_s``), and the page sets it behind the number."""

from collections.abc import Iterator, Mapping
from typing import Any

from edge_mpq.report import quantities
from edge_mpq.report.quantities import Quantity, Rule

# The word stays in the title where it names what was measured rather than a unit.
_UNITS: dict[str, tuple[Rule, str]] = {
    "s": (quantities.seconds, ""),
    "ms": (quantities.ms, ""),
    "us": (lambda value: Quantity(quantities.significant(value), "\u00b5s"), ""),
    "mib": (quantities.mib, ""),
    "kib": (lambda value: Quantity(quantities.significant(value), "KiB"), ""),
    "gib": (lambda value: Quantity(quantities.significant(value), "GiB"), ""),
    "bytes": (lambda value: Quantity(quantities.count(value).number, "bytes"), ""),
    "bits": (quantities.bits, ""),
    "fps": (quantities.rate, ""),
    "w": (lambda value: Quantity(quantities.significant(value), "W"), ""),
    "mj": (lambda value: Quantity(quantities.significant(value), "mJ"), ""),
    "c": (lambda value: Quantity(quantities.significant(value), "\u00b0C"), ""),
    "percent": (lambda value: Quantity(quantities.significant(value), "%"), ""),
    "points": (lambda value: Quantity(quantities.fixed(value, 2), "points"), ""),
    "top1": (quantities.percent, "top-1"),
    "top5": (quantities.percent, "top-5"),
    "accuracy": (quantities.percent, "accuracy"),
    "agreement": (quantities.percent, "agreement"),
    "share": (quantities.percent, "share"),
    "speedup": (quantities.times, "speed-up"),
    "x": (quantities.times, ""),
}


def titled(name: str) -> str:
    """A field name as a title: ``real_photos`` is Real photos."""
    words = name.replace("_", " ").strip()
    return words[:1].upper() + words[1:]


def listed(facts: Mapping[str, Any]) -> list[tuple[str, Quantity | str]]:
    """(title, value) of every fact; those inside an object or a list of objects stand one by one."""
    return [(titled(name), value) for name, value in _flattened("", facts)]


def _flattened(prefix: str, facts: Mapping[str, Any]) -> Iterator[tuple[str, Quantity | str]]:
    for name, value in facts.items():
        full = f"{prefix}_{name}" if prefix else str(name)
        if isinstance(value, Mapping):
            yield from _flattened(full, value)
        elif isinstance(value, (list, tuple)) and any(isinstance(item, (Mapping, list, tuple)) for item in value):
            yield from _flattened(full, {str(index + 1): item for index, item in enumerate(value)})
        elif isinstance(value, (list, tuple)):
            yield full, ", ".join(str(_one("", item)[1]) for item in value) or "none"
        else:
            yield _one(full, value)


def _one(name: str, value: Any) -> tuple[str, Quantity | str]:
    if value is None:
        return name, "not known"
    if isinstance(value, bool):
        return name, "yes" if value else "no"
    if not isinstance(value, (int, float)):
        return name, str(value)
    stem, _, unit = name.rpartition("_")
    rule, kept = _UNITS.get(unit, (None, ""))
    if rule is not None and (stem or kept):
        return "_".join(part for part in (stem, kept) if part), rule(value)
    return name, Quantity(f"{value:,}" if isinstance(value, int) else quantities.significant(value, 4))
