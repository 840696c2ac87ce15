"""The doctor on five machines that are written down, and on this one."""

import json
import os
import sys
from pathlib import Path

import pytest

from apps import doctor, doctor_facts, doctor_findings
from apps.doctor_facts import Facts, Memory, Module, Told
from apps.stream import jetson
from edge_mpq.records import target as targets
from tests.attacks.packing import write_folder
from tests.boards import BOARDS, Board, dpkg, memory


def _facts(board: Board, root: Path) -> Facts:
    board.write(root)
    python = "/usr/bin/python3"
    return doctor_facts.gather(str(root), board.ask, board.machine, board.python, python)


@pytest.fixture(params=BOARDS)
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Facts]:
    return request.param, _facts(BOARDS[request.param], tmp_path)


def _of(facts: Facts, name: str, target: str | None = None, model_bytes: int = 0) -> doctor_findings.Finding:
    found = doctor_findings.findings(facts, targets.get(target) if target else None, model_bytes)
    return next(finding for finding in found if finding.name == name)


def _no_import(text: str) -> Told:
    return Told(1, "", "Traceback (most recent call last):\n" + text + "\n")


NO_TENSORRT = {"import_tensorrt": _no_import("ModuleNotFoundError: No module named 'tensorrt'")}
HALF_TENSORRT = {"import_tensorrt": _no_import("ImportError: libnvinfer.so.8: cannot open shared object file")}
NO_OPENCV = {"import_cv2": _no_import("ModuleNotFoundError: No module named 'cv2'")}
LATE = "ImportError: /usr/lib/libGLdispatch.so.0: cannot allocate memory in static TLS block"
LATE_OPENCV = {"import_cv2": _no_import(LATE)}
NO_GST = {"gst-launch-1.0 --version": Told(None)}

EXPECTED = {
    "nano": ({}, {}),
    "xavier-nx": ({"cameras"}, {"OpenCV", "nvargus-daemon", "GStreamer"}),
    "agx-orin": (set(), set()),
    "thor": ({"OpenCV", "cameras"}, {"TensorRT"}),
    "computer": ({"NVIDIA GPU", "CUDA", "TensorRT", "onnx", "openvino", "cameras"}, set()),
}


def test_each_machine_has_its_findings(machine: tuple[str, Facts]) -> None:
    name, facts = machine
    found = doctor.report(facts)
    missing, wrong = EXPECTED[name]
    assert (set(found["missing"]), set(found["wrong"])) == (set(missing), set(wrong))
    # Whatever is not in order comes with a mend.
    assert all(row["mend"] for row in found["findings"] if row["state"] != "ok")
    assert len({row["name"] for row in found["findings"]}) == len(found["findings"])
    json.dumps(found)


def test_the_boards_are_told_apart(machine: tuple[str, Facts]) -> None:
    name, facts = machine
    told = {
        "nano": ("5.3", "4.6.1", "10.2.300", "MAXN", (102, 1479), (76, 921)),
        "xavier-nx": ("7.2", "5.1", "11.4.19", "MODE_20W_6CORE", (1190, 1907), (114, 1109)),
        "agx-orin": ("8.7", "6.2", "12.6.11", "MODE_50W", (2201, 2201), (1300, 1300)),
        "thor": ("11.0", "7.0", "13.0", "MAXN", (54, 2601), (315, 1575)),
        "computer": ("", "", "", "", (), ()),
    }[name]
    board = facts.jetson
    pair = (board.capability, board.jetpack) if board else ("", "")
    assert (*pair, facts.cuda, facts.power_mode, facts.cpu_mhz, facts.gpu_mhz) == told


def test_the_text_has_a_line_for_each_finding(machine: tuple[str, Facts]) -> None:
    found = doctor.report(machine[1])
    lines = doctor.text(found).split("\n")
    assert len(lines) == len(found["findings"]) + sum(bool(row["mend"]) for row in found["findings"])
    assert all(line.startswith(("ok ", "missing ", "wrong ", "   ")) for line in lines)


def test_this_machine_is_told_without_a_fault(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.main(["--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    python = next(row for row in found["findings"] if row["name"] == "Python")
    assert python["found"] == "{}.{}.{} ({})".format(*sys.version_info[:3], sys.executable)
    assert doctor.main([]) == 0
    assert "TensorRT" in capsys.readouterr().out


def test_a_computer_is_told_all_that_tensorrt_lacks(tmp_path: Path) -> None:
    finding = _of(_facts(BOARDS["computer"], tmp_path), "TensorRT")
    assert finding.state == "missing"
    assert finding.found == (
        "lacking for it here: Python's module tensorrt (not installed), an NVIDIA GPU with its driver, CUDA"
    )
    assert "built on the Jetson" in finding.mend and "--backend onnxruntime" in finding.mend


def test_a_computer_with_a_gpu_lacks_less(tmp_path: Path) -> None:
    board = BOARDS["computer"]
    asked = "nvidia-smi --query-gpu=name,compute_cap,driver_version --format=csv,noheader"
    smi = {asked: Told(0, "NVIDIA L4, 8.9, 550\n")}
    (tmp_path / "usr/local/cuda-12.4").mkdir(parents=True)
    facts = _facts(board._replace(answers={**board.answers, **smi}), tmp_path)
    assert _of(facts, "NVIDIA GPU").found == "NVIDIA L4, 8.9, 550"
    assert _of(facts, "TensorRT").found == "lacking for it here: Python's module tensorrt (not installed)"


def _with(board: Board, files: dict[str, str] | None = None, **answers: Told) -> Board:
    asked = {name.replace("_", " ", 1): told for name, told in answers.items()}
    return board._replace(files={**board.files, **(files or {})}, answers={**board.answers, **asked})


@pytest.mark.parametrize(
    ("name", "answers", "finding", "state", "told", "mend"),
    [
        ("nano", {"import_numpy": Told(-4)}, "numpy", "wrong", "signal 4", "OPENBLAS_CORETYPE=ARMV8"),
        ("nano", {"import_numpy": Told(1)}, "numpy", "missing", "does not import", "python3-numpy"),
        ("nano", NO_TENSORRT, "TensorRT", "wrong", "not for", "site-packages"),
        ("nano", HALF_TENSORRT, "TensorRT", "wrong", "libnvinfer", "reinstall"),
        ("nano", {"import_tensorrt": Told(0, "hello\n")}, "TensorRT", "wrong", "it prints 'hello", "reinstall"),
        ("nano", {"import_tensorrt": Told(0, '{"version": "7.1.3"}')}, "TensorRT", "wrong", "7.1.3", "JetPack 4.6"),
        ("nano", NO_OPENCV, "OpenCV", "missing", "not installed", "apt install"),
        ("nano", LATE_OPENCV, "OpenCV", "wrong", "static TLS", "export LD_PRELOAD=/usr/lib/libGLdispatch.so.0"),
        ("xavier-nx", {}, "OpenCV", "wrong", "4.8.1 without GStreamer (/usr/local", "pip3 uninstall opencv-python"),
        ("xavier-nx", {"dpkg": dpkg()}, "OpenCV", "wrong", "without", "sudo apt install python3-opencv"),
        ("xavier-nx", {}, "nvargus-daemon", "wrong", "failed", "systemctl restart"),
        ("xavier-nx", {}, "GStreamer", "wrong", "without nvarguscamerasrc, nvv4l2decoder", "nvidia-l4t-gstreamer"),
        ("nano", NO_GST, "GStreamer", "missing", "no gst-launch", "gstreamer1.0-tools"),
        ("agx-orin", {}, "power mode", "ok", "MODE_50W", "sudo nvpmodel -m 0 is faster (MAXN)"),
        ("nano", {}, "power mode", "ok", "MAXN", ""),
        ("agx-orin", {}, "clocks", "ok", "GPU 1300 to 1300 MHz, fixed", ""),
        ("nano", {}, "clocks", "ok", "CPU 102 to 1479 MHz, GPU 76 to 921 MHz, as the load asks", "sudo jetson_clocks"),
        ("nano", {}, "cameras", "ok", "/dev/video0 (vi-output, imx219 7-0010)", ""),
        ("agx-orin", {}, "cameras", "ok", "/dev/video0 (), /dev/video2 (HD Pro Webcam C920), /dev/video10 ()", ""),
        ("thor", {}, "TensorRT", "wrong", "installed for JetPack's own Python", "/usr/bin/python3"),
        ("thor", {"dpkg": dpkg()}, "TensorRT", "missing", "not installed", "apt install python3-libnvinfer"),
        ("computer", {}, "onnxruntime", "ok", "1.32.0", ""),
        ("computer", {}, "int8 instructions", "ok", "avx2 avx512f avx512_vnni", ""),
    ],
)  # fmt: skip
def test_a_finding_and_its_mend(tmp_path: Path, name, answers, finding, state, told, mend) -> None:
    found = _of(_facts(_with(BOARDS[name], None, **answers), tmp_path), finding)
    assert found.state == state and told in found.found
    assert mend in found.mend if mend else not found.mend


@pytest.mark.parametrize(
    ("files", "model_mib", "state", "mend"),
    [
        (memory(4059712, 2900000, zram=2029856), 40, "ok", ""),
        # zram is the same memory once more: it does not count.
        (memory(4059712, 1000000, zram=2029856), 40, "wrong", "swapon /swapfile"),
        (memory(4059712, 1000000, swap_file=4194300), 40, "ok", "will swap"),
        (memory(4059712, 2900000), 900, "wrong", "swapon"),
    ],
)
def test_memory_is_held_against_what_the_build_needs(tmp_path: Path, files, model_mib: int, state, mend: str) -> None:
    facts = _facts(_with(BOARDS["nano"], files), tmp_path)
    found = _of(facts, "memory", None, model_mib << 20)
    assert found.state == state and (mend in found.mend if mend else not found.mend)
    assert f"a build takes about {1280 + 4 * model_mib} MiB" in found.found


def test_a_container_without_the_release_file_asks_dpkg(tmp_path: Path) -> None:
    board = BOARDS["nano"]
    files = {path: text for path, text in board.files.items() if path != "etc/nv_tegra_release"}
    facts = _facts(board._replace(files=files), tmp_path)
    assert facts.jetson is not None and facts.jetson.l4t == (32, 7, 1) and facts.jetson.jetpack == "4.6.1"
    facts = _facts(board._replace(files=files, answers={**board.answers, "dpkg": dpkg()}), tmp_path / "bare")
    assert _of(facts, "JetPack").state == "missing" and "mount it" in _of(facts, "JetPack").mend


@pytest.mark.parametrize(
    ("release", "state", "told"),
    [
        ("# R32 (release), REVISION: 5.1, GCID: 1", "wrong", "4.5 (L4T 32.5.1), with TensorRT 7"),
        ("# R32 (release), REVISION: 7.6, GCID: 1", "ok", "4.6.6 (L4T 32.7.6)"),
        ("# R36 (release), REVISION: 4.7, GCID: 1", "ok", "6.2.1 (L4T 36.4.7)"),
        ("# R39 (release), REVISION: 2.0, GCID: 1", "ok", "7.2 (L4T 39.2.0)"),
        ("# R55 (release), REVISION: 1.0, GCID: 1", "wrong", "L4T 55.1.0, which is not known"),
    ],
)
def test_jetpacks(tmp_path: Path, release: str, state: str, told: str) -> None:
    found = _of(_facts(_with(BOARDS["agx-orin"], {"etc/nv_tegra_release": release}), tmp_path), "JetPack")
    assert found.state == state and told in found.found
    assert "R55" not in release or found.mend == "a newer edge-mpq may know it"


@pytest.mark.parametrize("text", ["", "nonsense", "# R", "\0\0", "R32", "# Rxx (release), REVISION: y"])
def test_a_release_file_that_is_none_tells_nothing(text: str) -> None:
    assert jetson.l4t_of(text) == () and jetson.jetpack_of(()) == ""


def test_an_older_tensorrt_than_the_bundles_is_a_finding(tmp_path: Path) -> None:
    facts = _facts(_with(BOARDS["agx-orin"], None, import_tensorrt=Told(0, '{"version": "8.6.2"}')), tmp_path)
    found = _of(facts, "bundle", "jetson-agx-orin")
    assert found.state == "wrong" and "8.6.2 here is older" in found.found and "--target" in found.mend


def test_an_old_python_is_wrong(tmp_path: Path) -> None:
    facts = _facts(BOARDS["nano"], tmp_path)._replace(python=(3, 5, 2))
    assert _of(facts, "Python").state == "wrong"


def test_findings_are_pure(machine: tuple[str, Facts], monkeypatch: pytest.MonkeyPatch) -> None:
    first = doctor_findings.findings(machine[1])
    monkeypatch.setattr("builtins.open", lambda *_: pytest.fail("a finding reads a file"))
    monkeypatch.setattr(os, "listdir", lambda *_: pytest.fail("a finding lists a folder"))
    assert doctor_findings.findings(machine[1]) == first


def test_an_empty_machine_is_told_without_a_fault(tmp_path: Path) -> None:
    facts = doctor_facts.gather(str(tmp_path), lambda words: Told(None), "riscv64", (3, 13, 0), "/python")
    assert facts.memory == Memory(0, 0, 0, 0) and facts.jetson is None
    assert facts.modules["numpy"] == Module(problem="importing it ends Python")
    assert doctor.report(facts)["missing"]


def test_a_program_that_is_not_there_or_fails_is_told() -> None:
    assert doctor_facts.ask(["/no/such/program"]) == Told(None)
    told = doctor_facts.ask([sys.executable, "-c", "import sys; print('out'); sys.stderr.write('err'); sys.exit(3)"])
    assert (told.code, told.out, told.err) == (3, "out\n", "err")


def test_the_verb_looks_at_a_bundle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_folder(tmp_path / "bundle", "jetson-thor")
    assert doctor.main([str(folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert "bundle" in {row["name"] for row in found["findings"]}
