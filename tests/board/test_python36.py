"""The camera loop under a real Python 3.6, as JetPack 4.6 brings it.

The interpreter is the one in EDGE_MPQ_PYTHON36, else that of pyenv.  What needs numpy and
OpenCV is tried where that interpreter has them; tests/test_floors.py holds everywhere
what can be told from the source alone.
"""

import ast
import functools
import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests import floors
from tests.stream.scripted import write_bundle, write_video

FILES = [file for file in floors.sources() if floors.on_board(file)]
HOST_ONLY = {"torch", "torchvision", "onnx", "onnx_graphsurgeon", "rich", "scipy", "matplotlib"}


@functools.lru_cache(maxsize=1)
def _interpreter():
    pyenv = sorted(Path.home().glob(".pyenv/versions/3.6*/bin/python"))
    named = os.environ.get("EDGE_MPQ_PYTHON36") or (str(pyenv[-1]) if pyenv else "")
    if not named:
        pytest.skip("no Python 3.6; set EDGE_MPQ_PYTHON36 to one")
    version = subprocess.run([named, "--version"], capture_output=True, text=True, check=True).stdout
    if not version.startswith("Python 3.6"):
        pytest.skip(f"{named} is {version.strip()}, not 3.6")
    return named


def _python36(code, *words):
    line = [_interpreter(), "-B", "-c", code, *map(str, words)]
    done = subprocess.run(line, cwd=floors.ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _modules(files):
    return [file[:-3].replace("/", ".").replace(".__init__", "") for file in files]


def _needs_opencv():
    if _python36("import importlib.util as u; print(all(u.find_spec(n) for n in ('numpy', 'cv2')))").strip() != "True":
        pytest.skip(f"{_interpreter()} has no numpy and cv2")


@pytest.mark.parametrize("file", FILES)
def test_source_is_python_3_6_and_of_the_board(file):
    tree = ast.parse((floors.ROOT / file).read_text(encoding="utf-8"), file, feature_version=(3, 6))
    imported = {use.module.split(".")[0] for use in floors.imports(file)} - floors.OF_ONE_FILE.get(file, set())
    assert not imported & HOST_ONLY
    assert not any(isinstance(node, ast.NamedExpr) for node in ast.walk(tree))


def test_every_board_file_compiles():
    code = "import sys\nfor f in sys.argv[1:]: compile(open(f, encoding='utf-8').read(), f, 'exec')"
    _python36(code, *FILES)


IMPORT = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)"


def test_the_ground_needs_the_standard_library_only():
    ground = [file for file in FILES if file.startswith("edge_mpq/records/")]
    # numpy and OpenCV are kept out, should this interpreter have them.
    code = "import sys; sys.path = [p for p in sys.path if 'site-packages' not in p]\n" + IMPORT
    _python36(code, "edge_mpq.errors", "edge_mpq.door", *_modules(ground))


def test_the_camera_loop_imports():
    _needs_opencv()
    stream = [file for file in FILES if file.startswith(("apps/stream/", "edge_mpq/engines/"))]
    boards = {f"edge_mpq/engines/{name}.py" for name in ("tensorrt", "cuda", "_pycuda")}
    elsewhere = set(floors.OF_ONE_FILE) | boards
    _python36(IMPORT, *_modules(file for file in stream if file not in elsewhere))


@pytest.mark.parametrize("task", ["classify", "segment"])
def test_the_camera_loop_runs(tmp_path, task):
    _needs_opencv()
    logits = np.array([[3.0, 0.0], [0.0, 3.0]])
    if task == "segment":
        logits = np.tile(logits[:, :, None, None], (1, 1, 8, 8))
    folder = write_bundle(tmp_path / "bundle", logits, task)
    video = write_video(tmp_path / "in.avi")
    report, out = tmp_path / "report.json", tmp_path / "out.avi"
    words = [folder, "--source", video, "--backend", "replay", "--headless", "--report", report, "--video", out]
    code = "import sys; from apps.stream import run; sys.exit(run.main(sys.argv[1:]))"
    line = _python36(code, *words, "--json")
    assert json.loads(line)["frames"] == 12
    assert json.loads(report.read_text())["stream"]["ended"] == "end of file"
    assert out.stat().st_size > 0
