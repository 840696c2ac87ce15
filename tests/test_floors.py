"""The floors hold, and the scan that says so sees what it should."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import floors


def _tree(root: Path, **files: str) -> Path:
    """A small project under ``root``; ``a__b`` stands for a/b.py."""
    for name, text in files.items():
        path = root.joinpath(*name.split("__")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / "__init__.py").touch()
        path.write_text(text, encoding="utf-8")
    return root


def test_every_import_goes_down() -> None:
    assert floors.faults() == []


def test_board_files_keep_to_the_board() -> None:
    assert floors.board_faults() == []


def test_every_file_stands_on_a_floor_and_every_floor_has_files() -> None:
    listed = [path for floor in floors.FLOORS for path in floor.paths]
    assert len(listed) == len(set(listed))
    assert {floors.floor_of(file) for file in floors.sources()} == set(floors.FLOORS)
    assert floors.floor_of("edge_mpq/anything_new.py").name == "model"


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        ("edge_mpq__records__plan", "from edge_mpq.graph import trace", "ground never imports model above it"),
        ("edge_mpq__records__plan", "import numpy", "standard library only"),
        ("edge_mpq__graph", "def late():\n    from apps import terminal", "the library never imports apps/"),
        ("edge_mpq__engines__cuda", "from edge_mpq import graph", "stand apart"),
        ("edge_mpq__graph", "from .engines import base", "stand apart"),
        ("edge_mpq__cost__size", "from ..sensitivity import kl", "model never imports choice above it"),
        ("export__onnx_from_torch", "import apps.plan", "ways out never imports top above it"),
    ],
)
def test_a_planted_import_is_caught(tmp_path: Path, file: str, text: str, told: str) -> None:
    root = _tree(
        tmp_path,
        edge_mpq__records__target="",
        edge_mpq__engines__base="from edge_mpq.records import target",
        edge_mpq__sensitivity__kl="from edge_mpq import graph",
        apps__terminal="",
        apps__plan="from edge_mpq.sensitivity import kl",
    )
    if file != "edge_mpq__graph":
        _tree(root, edge_mpq__graph="import torch")
        assert floors.faults(root) == []
    found = floors.faults(_tree(root, **{file: text}))
    assert len(found) == 1 and told in found[0], found


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        ("edge_mpq__engines__cuda", "import torch", "a board has the standard library"),
        ("edge_mpq__engines__cuda", "import onnxruntime", "a board has the standard library"),
        ("edge_mpq__engines__cuda", "from dataclasses import dataclass", "a board has the standard library"),
        ("edge_mpq__engines__cuda", "from edge_mpq import layers", "imports board files only"),
        ("edge_mpq__engines__cuda", "from __future__ import annotations", "Python 3.6 has none"),
        ("edge_mpq__engines__cuda", "from typing import Protocol", "Python 3.6 has none"),
        ("edge_mpq__engines__cuda", "def f(x: int | None): pass", "write Optional"),
        ("edge_mpq__engines__cuda", "def f() -> list[int]: pass", "write typing's"),
        ("edge_mpq__engines__cuda", "class A:\n    x: dict[str, int] = {}", "write typing's"),
        ("apps__stream__run", "from collections.abc import Iterable\ndef f(x: Iterable[int]): pass", "write typing's"),
        ("calibrators__base", "if (n := 3) > 2: pass", "not Python 3.6"),
        ("export__engine_from_onnx", "def f(a, /): pass", "is not Python 3.6"),
        ("apps__doctor", "match 3:\n    case 3: pass", "is not Python 3.6"),
    ],
)
def test_a_planted_modernism_is_caught(tmp_path: Path, file: str, text: str, told: str) -> None:
    root = _tree(tmp_path, edge_mpq__layers="import torch", edge_mpq__errors="")
    assert floors.board_faults(root) == []
    found = floors.board_faults(_tree(root, **{file: text}))
    assert found and told in found[0], found


def test_host_files_may_be_modern(tmp_path: Path) -> None:
    text = "from dataclasses import dataclass\nimport torch\ndef f(x: int | None) -> list[int]: ..."
    assert floors.board_faults(_tree(tmp_path, edge_mpq__layers=text)) == []


@pytest.mark.parametrize(
    ("file", "module", "told"),
    [
        ("edge_mpq/graph.py", "apps", "take progress=silent"),
        ("edge_mpq/graph.py", "export.onnx_from_torch", "what both need belongs in edge_mpq/records"),
        ("edge_mpq/engines/cuda.py", "calibrators.base", "belongs in export/engine_from_onnx.py"),
        ("apps/plan.py", "export.onnx_from_torch", None),
        ("export/engine_from_onnx.py", "calibrators.base", None),
    ],
)
def test_the_linter_says_where_to_go(file: str, module: str, told: str | None) -> None:
    pytest.importorskip("ruff")
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--select", "TID251", "--stdin-filename", file, "-"]
    done = subprocess.run(
        command, cwd=floors.ROOT, input=f"import {module}\n", capture_output=True, text=True, check=False
    )
    assert (done.returncode == 0) if told is None else (done.returncode == 1 and told in done.stdout), done.stdout


def _python_3_6() -> str:
    homes = sorted((Path.home() / ".pyenv" / "versions").glob("3.6.*/bin/python"))
    found = str(homes[-1]) if homes else shutil.which("python3.6")
    if found is None:
        pytest.skip("no Python 3.6 on this machine")
    return found


def test_python_3_6_compiles_every_board_file() -> None:
    files = [file for file in floors.sources() if floors.on_board(file)]
    code = "import sys\nfor file in sys.argv[1:]:\n    compile(open(file, encoding='utf-8').read(), file, 'exec')"
    done = subprocess.run(
        [_python_3_6(), "-c", code, *files], cwd=floors.ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_python_3_6_imports_the_ground_and_the_launcher() -> None:
    ground = [file for file in floors.sources() if file.startswith("edge_mpq/records/")]
    names = [file[:-3].replace("/", ".").replace(".__init__", "") for file in ground]
    code = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)"
    names += ["edge_mpq.errors", "edge_mpq.door", "edge_mpq.__main__"]
    done = subprocess.run(
        [_python_3_6(), "-B", "-c", code, *names], cwd=floors.ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_importing_the_library_imports_no_framework() -> None:
    code = "import sys, edge_mpq\nprint(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=floors.ROOT, capture_output=True, text=True, check=True)
    assert not {"torch", "numpy", "onnx", "onnxruntime", "cv2", "scipy", "matplotlib"} & set(done.stdout.split())
