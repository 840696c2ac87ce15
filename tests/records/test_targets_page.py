"""docs/targets.md shows the rows of records/target.py, all of them and nothing else."""

import re
from pathlib import Path

import pytest

from edge_mpq.records import formats, target

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "targets.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|\n").split("|")]
    for line in PAGE.splitlines()
    if re.match(r"\| `[a-z0-9-]+` \|", line)
]
RUNS = {cells[0].strip("`"): cells[1:] for cells in ROWS if len(cells) == 8}
FIGURES = {cells[0].strip("`"): cells[1:] for cells in ROWS if len(cells) == 7}


# What the words of the page for many formats at once stand for.
WORDS = {
    "int7-int2": [f"int{bits}" for bits in range(7, 1, -1)],
    "blocks": [f"{kind}b{block}" for kind in ("int8", "int4", "uint4", "int2", "uint2") for block in (32, 64, 128)],
    "every-block": [
        f"{sign}int{bits}b{block}" for sign in ("", "u") for bits in (8, 4, 3, 2) for block in formats.BLOCKS
    ],
}


def _formats(cell: str) -> set[str]:
    return {name for word in cell.split() for name in WORDS.get(word, [word])}


def test_both_tables_have_every_target_in_order() -> None:
    assert list(RUNS) == list(FIGURES) == target.names()


@pytest.mark.parametrize("board", target.TARGETS.values(), ids=lambda board: board.name)
def test_a_row_says_what_the_board_runs(board: target.Target) -> None:
    title, weights, activations, version, opset, dialect, hardware = RUNS[board.name]
    assert title == board.title
    assert _formats(weights) == set(board.weight_formats) and _formats(activations) == set(board.activation_formats)
    assert version == (".".join(map(str, board.tensorrt)) or "-")
    assert int(opset) == board.opset
    assert dialect == (board.dialect if board.tensorrt else "-")
    assert hardware in ("run", "unverified", "none needed")


@pytest.mark.parametrize("board", target.TARGETS.values(), ids=lambda board: board.name)
def test_a_row_gives_the_figures_of_the_board(board: target.Target) -> None:
    *peaks, memory, bandwidth, launch = FIGURES[board.name]
    expected = [board.peak_tops.get(form) for form in ("fp32", "fp16", "int8")]
    assert peaks == ["-" if peak is None else f"{peak:g}" for peak in expected]
    assert [float(memory), float(bandwidth), float(launch)] == [board.memory_gib, board.bandwidth_gbs, board.launch_us]
