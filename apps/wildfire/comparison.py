"""Comparison: the ways to train and deploy one wildfire model, side by side, measured in one run."""

from pathlib import Path
from typing import NamedTuple

from edge_mpq.records import document

KIND, VERSION = "wildfire-comparison", 1
FLOAT, SUBJECT = "fp32", "QAT mixed"


class Row(NamedTuple):
    """One way.

    refused: why there is none of it on this target, or '' and then the rest holds.  formats:
    how many layers have which.  figures: shares by name (``accuracy``, ``f1``, ``mean_iou``), of the
    engine's answers where one runs here, else of the simulation's.  loss: mean cross entropy, nats a
    picture or pixel.  agreement: share of answers in which simulation and engine are one.
    file_mib: of the ONNX.  peak_memory_mib: of a fresh process that runs the engine, library
    and interpreter (loaded_memory_mib) included.  p50_ms, p99_ms: one picture.  fps: of one
    picture at a time; throughput_fps: batch -> pictures a second.  speedup: over fp32's median,
    all engines timed in turns.  energy_mj: of a picture, None where no sensor tells.
    train_s: what training this way took on top of the model it starts from.
    """

    name: str
    refused: str = ""
    formats: str = ""
    weight_bits: float = 0.0
    weight_mib: float = 0.0
    file_mib: float = 0.0
    train_s: float = 0.0
    figures: dict[str, float] = {}
    loss: float | None = None
    agreement: float | None = None
    peak_memory_mib: float | None = None
    loaded_memory_mib: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    fps: float | None = None
    speedup: float | None = None
    energy_mj: float | None = None
    throughput_fps: dict[str, float] = {}
    photographs: dict[str, float] = {}


class Comparison(NamedTuple):
    """All rows, and what they share.  pictures: that were answered; learned: that were learned from."""

    title: str
    created: str
    task: str
    model: str
    target: str
    data: str
    pictures: int
    learned: int
    budget: str
    machine: dict[str, str]
    rows: list[Row]
    commands: list[str]


class Claim(NamedTuple):
    """Something that is expected of the rows, and whether they show it; None where it was not measured."""

    words: str
    found: str
    holds: bool | None


def save(path: Path, comparison: Comparison) -> None:
    """Write the comparison to ``path``."""
    rows = [row._asdict() for row in comparison.rows]
    document.save(path, KIND, VERSION, comparison._asdict() | {"rows": rows})


def figure_of(task: str) -> str:
    """The figure by which a task's rows are judged."""
    return "accuracy" if task == "classify" else "mean_iou"


def claims(comparison: Comparison) -> list[Claim]:
    """What the paper says of its rows (loss and accuracy within 1.225 %), and what is asked beyond it here."""
    rows = {row.name: row for row in comparison.rows if not row.refused}
    fp32, mixed = rows[FLOAT], rows.get(SUBJECT)
    name = figure_of(comparison.task)

    def lost(row: Row) -> float:
        return 100 * (fp32.figures[name] - row.figures[name])

    made = []
    if mixed is not None:
        fast = None if mixed.speedup is None else mixed.speedup >= 2
        told = "not measured" if mixed.speedup is None else f"{mixed.speedup:.2f}x"
        made.append(Claim(f"{SUBJECT} answers at twice the rate of {FLOAT} or more", told, fast))
        made.append(_within(f"{SUBJECT} loses at most 0.5 points of {_words(name)}", lost(mixed), 0.5))
    for row in rows.values():
        if row.name.startswith("QAT"):
            made.append(_within(f"{row.name} stays within 1.225 points of {FLOAT}", abs(lost(row)), 1.225))
            after = rows.get(row.name.replace("QAT", "PTQ"))
            if after is not None:
                below = lost(row) - lost(after)
                made.append(_within(f"{row.name} is at most 0.2 points below {after.name}", below, 0.2))
    agreed = [row.agreement for row in rows.values() if row.agreement is not None]
    if agreed:
        words, least = "engines and simulations answer alike, 99.5 % or more", min(agreed)
        made.append(Claim(words, f"{least:.2%} at least", least >= 0.995))
    return made


def _within(words: str, value: float, most: float) -> Claim:
    return Claim(words, f"{value:+.2f} points", value <= most + 1e-9)


def _words(name: str) -> str:
    return {"mean_iou": "mean IoU"}.get(name, name)
