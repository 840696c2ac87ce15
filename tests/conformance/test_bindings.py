"""The board code against NVIDIA's own Python bindings, where the environment names some.

EDGE_MPQ_TRT_BINDINGS is a folder that holds tensorrt_bindings/, or folders that do, made by
``pip install --no-deps --target FOLDER/NAME tensorrt-cu12-bindings==10.3.0`` and the like.  No
TensorRT library and no GPU are needed: bindings.c stands in.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
pytestmark = pytest.mark.bindings


def _folders() -> list[Path]:
    named = os.environ.get("EDGE_MPQ_TRT_BINDINGS", "")
    folders = [Path(named), *sorted(Path(named).glob("*"))] if named else []
    return [folder for folder in folders if (folder / "tensorrt_bindings").is_dir()]


def _drive(folder: Path, what: str, build: Path, *options: str) -> str:
    if shutil.which("gcc") is None or platform.machine() != "x86_64":
        pytest.skip("bindings.c needs gcc on x86-64")
    shared = folder / "tensorrt_bindings" / "tensorrt.so"
    wanted = set(re.findall(rb"libnv(?:infer|infer_plugin|onnxparser|parsers)\.so\.\d+", shared.read_bytes()))
    libraries = []
    for name in sorted(match.decode() for match in wanted):
        libraries.append(str(build / name))
        command = ["gcc", "-shared", "-fPIC", "-w", "-O1", *options, f"-Wl,-soname,{name}", "-o", libraries[-1]]
        subprocess.run([*command, str(HERE / "bindings.c")], check=True)
    done = subprocess.run(
        [sys.executable, "-m", "tests.conformance.bindings_drive", str(folder), what, *libraries],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    print(done.stdout.strip())
    return done.stdout


@pytest.mark.skipif(not _folders(), reason="EDGE_MPQ_TRT_BINDINGS names no folder of TensorRT bindings")
@pytest.mark.parametrize("folder", _folders(), ids=lambda folder: folder.name)
class TestRealBindings:
    def test_take_every_call_of_a_build_and_a_run(self, folder: Path, tmp_path: Path) -> None:
        assert "build" in _drive(folder, "all", tmp_path)

    def test_that_make_nothing_are_told_of(self, folder: Path, tmp_path: Path) -> None:
        assert "NULL" in _drive(folder, "nothing", tmp_path, "-DNOTHING")
