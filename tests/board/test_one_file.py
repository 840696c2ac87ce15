"""The one-file bundle under a real Python 3.6 with what a board has: numpy and OpenCV.

The interpreter is the one in EDGE_MPQ_PYTHON36, else that of pyenv; what needs numpy and
OpenCV is skipped where it has none.  Importing torch or onnx there fails the test.
"""

import functools
import json
import os
import subprocess
from pathlib import Path

import pytest

from edge_mpq.records import report as reports
from edge_mpq.records import tradeoff as tradeoffs
from tests.attacks.packing import packed
from tests.stream.page_of import Page

TRAPS = ("torch", "torchvision", "onnx", "onnx_graphsurgeon", "rich", "scipy", "matplotlib")


@functools.lru_cache(maxsize=1)
def _interpreter() -> str:
    pyenv = sorted(Path.home().glob(".pyenv/versions/3.6*/bin/python"))
    named = os.environ.get("EDGE_MPQ_PYTHON36") or (str(pyenv[-1]) if pyenv else "")
    if not named:
        pytest.skip("no Python 3.6; set EDGE_MPQ_PYTHON36 to one")
    done = subprocess.run([named, "--version"], capture_output=True, text=True, check=True)
    version = (done.stdout or done.stderr).strip()
    if not version.startswith("Python 3.6"):
        pytest.skip(f"{named} is {version}, not 3.6")
    return named


@functools.lru_cache(maxsize=1)
def _has_numpy() -> bool:
    code = "import importlib.util as u; print(all(u.find_spec(name) for name in ('numpy', 'cv2')))"
    return subprocess.run([_interpreter(), "-c", code], capture_output=True, text=True, check=True).stdout == "True\n"


@pytest.fixture(scope="module")
def pyz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packed(tmp_path_factory.mktemp("python36"))


@pytest.fixture
def run(pyz: Path, tmp_path: Path):
    """Run a verb of the file; its output."""
    (tmp_path / "trap").mkdir()
    for name in TRAPS:
        (tmp_path / "trap" / f"{name}.py").write_text("raise SystemError('imported on the board: ' + __name__)")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "trap"), "EDGE_MPQ_CACHE": str(tmp_path / "cache")}

    def run(*words: str) -> str:
        line = [_interpreter(), "-B", str(pyz), *words]
        done = subprocess.run(line, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr and "imported on the board" not in done.stderr + done.stdout
        return done.stdout

    return run


def test_doctor_and_report_need_the_standard_library_only(run, tmp_path) -> None:
    (tmp_path / "trap" / "onnx.py").unlink()  # doctor asks for it, in a process of its own
    told = json.loads(run("doctor", "--json"))
    python = [row for row in told["findings"] if row["name"] == "Python"][0]
    assert python["state"] == "ok" and python["found"].startswith("3.6.")
    assert run("report").startswith("fire on a host")


IMPORT = """
import importlib, sys, zipfile
sys.path.insert(0, sys.argv[1])
for name in zipfile.ZipFile(sys.argv[1]).namelist():
    if name.endswith(".py") and name != "__main__.py":
        try:
            importlib.import_module(name[:-3].replace("/", ".").replace(".__init__", ""))
        except ImportError as error:
            # What a board brings and this machine may not have.
            assert error.name.partition(".")[0] in ("pycuda", "tensorrt"), (name, error)
from edge_mpq import engines
print(" ".join(engines.names()))
"""


def test_every_module_imports_from_inside_the_file(pyz: Path, tmp_path: Path) -> None:
    if not _has_numpy():
        pytest.skip(f"{_interpreter()} has no numpy and cv2; EDGE_MPQ_PYTHON36 may name one that has")
    words = [_interpreter(), "-B", "-c", IMPORT, str(pyz)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    # The door of a family lists its methods inside a zip too.
    assert {"onnxruntime", "replay", "tensorrt"} <= set(done.stdout.split())


def test_the_page_is_served_from_inside_the_file(pyz: Path, tmp_path: Path) -> None:
    if not _has_numpy():
        pytest.skip(f"{_interpreter()} has no numpy and cv2; EDGE_MPQ_PYTHON36 may name one that has")
    words = ["run", "--backend", "replay", "--fps", "50", "--web", "127.0.0.1:0"]
    environment = {**os.environ, "EDGE_MPQ_CACHE": str(tmp_path / "cache")}
    line = [_interpreter(), "-B", str(pyz), *words]
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=environment) as process:
        try:
            assert process.stderr is not None
            page = Page(process.stderr.readline().strip().partition(": ")[2])
            assert page.get("/").status == page.get("/frame.jpg").status == 200
            page.post("/engine", role="fp32")
            assert page.until(lambda told: told["engine"] == "fp32")["torn"] == 0
            assert page.post("/recording", on=True).status == page.post("/recording", on=False).status == 200
            assert page.get("/last").body
        finally:
            process.terminate()
            told = process.communicate(timeout=20)[1]
    assert "Traceback" not in told


def test_run_and_bench(run, tmp_path: Path) -> None:
    if not _has_numpy():
        pytest.skip(f"{_interpreter()} has no numpy and cv2; EDGE_MPQ_PYTHON36 may name one that has")
    assert json.loads(run("run", "--backend", "replay", "--headless", "--json"))["frames"] == 3
    run("bench", "--backend", "replay", "--turns", "2", "--warm", "0")
    report = reports.load(tmp_path / "report.json")
    assert [made.name for made in report.variants] == ["fp32", "mixed"]
    assert report.machine["python"].startswith("3.6.")
    run("tradeoff", "--backend", "replay", "--turns", "1", "--warm", "0", "--batch", "1", "2")
    assert len(tradeoffs.load(tmp_path / "tradeoff.json").points) == 4
