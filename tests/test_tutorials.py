"""The tutorials' commands do what the pages say: every ``sh`` block is run, in order, in one folder a page."""

import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.pages import ROOT

FOLDER = ROOT / "docs" / "tutorials"
PAGES = sorted(FOLDER.glob("*.md"))


def _pictures(folder: Path) -> None:
    """Two classes that a small network tells apart: red above, and not."""
    draw = np.random.default_rng(0)
    for label in ("fire", "no_fire"):
        (folder / label).mkdir(parents=True)
        for index in range(40):
            frame = draw.integers(0, 120, (32, 32, 3), dtype=np.uint8)
            frame[:16, :, 2] += np.uint8(120 if label == "fire" else 0)
            assert cv2.imwrite(str(folder / label / f"{index}.png"), frame)


def _prepared(page: Path, folder: Path) -> dict[str, str]:
    """The files that a page speaks of, and an environment in which its commands are found."""
    _pictures(folder / "pictures")
    for name, text in re.findall(r"```python\n# (\w+\.py)\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        (folder / name).write_text(text, encoding="utf-8")
    programs = folder / "programs"
    programs.mkdir()
    for name, module in (("edge-mpq", "-m edge_mpq"), ("python3", "")):
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {module} "$@"\n', encoding="utf-8")
        (programs / name).chmod(0o755)
    path = f"{programs}{os.pathsep}{os.environ.get('PATH', '')}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def blocks(page: Path) -> list[str]:
    """The commands of a page that run on the host."""
    return re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="the pages write commands for a POSIX shell")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_commands_of_a_page_run(page: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    environment = _prepared(page, tmp_path)
    for block in blocks(page):
        done = subprocess.run(
            ["sh", "-e", "-c", block], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{block}\n{done.stdout[-1500:]}\n{done.stderr[-3000:]}"


def test_every_page_has_commands() -> None:
    assert len(PAGES) >= 4 and all(blocks(page) for page in PAGES)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="the pages write commands for a POSIX shell")
def test_a_command_that_fails_would_be_seen(tmp_path: Path) -> None:
    environment = _prepared(PAGES[0], tmp_path)
    block = "edge-mpq bench runs/none --data pictures"
    assert subprocess.run(["sh", "-e", "-c", block], cwd=tmp_path, env=environment, check=False).returncode == 2
