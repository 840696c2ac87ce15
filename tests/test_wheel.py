"""The wheel: built here, installed into an empty environment, and run from there."""

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

import edge_mpq
from edge_mpq import __main__ as launcher

ROOT = Path(__file__).resolve().parents[1]
pytest.importorskip("hatchling")
pytest.importorskip("build")


def _run(*command: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(
        command, capture_output=True, text=True, cwd=cwd, env={**inherited, **environment}, check=False
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    done = _run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT), cwd=out)
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = out.iterdir()
    return made


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment that holds the wheel and nothing else, not even pip."""
    home = tmp_path_factory.mktemp("environment")
    made = _run(sys.executable, "-m", "venv", "--without-pip", str(home), cwd=home)
    assert made.returncode == 0, made.stderr
    python = home / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", str(wheel)]
    done = _run(*pip, cwd=home)
    assert done.returncode == 0, done.stderr
    return python.parent


def _names(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_the_wheel_installs_one_package(wheel: Path) -> None:
    assert wheel.name == f"edge_mpq-{edge_mpq.__version__}-py3-none-any.whl"
    tops = {name.partition("/")[0] for name in _names(wheel)}
    assert tops == {"edge_mpq", f"edge_mpq-{edge_mpq.__version__}.dist-info"}


SOURCES = (".py", ".js", ".css", ".html", ".json")


def test_the_wheel_holds_every_source_file_and_no_other(wheel: Path) -> None:
    def under(folder: str, inside: str) -> set[str]:
        files = [path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob("*") if path.suffix in SOURCES]
        return {inside + file for file in files}

    expected = under("edge_mpq", "")
    for stage in ("export", "calibrators", "apps"):
        expected |= under(stage, "edge_mpq/_stages/")
    assert {name for name in _names(wheel) if name.endswith(SOURCES) and "/_stages/docker/" not in name} == expected
    assert not [name for name in _names(wheel) if "__pycache__" in name or name.endswith((".pyc", ".pt", ".onnx"))]


def test_the_wheel_brings_its_licence_and_command(wheel: Path) -> None:
    info = f"edge_mpq-{edge_mpq.__version__}.dist-info/"
    with zipfile.ZipFile(wheel) as archive:
        assert "Apache License" in archive.read(info + "licenses/LICENSE").decode()
        assert "edge-mpq = edge_mpq.__main__:main" in archive.read(info + "entry_points.txt").decode()
        metadata = archive.read(info + "METADATA").decode()
    assert "License-Expression: Apache-2.0" in metadata and "Requires-Python: >=3.10" in metadata


def test_an_empty_environment_answers_help(environment: Path, tmp_path: Path) -> None:
    for command in ([str(environment / "edge-mpq")], [str(environment / "python"), "-m", "edge_mpq"]):
        done = _run(*command, "--help", cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == launcher.usage()


def test_an_empty_environment_reads_and_writes_records(environment: Path, tmp_path: Path) -> None:
    code = (
        "from edge_mpq.records import plan, target\n"
        "board = target.get('jetson-nano')\n"
        "plan.save('plan.json', plan.uniform([], board, 'fp16', 'fp16'))\n"
        "plan.load('plan.json').check([], board)\n"
        "import edge_mpq; print(edge_mpq.__file__)"
    )
    done = _run(str(environment / "python"), "-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(environment.parent))


def test_an_empty_environment_says_what_a_verb_lacks(environment: Path, tmp_path: Path) -> None:
    given = ["--model", "net:make", "--data", "pictures"]
    done = _run(str(environment / "edge-mpq"), "plan", *given, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("edge-mpq: ModuleNotFoundError: plan needs the Python module '")


@pytest.mark.parametrize("verb", launcher.VERBS)
def test_a_verb_of_the_wheel_runs_from_inside_it(environment: Path, tmp_path: Path, verb: str) -> None:
    # PYTHONPATH lends this environment's frameworks; unlike site-packages it reads no
    # .pth file, so an editable install of this checkout stays invisible.
    frameworks = sysconfig.get_paths()["purelib"]
    done = _run(str(environment / "edge-mpq"), verb, "--help", cwd=tmp_path, PYTHONPATH=frameworks)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: edge-mpq {verb}")


def test_the_stages_come_out_of_the_wheel(environment: Path, tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from edge_mpq.__main__ import stages_folder\n"
        "sys.path.insert(0, stages_folder())\n"
        "import apps, export\n"
        "print(apps.__file__, export.__file__, sep='\\n')"
    )
    done = _run(str(environment / "python"), "-c", code, cwd=tmp_path)
    inside = os.path.join("edge_mpq", "_stages")
    assert done.returncode == 0, done.stderr
    assert all(line.startswith(str(environment.parent)) and inside in line for line in done.stdout.splitlines())
